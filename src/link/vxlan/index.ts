/** VXLAN: the endpoint of one network, and what its owner needs beside it. */
export { Arrival, Columns } from './columns.js';
export { Fdb, type FdbOptions, type FdbRow, formatMac, LOCAL, parseMac, UNKNOWN } from './fdb.js';
export {
  FIRST_SOURCE_PORT,
  MAX_VNI,
  SOURCE_PORTS,
  VXLAN_BYTES,
  VXLAN_PORT,
  VXLAN_PORT_OLD,
  vniOf,
  writeHeader,
} from './header.js';
export { describeLoop, type Loop, type LoopAction, LoopWatch } from './loop.js';
export { mtuProblem, mtuWarning, neededPathMtu, overheadBytes, tapMtu, type Underlay } from './mtu.js';
export { LOCAL_SIDE, type NeighbourOptions, Neighbours, parseIp, REMOTE_SIDE } from './neighbours.js';
export { FIRST_DROP, OUTCOMES, Outcome } from './outcome.js';
export { OUTER4_BYTES, OUTER6_BYTES, Outer, type OuterOptions, writeOuter } from './outer.js';
export { MAX_REMOTES, RemoteStat, Remotes, STAT_WORDS } from './remotes.js';
export { StormControl, type StormRates } from './storm.js';
export type { VlanMode } from './vlan.js';
export { type Emit, Vtep, type VtepOptions } from './vtep.js';
