/** Links → what parses to equal links. */
import { formatAddress, formatPrefix, lengthOf } from './address.js';
import { formatPrefix6 } from './address-ipv6.js';
import { formatEndpoint } from './endpoint.js';
import { printVxlan } from './link-vxlan.js';
import type { LinkConfig, LinkPolicy, PeerConfig, WireguardLinkConfig } from './model.js';

export function printLink(link: LinkConfig): object {
  return link.kind === 'vxlan' ? printVxlan(link) : printWireguard(link);
}

function printWireguard(link: WireguardLinkConfig): object {
  return {
    name: link.name,
    ...(link.description !== '' && { description: link.description }),
    wireguard: {
      private_key_file: link.privateKeyFile,
      ...(link.listen !== 0 && { listen: link.listen }),
      mtu: link.mtu === 0 ? 'auto' : link.mtu,
      ...(link.mark !== 0 && { mark: link.mark }),
    },
    ...printAddress(link),
    peers: link.peers.map(printPeer),
    ...(link.policy.length > 0 && { policy: link.policy.map(printPolicy) }),
  };
}

function printAddress({ address, address6 }: WireguardLinkConfig): object {
  const four = address === null ? [] : [`${formatAddress(address.address)}/${lengthOf(address.mask)}`];
  const six = address6 === null ? [] : [formatPrefix6(address6)];
  const all = [...four, ...six];
  return all.length === 0 ? {} : { address: all.length === 1 ? all[0] : all };
}

export function printPeer(peer: PeerConfig): object {
  return {
    name: peer.name,
    public_key: peer.publicKey,
    ...(peer.presharedKeyFile !== '' && { preshared_key_file: peer.presharedKeyFile }),
    ...(peer.endpoint && { endpoint: formatEndpoint(peer.endpoint) }),
    allowed_ips: [...peer.allowedIps.map(formatPrefix), ...peer.allowedIps6.map(formatPrefix6)],
    ...(peer.keepalive !== 0 && { keepalive: peer.keepalive }),
    ...(peer.maps.length > 0 && {
      map: peer.maps.map(({ inside, outside }) => `${formatPrefix(inside)} as ${formatPrefix(outside)}`),
    }),
  };
}

function printPolicy(policy: LinkPolicy): object {
  const from = [...policy.peers, ...policy.from.map(formatPrefix), ...policy.from6.map(formatPrefix6)];
  return {
    ...(from.length > 0 && { from }),
    lan: policy.lan,
    internet: policy.internet ? 'nat' : 'deny',
    host: policy.host ? 'allow' : 'deny',
    ...(policy.links.length > 0 && { links: policy.links }),
  };
}
