/** Links → what parses to equal links. */
import { formatAddress, formatPrefix, lengthOf } from './address.js';
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
    ...(link.address && { address: `${formatAddress(link.address.address)}/${lengthOf(link.address.mask)}` }),
    peers: link.peers.map(printPeer),
    ...(link.policy.length > 0 && { policy: link.policy.map(printPolicy) }),
  };
}

export function printPeer(peer: PeerConfig): object {
  return {
    name: peer.name,
    public_key: peer.publicKey,
    ...(peer.presharedKeyFile !== '' && { preshared_key_file: peer.presharedKeyFile }),
    ...(peer.endpoint && { endpoint: formatEndpoint(peer.endpoint) }),
    allowed_ips: peer.allowedIps.map(formatPrefix),
    ...(peer.keepalive !== 0 && { keepalive: peer.keepalive }),
    ...(peer.maps.length > 0 && {
      map: peer.maps.map(({ inside, outside }) => `${formatPrefix(inside)} as ${formatPrefix(outside)}`),
    }),
  };
}

function printPolicy(policy: LinkPolicy): object {
  const from = [...policy.peers, ...policy.from.map(formatPrefix)];
  return {
    ...(from.length > 0 && { from }),
    lan: policy.lan,
    internet: policy.internet ? 'nat' : 'deny',
    host: policy.host ? 'allow' : 'deny',
    ...(policy.links.length > 0 && { links: policy.links }),
  };
}
