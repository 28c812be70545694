/** WireGuard: the protocol core, its text protocol for wg(8), and wg-quick's files. */
export { type AllowedIp, AllowedIps, formatAllowedIp, parseAllowedIp } from './allowed-ips.js';
export { Columns } from './columns.js';
export { clamp, cryptoProblem, publicKeyOf } from './crypto.js';
export { Device, type DeviceOptions, innerMtu, keyText } from './device.js';
export { Lanes, TunnelCount, TunnelEnd } from './end.js';
export { ENDPOINT_WORDS, Ep, formatEndpoint, parseEndpoint } from './endpoint.js';
export { FIRST_DROP, OUTCOMES, Outcome } from './outcome.js';
export { type Peer, Stat } from './peer.js';
export { PrefixTrie } from './prefix-trie.js';
export { DRAINS } from './shares.js';
export { SiteLink } from './site.js';
export { Tunnel } from './tunnel.js';
export {
  answer,
  answerNow,
  applyChange,
  type DeviceChange,
  describe,
  type PromptSocket,
  parseRequest,
  type Socket as UapiSocket,
  UapiError,
} from './uapi.js';
export { UAPI_DIR, UapiServer, type UapiServerOptions } from './uapi-server.js';
export { parseWgQuick, type WgQuickConfig, WgQuickError, type WgQuickPeer } from './wg-quick.js';
