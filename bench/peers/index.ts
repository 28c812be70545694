/** Everybody who is measured, in the order of the rounds; the first is what the others are compared with. */
import { iptables } from './iptables.js';
import { nftables } from './nftables.js';
import { pasta } from './pasta.js';
import type { Peer } from './peer.js';
import { slirp4netns } from './slirp4netns.js';
import { tungate } from './tungate.js';

export const REFERENCE = nftables.name;
export const PEERS: readonly Peer[] = [nftables, tungate(), iptables, slirp4netns, pasta];
