/**
 * What `tungate doctor` looks at for VXLAN links: the address and the port, the way to each remote, TAP, bridge, MTUs, and two links that would make a loop.
 * Nothing is changed: the port is bound and let go, the kernel's help with segments is tried on a device of its own. A router that runs with this config holds
 * its ports and TAPs, which is no fault.
 */
import type { Check } from '../host/index.js';
import { heldPorts, type Link, Netlink, openOuterTap, readLinks } from '../host/index.js';
import { overheadBytes } from '../link/vxlan/mtu.js';
import { native } from '../native.js';
import { check, probePath } from './check-links.js';
import type { Compiled } from './compiled.js';
import type { Config } from './model.js';
import { wantedVxlan } from './vxlan-answers.js';
import { endpointOf, mtuOf, remotesOf, type VxlanWanted } from './vxlan-links.js';

/** Beyond these, pings would keep somebody waiting for minutes. */
const PROBED = 8;

export async function checkVxlan(config: Config, { plan }: Compiled): Promise<Check[]> {
  const wanted = wantedVxlan(config, plan);
  if (wanted.length === 0) return [];
  const netlink = new Netlink();
  try {
    const links = readLinks(netlink);
    const checks: Check[] = [];
    let left = PROBED;
    for (const each of wanted) {
      checks.push(await checkPort(each, links), ...checkDevices(each, links));
      const ways = checkWays(each, left);
      left -= ways.length;
      checks.push(...ways);
    }
    return [...checks, ...checkTwins(wanted), ...checkSegments(wanted, netlink)];
  } finally {
    netlink.close();
  }
}

async function checkPort({ order, tap, family }: VxlanWanted, links: readonly Link[]): Promise<Check> {
  const { name, local, port, ttl } = order;
  const what = `UDP port ${port} at ${local} of link "${name}"`;
  // Inside of a WireGuard link the address comes with the router.
  if (order.device !== '') return check('ok', `${what} is inside of the WireGuard link`);
  try {
    native.closeFd(native.vxlanOpen(endpointOf(local, port), ttl, false, '').fd);
    return check('ok', `${what} is free`);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EADDRNOTAVAIL')
      return check('fail', `this host has not the address ${local} of link "${name}"`, 'correct `local`, or add it');
    if (code !== 'EADDRINUSE') return check('fail', `${what}: ${(error as Error).message}`, 'see the error');
  }
  const holder = (await heldPorts([port])).get(port);
  if (holder !== undefined)
    return check('fail', `${holder} holds ${what}`, 'stop it, or give the link another port (vxlan.port)');
  if (links.some((link) => link.name === tap && link.kind === 'tun'))
    return check('ok', `${what} is held by the router that runs`);
  const device = links.find((link) => link.kind === 'vxlan');
  return device === undefined
    ? check('fail', `somebody unseen holds ${what}`, 'see: sudo ss -lunp')
    : check(
        'fail',
        `the kernel holds ${what}, for a vxlan device like ${device.name}`,
        `delete it (ip link del ${device.name}), or give one of them another IPv${family} address or port`,
      );
}

function checkDevices({ order, tap, bridge }: VxlanWanted, links: readonly Link[]): Check[] {
  const { name } = order;
  const checks: Check[] = [];
  const there = links.find((link) => link.name === tap);
  if (there !== undefined && there.kind !== 'tun')
    checks.push(
      check('fail', `an interface ${tap} is there already, which link "${name}" would make`, 'name `tap` otherwise'),
    );
  if (bridge === '') return checks;
  const found = links.find((link) => link.name === bridge);
  if (found === undefined)
    return [
      ...checks,
      check('fail', `the bridge ${bridge} of link "${name}" is not there`, `ip link add ${bridge} type bridge`),
    ];
  if (found.kind !== 'bridge')
    return [...checks, check('fail', `${bridge} of link "${name}" is no bridge`, 'correct `bridge`')];
  return [...checks, check('ok', `the bridge ${bridge} of link "${name}" is there`)];
}

/** MTU of the TAP beside what the kernel knows and what pings find out. */
function checkWays(wanted: VxlanWanted, most: number): Check[] {
  const { order, family, bridge } = wanted;
  const who = `link "${order.name}"`;
  let mtu: number;
  try {
    mtu = mtuOf(wanted);
  } catch (error) {
    return [check('fail', `${who}: ${(error as Error).message}`, 'correct `mtu` at the link')];
  }
  const checks: Check[] = [];
  if (bridge !== '')
    checks.push(
      check(
        'ok',
        `${who}: MTU ${mtu}; machines behind ${bridge} are to have it too, or what they send larger is dropped`,
      ),
    );
  // What is inside of a WireGuard link can be probed when the router runs; its own endpoints are, above.
  if (order.device !== '') return checks;
  for (const remote of remotesOf(order).slice(0, Math.max(0, most))) {
    if (native.udpPathMtu(endpointOf(remote), 0) === 0)
      checks.push(
        check('fail', `${who}: this host has no route to the remote ${remote}`, `see: ip route get ${remote}`),
      );
    else checks.push(probePath(who, remote, remote, mtu, overheadBytes({ family })));
  }
  return checks;
}

/** Two links in one bridge whose remotes are the same hosts: a frame goes round. */
function checkTwins(wanted: readonly VxlanWanted[]): Check[] {
  return wanted.flatMap((one, i) =>
    wanted.slice(i + 1).flatMap((two): Check[] => {
      const shared = remotesOf(one.order).filter((remote) => remotesOf(two.order).includes(remote));
      if (one.bridge === '' || one.bridge !== two.bridge || shared.length === 0) return [];
      return [
        check(
          'warn',
          `links "${one.order.name}" and "${two.order.name}" join the bridge ${one.bridge} with ${shared.join(', ')} twice: where the other side has both in one bridge too, frames go round`,
          'put them into two bridges, or take one of them out; tungate blocks the younger one when a probe comes back',
        ),
      ];
    }),
  );
}

function checkSegments(wanted: readonly VxlanWanted[], netlink: Netlink): Check[] {
  if (!wanted.some(({ family, order }) => family === 4 && order.device === '')) return [];
  try {
    native.closeFd(openOuterTap(netlink).fd);
    return [check('ok', 'TCP leaves VXLAN links in super-frames, which the kernel or the network card cuts up')];
  } catch (error) {
    return [
      check(
        'warn',
        `TCP over VXLAN is cut up in tungate: ${(error as Error).message}`,
        'it works, at a quarter of the speed; it wants Linux 6.17, CAP_NET_ADMIN and CAP_BPF',
      ),
    ];
  }
}
