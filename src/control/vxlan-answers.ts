/** VXLAN links: config → what their thread is told, and what it counts → what the API says. Pure. */
import { isIPv4 } from 'node:net';
import type { VxlanLinkRow } from '../contract/api.js';
import type { Plan } from '../contract/plan.js';
import type { VxlanStatus } from '../contract/vxlan.js';
import { FIRST_DROP, OUTCOMES } from '../link/vxlan/outcome.js';
import { vxlanLinks } from './compile-links.js';
import { carrierOf, localOf, sourcesOf } from './link-vxlan.js';
import type { Config } from './model.js';
import { macOf } from './tap-mac.js';
import type { VxlanWanted } from './vxlan-links.js';

export const VXLAN_REJECTIONS = OUTCOMES.slice(FIRST_DROP);

/** Orders of all VXLAN links; an MTU of 0 is to be found out. */
export function wantedVxlan(config: Config, plan: Plan): VxlanWanted[] {
  const sources = sourcesOf(config) ?? { first: 0, last: 0 }; // such a config is refused
  return vxlanLinks(config).map((link): VxlanWanted => {
    const carrier = carrierOf(link, config.links);
    const planned = plan.links.find(({ name }) => name === carrier?.name);
    const { name, vni, port, ttl, remotes, learning, suppress, vlan, mtu, fdb, neighbours } = link;
    const local = localOf(link, config);
    // What is to be encrypted must not find another way.
    const device = link.over === '' ? '' : config.tun.name;
    return {
      order: { name, vni, local, port, ttl, sources, device, remotes, learning, suppress, vlan, mtu, fdb, neighbours },
      tap: link.tap,
      bridge: link.bridge,
      mac: macOf(link, local),
      family: isIPv4(local) ? 4 : 6,
      pathMtu: planned === undefined ? 0 : plan.interfaces[planned.out]!.mtu,
    };
  });
}

export function vxlanRows(
  config: Config,
  running: readonly VxlanWanted[],
  statuses: readonly VxlanStatus[],
  problems: ReadonlyMap<string, string>,
): VxlanLinkRow[] {
  return vxlanLinks(config).map((link): VxlanLinkRow => {
    const status = statuses.find(({ name }) => name === link.name);
    const problem = problems.get(link.name) ?? status?.problem ?? 'its thread does not have it yet';
    return {
      name: link.name,
      kind: 'vxlan',
      origin: link.origin,
      up: problem === '',
      problem,
      loop: status?.loop ?? '',
      vni: link.vni,
      local: localOf(link, config),
      port: link.port,
      tap: link.tap,
      bridge: link.bridge,
      mtu: running.find(({ order }) => order.name === link.name)?.order.mtu ?? link.mtu,
      over: link.over,
      remotes: status?.remotes ?? [],
      addresses: status?.addresses ?? 0,
      addressesRefused: status?.refused ?? 0,
      rejected: VXLAN_REJECTIONS.flatMap(({ name, sentence }) => {
        const packets = status?.outcomes[name] ?? 0;
        return packets > 0 ? [{ reason: name, packets, sentence }] : [];
      }).sort((a, b) => b.packets - a.packets),
      sendFailed: status?.sendFailed ?? 0,
      tapFailed: status?.tapFailed ?? 0,
    };
  });
}
