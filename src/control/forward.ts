/** One forward or nat rule from what was written: its port arithmetic, and the name it gets when it has none. */
import { formatAddress, formatPrefix, TextError } from './address.js';
import type { ForwardText } from './forward-text.js';
import type { ForwardConfig, ForwardProto, NatConfig } from './model.js';
import { countPorts, formatPorts, type PortSet } from './ports.js';

/** Throws TextError when ports, target and protocols do not fit together. */
export function buildForward(raw: ForwardText, origin: string): ForwardConfig {
  const protos = protocols(raw.proto ?? ['tcp']);
  const { ports, offset, single } = portMap(raw, protos);
  const addresses = [...new Set(raw.address ?? [])];
  return {
    name: raw.name ?? forwardName(addresses, ports, protos),
    description: raw.description ?? '',
    ports,
    target: raw.to.address,
    offset,
    single,
    protos,
    from: raw.from ?? [],
    addresses,
    maxFlows: raw.max_flows ?? 0,
    maxRate: raw.max_rate ?? 0,
    origin,
  };
}

/** `all` holds the others; the order is always the same, so that names are. */
function protocols(raw: readonly ForwardProto[]): ForwardProto[] {
  if (raw.includes('all')) return ['all'];
  return (['tcp', 'udp', 'icmp'] as const).filter((proto) => raw.includes(proto));
}

/** Public port → target port: the same, with an offset, or always one. */
function portMap(
  raw: ForwardText,
  protos: readonly ForwardProto[],
): { ports: PortSet; offset: number; single: number } {
  const to = raw.to.ports;
  if (raw.ports === undefined) {
    if (protos.includes('tcp') || protos.includes('udp')) {
      throw new TextError('`ports` is missing; tcp and udp are forwarded by port, like `ports: 10000-10999`');
    }
    if (to !== undefined) throw new TextError('`to` has a port but there is no `ports`; write both or none');
    return { ports: [], offset: 0, single: 0 };
  }
  if (protos.length === 1 && protos[0] === 'icmp') throw new TextError('icmp has no ports; leave `ports` out');
  const { ports, hull } = raw.ports;
  if (to === undefined) return { ports, offset: 0, single: 0 };
  const length = hull.last - hull.first + 1;
  const toLength = to.last - to.first + 1;
  if (length === toLength) return { ports, offset: to.first - hull.first, single: 0 };
  if (toLength === 1) {
    // One port that exclusions have left is one to one, however it was written.
    if (countPorts(ports) === 1) return { ports, offset: to.first - ports[0]!.first, single: 0 };
    return { ports, offset: 0, single: to.first };
  }
  throw new TextError(
    `${hull.first}-${hull.last} are ${length} port${length === 1 ? '' : 's'} but the target's ${to.first}-${to.last} are ${toLength}; ` +
      `make both equally long, or give the target one port` +
      (hull.first + toLength - 1 <= 65_535 ? ` (did you mean ${hull.first}-${hull.first + toLength - 1}?)` : ''),
  );
}

/** Unique because overlaps are refused; holds signs that a written name cannot have. `192.0.2.1:10000-10999/tcp+udp` */
function forwardName(addresses: readonly number[], ports: PortSet, protos: readonly ForwardProto[]): string {
  const where = addresses.map(formatAddress).join('+');
  return `${where === '' ? '' : `${where}:`}${formatPorts(ports)}/${protos.join('+')}`;
}

/** A nat rule is named by what it matches. */
export function natName(nat: Pick<NatConfig, 'from' | 'to' | 'protos'>): string {
  const list = (prefixes: NatConfig['from']) => (prefixes.length === 0 ? 'any' : prefixes.map(formatPrefix).join('+'));
  return `${list(nat.from)}>${list(nat.to)}/${nat.protos.length === 0 ? 'all' : nat.protos.join('+')}`;
}
