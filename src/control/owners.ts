/** Who has which port of one public address. */
import { OWNER_HOST, OWNER_POOL, OWNER_RESERVED, Proto, type PublicAddress, poolBits } from '../contract/plan.js';
import { staticPorts } from '../contract/static-ports.js';
import type { PortInterval } from '../contract/steering.js';
import { formatAddress } from './address.js';
import type { FoundAddress } from './addresses.js';
import { type Listen, listensOn } from './listen.js';
import type { ForwardConfig } from './model.js';
import type { PortSet } from './ports.js';

const PORTS = 65_536;

/**
 * Later wins: pool, the metrics listener and the ports of links (UDP) of our own, forwards, then what a forward of all protocols takes of the rest.
 * (A forward on the listener's port is refused by the config, except by address 'auto', where the forward has been asked for.)
 */
export function fillOwners(
  { address, uplink, shared }: FoundAddress,
  pool: PortSet,
  forwards: readonly { readonly forward: ForwardConfig; readonly id: number }[],
  listen: Listen | null,
  problems: string[],
  links: PortSet = [],
): PublicAddress {
  // Shared with the workers, which would else copy it before they go on with their packets.
  const [tcp, udp, icmp] = [shared16(), shared16(), shared16()];
  let icmpForward = 0;
  let otherForward = 0;
  for (const owners of [tcp, udp, icmp]) fill(owners, pool, OWNER_POOL);
  if (listen !== null && listensOn(listen, formatAddress(address))) tcp[listen.port] = OWNER_RESERVED;
  fill(udp, links, OWNER_RESERVED);
  for (const { forward, id } of forwards) {
    const all = forward.protos.includes('all');
    if (all || forward.protos.includes('tcp')) fill(tcp, forward.ports, id);
    if (all || forward.protos.includes('udp')) fill(udp, forward.ports, id);
    if (all || forward.protos.includes('icmp')) icmpForward = id;
    if (all) otherForward = id;
  }
  const rest = forwards.find(({ forward }) => forward.protos.includes('all') && forward.ports.length === 0);
  if (rest !== undefined && shared) {
    problems.push(
      `forward "${rest.forward.name}" (${rest.forward.origin}): ${formatAddress(address)} is this host's own address, so its TCP and UDP ports stay ` +
        'with the host; name those to forward in `ports`',
    );
  } else if (rest !== undefined) {
    for (const owners of [tcp, udp])
      for (let port = 1; port < PORTS; port++) if (owners[port] === OWNER_HOST) owners[port] = rest.id;
  }
  const poolSize = [count(tcp, OWNER_POOL), count(udp, OWNER_POOL), count(icmp, OWNER_POOL)] as const;
  for (const [proto, word] of [
    [Proto.TCP, 'TCP'],
    [Proto.UDP, 'UDP'],
  ] as const) {
    if (poolSize[proto] === 0)
      problems.push(
        `forwards take every ${word} port of the pool of ${formatAddress(address)}; widen \`ports\` of its uplink`,
      );
  }
  const pools = [poolBits(tcp), poolBits(udp), poolBits(icmp)] as const;
  const kept = forwards.map(({ forward, id }) => ({ ...forward, id }));
  return {
    ...{ address, uplink, shared, owners: [tcp, udp, icmp], pool: pools, poolSize, icmpForward, otherForward },
    statics: [staticPorts(tcp, kept), staticPorts(udp, kept)],
  };
}

function shared16(): Uint16Array {
  return new Uint16Array(new SharedArrayBuffer(PORTS * 2));
}

function fill(owners: Uint16Array, ports: PortSet, owner: number): void {
  for (const { first, last } of ports) owners.fill(owner, first, last + 1);
}

function count(owners: Uint16Array, owner: number): number {
  let found = 0;
  for (let port = 0; port < PORTS; port++) if (owners[port] === owner) found++;
  return found;
}

/** Ports that the engine is to see, as intervals: everything but the host's and the router's own. */
export function claimedPorts(owners: Uint16Array): PortInterval[] {
  const out: PortInterval[] = [];
  for (let port = 0; port < PORTS; port++) {
    if (owners[port] === OWNER_HOST || owners[port] === OWNER_RESERVED) continue;
    const first = port;
    while (port + 1 < PORTS && owners[port + 1] !== OWNER_HOST && owners[port + 1] !== OWNER_RESERVED) port++;
    out.push({ first, last: port });
  }
  return out;
}
