/** Config → YAML that parses to an equal config: every default written out, every list in its canonical form. */
import { stringify } from 'yaml';
import { Filtering, Mapping } from '../contract/plan.js';
import { formatAddress, formatPrefix } from './address.js';
import { formatPrefix6 } from './address-ipv6.js';
import { formatTarget } from './forward-text.js';
import { printLink } from './link-print.js';
import { formatListen } from './listen.js';
import type { BlockConfig, Config, ForwardConfig, NatConfig } from './model.js';
import { formatPorts } from './ports.js';

const FILTERING = {
  [Filtering.ENDPOINT_INDEPENDENT]: 'endpoint-independent',
  [Filtering.ADDRESS_DEPENDENT]: 'address-dependent',
  [Filtering.ADDRESS_AND_PORT_DEPENDENT]: 'address-and-port-dependent',
} as const;

export function printConfig(config: Config): string {
  const uplinks = config.uplinks.map((uplink) => ({
    interface: uplink.interface,
    address: uplink.addresses.map((address) => (address === 'auto' ? address : formatAddress(address))),
    ports: formatPorts(uplink.pool),
  }));
  const lans = config.lans.map(({ interface: name, subnet, ipv6 }) => ({
    interface: name,
    subnet: formatPrefix(subnet),
    ...(ipv6.length > 0 && { ipv6: ipv6.map(formatPrefix6) }),
  }));
  const { timeouts } = config;
  return stringify(
    {
      // A router of site links alone has none of them; empty lists are errors.
      ...(uplinks.length > 0 && { uplinks }),
      ...(lans.length > 0 && { lans }),
      forwards: config.forwards.map(printForward),
      nat: config.nat.map(printNat),
      block: config.block.map(printBlock),
      ...(config.links.length > 0 && { links: config.links.map(printLink) }),
      limits: {
        flows: config.limits.flows,
        per_host: config.limits.perHost,
        per_host_flows: config.limits.perHostFlows,
        per_host_rate: config.limits.perHostRate,
      },
      timeouts: {
        udp: timeouts.udp,
        dns: timeouts.dns,
        tcp_established: timeouts.tcpEstablished,
        tcp_opening: timeouts.tcpOpening,
        tcp_closing: timeouts.tcpClosing,
        icmp: timeouts.icmp,
        unanswered: timeouts.unanswered,
        hold: timeouts.hold,
        fragment: timeouts.fragment,
      },
      metrics: { listen: formatListen(config.metrics.listen) },
      tun: config.tun,
      workers: config.workers === 0 ? 'auto' : config.workers,
      log: config.log,
      inbound_refresh: config.inboundRefresh,
      reject_unsolicited: config.rejectUnsolicited,
      parity: config.parity,
      port_blocks: config.portBlocks,
      watch: config.watch,
      helpers: config.helpers,
    },
    { lineWidth: 0 },
  );
}

function printForward(forward: ForwardConfig): object {
  const { ports, offset, single } = forward;
  const target =
    ports.length === 0 || (offset === 0 && single === 0)
      ? undefined
      : single !== 0
        ? { first: single, last: single }
        : { first: ports[0]!.first + offset, last: ports[ports.length - 1]!.last + offset };
  return {
    ...(isWritten(forward.name) && { name: forward.name }),
    ...(forward.description !== '' && { description: forward.description }),
    ...(ports.length > 0 && { ports: formatPorts(ports) }),
    to: formatTarget({ address: forward.target, ports: target }),
    proto: forward.protos,
    ...(forward.from.length > 0 && { from: forward.from.map(formatPrefix) }),
    ...(forward.addresses.length > 0 && { address: forward.addresses.map(formatAddress) }),
    ...(forward.maxFlows > 0 && { max_flows: forward.maxFlows }),
    ...(forward.maxRate > 0 && { max_rate: forward.maxRate }),
  };
}

/** The form without a map where it has no end. */
export function printBlock({ until, ...prefix }: BlockConfig): string | object {
  const address = formatPrefix(prefix);
  return until === 0 ? address : { address, until: new Date(until * 1000).toISOString().replace('.000Z', 'Z') };
}

function printNat(rule: NatConfig): object {
  return {
    ...(isWritten(rule.name) && { name: rule.name }),
    ...(rule.from.length > 0 && { from: rule.from.map(formatPrefix) }),
    ...(rule.to.length > 0 && { to: rule.to.map(formatPrefix) }),
    ...(rule.protos.length > 0 && { proto: rule.protos }),
    ...(rule.translate
      ? {
          mapping: rule.mapping === Mapping.ENDPOINT_DEPENDENT ? 'endpoint-dependent' : 'endpoint-independent',
          filtering: FILTERING[rule.filtering as keyof typeof FILTERING],
          ...(rule.address !== null && { address: formatAddress(rule.address) }),
        }
      : { translate: false }),
  };
}

/** Names that were made (forward.ts) come again by themselves; they hold a sign that a written one cannot have. */
function isWritten(name: string): boolean {
  return !name.includes('/');
}
