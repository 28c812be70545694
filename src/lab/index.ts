/** The lab: namespaces, hosts, the daemon and witnesses, for demo, tests and bench. Imports nothing of tungate. */
export { Capture } from './capture.js';
export { Daemon } from './daemon.js';
export { type Answer, type Datagram, type Download, Host, type Target } from './host.js';
export { iperf, type Throughput } from './iperf.js';
export { diffState, type KernelState, kernelState } from './kernel-state.js';
export { LAB_ENV, Lab, type Namespace, needTools, PATIENCE, Process, type RunResult, run } from './namespace.js';
export { niceAllowed, niceOf } from './nice.js';
export { asNamespaceRoot, becomeNamespaceRoot, tunDeviceProblem, userNamespaceProblem } from './privilege.js';
export { buildTopology, INTERNET, LAN, P, THIRD, type Topology } from './topology.js';
export {
  buildSites,
  endpoint,
  type Implementation,
  INSIDE,
  OUTSIDE,
  Site,
  tungateWg,
  until,
  wireguardGo,
} from './wireguard.js';
