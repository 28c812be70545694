/** What the API and metrics say of site links: the plan, joined with what the workers count. Pure. */
import type { LinkPeerRow, LinkRow } from '../contract/api.js';
import type { Link, LinkPeerStatus, LinkStatus } from '../contract/links.js';
import type { Plan } from '../contract/plan.js';
import { FIRST_DROP, OUTCOMES } from '../link/wireguard/outcome.js';
import { formatAddress, formatPrefix } from './address.js';
import { formatAddress6, formatPrefix6 } from './address-ipv6.js';

/** What the plan does not know. */
export interface LinkNamesKnown {
  nameOf(link: string, publicKey: string): string;
  publicKeyOf(link: string): string;
}

export const REJECTIONS = OUTCOMES.slice(FIRST_DROP);

export function linkRows(
  { links, ipv6 }: Pick<Plan, 'links' | 'ipv6'>,
  statuses: readonly LinkStatus[],
  known: LinkNamesKnown,
): LinkRow[] {
  return links.map((link, at): LinkRow => {
    const address6 = ipv6?.links[at]?.address ?? null;
    const status = statuses.find(({ name }) => name === link.name);
    return {
      name: link.name,
      kind: 'wireguard',
      origin: link.origin,
      up: status?.up ?? false,
      problem: status === undefined ? 'the worker does not have it yet' : status.problem,
      port: status?.port ?? link.listen,
      mtu: status?.mtu ?? 0,
      address: link.address === 0 ? '' : formatAddress(link.address),
      address6: address6 === null ? '' : formatAddress6(address6),
      publicKey: known.publicKeyOf(link.name),
      peers: (status?.peers ?? []).map((peer) => peerRow(link, peer, known)),
      rejected: rejectedOf(status),
      sendFailed: status?.sendFailed ?? 0,
      receiveFailed: status?.receiveFailed ?? 0,
    };
  });
}

function peerRow(link: Link, peer: LinkPeerStatus, known: LinkNamesKnown): LinkPeerRow {
  const { publicKey } = peer;
  const planned = link.peers.find((item) => item.publicKey === publicKey);
  return {
    name: known.nameOf(link.name, publicKey),
    publicKey,
    endpoint: peer.endpoint,
    allowedIps: [...(planned?.allowedIps ?? []).map(formatPrefix), ...(planned?.allowedIps6 ?? []).map(formatPrefix6)],
    lastHandshake: peer.lastHandshake === 0 ? null : new Date(peer.lastHandshake).toISOString(),
    handshakes: {
      initiated: peer.handshakesInitiated,
      answered: peer.handshakesAnswered,
      givenUp: peer.handshakesGivenUp,
    },
    receivedBytes: peer.rxBytes,
    sentBytes: peer.txBytes,
    receivedPackets: peer.rxPackets,
    sentPackets: peer.txPackets,
    waiting: peer.staged,
  };
}

function rejectedOf(status: LinkStatus | undefined): LinkRow['rejected'] {
  return REJECTIONS.flatMap(({ name, sentence }) => {
    const packets = status?.outcomes[name] ?? 0;
    return packets > 0 ? [{ reason: name, packets, sentence }] : [];
  }).sort((a, b) => b.packets - a.packets);
}
