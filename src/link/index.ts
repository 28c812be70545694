/** The edges of the engine. A new kind of link is one file here and one line below. */
export { batchId } from './batch-id.js';
export { type Link, LinkLost, RECEIVE_SLOTS, receiveBytes, stamp, stampedMillis } from './link.js';
export {
  type Clock,
  copyIn,
  copyOut,
  MemoryLink,
  type MemoryPacket,
  memoryPacket,
  ReplayLink,
  type ReplayOptions,
} from './memory.js';
export { TunLink } from './tun.js';
export { DRAINS, Lanes, PrefixTrie, SiteLink } from './wireguard/index.js';
export { type Direction, FaultInjector, type Faults, Recorder, type RecorderOptions } from './wrap.js';
