/** Kernel, privileges, TUN, traffic control: what every config needs. */
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { native } from '../native.js';
import { type Check, fail, ok, warn } from './check.js';
import { findLink } from './link.js';
import { failedWith, Netlink } from './netlink.js';
import { Payload } from './netlink-message.js';
import { confPath, readSysctl } from './sysctl.js';
import { addClsact, ETH_P_IP, INGRESS, writeFilter } from './tc.js';
import { tunTrouble } from './tun.js';
import { RESERVED_PORTS } from './undo.js';

/** Multi-queue TUN, clsact and extended errors are older; below this nothing was ever tried. */
const OLDEST_KERNEL = [4, 19] as const;
const CAP_NET_ADMIN = 12n;

const OFFLOADS: [number, string][] = [
  [1, 'checksum'],
  [2, 'TSO4'],
  [4, 'TSO6'],
  [8, 'ECN'],
  [32, 'USO4'],
  [64, 'USO6'],
];

export function checkMachine(tunName: string | undefined): Check[] {
  const capability = checkCapability();
  const sysctl = checkSysctlWritable();
  const checks = [checkKernel(), ok('addon', `version ${native.version} is loaded`), capability, sysctl];
  if (capability.status === 'ok') checks.push(...tryTun());
  else checks.push(checkTunFile());
  return [...checks, checkForwarding(), checkReversePath(tunName)];
}

function checkKernel(): Check {
  const version = release();
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const old = major < OLDEST_KERNEL[0] || (major === OLDEST_KERNEL[0] && minor < OLDEST_KERNEL[1]);
  if (old) return fail('kernel', `Linux ${version}`, `tungate needs Linux ${OLDEST_KERNEL.join('.')} or newer`);
  return ok('kernel', `Linux ${version}`);
}

function checkCapability(): Check {
  const effective = /^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  if ((BigInt(`0x${effective}`) >> CAP_NET_ADMIN) & 1n) return ok('capability', 'CAP_NET_ADMIN is there');
  return fail(
    'capability',
    'CAP_NET_ADMIN is missing',
    'run as root (sudo), as a service with AmbientCapabilities=CAP_NET_ADMIN, or in a container with --cap-add=NET_ADMIN',
  );
}

function checkSysctlWritable(): Check {
  const file = `/proc/sys/${RESERVED_PORTS}`;
  try {
    // Opened, not access(2): that asks for the real user's rights, which leave out capabilities.
    closeSync(openSync(file, 'r+'));
    return ok('sysctl', '/proc/sys is writable');
  } catch (error) {
    const readOnly = failedWith(error, 'EROFS');
    return fail(
      'sysctl',
      readOnly ? '/proc/sys is mounted read-only (a container)' : `${file} cannot be written`,
      readOnly ? 'start the container with --privileged, or with /proc/sys mounted read-write' : 'run as root',
    );
  }
}

function checkTunFile(): Check {
  if (existsSync('/dev/net/tun')) return ok('tun', '/dev/net/tun is there');
  return fail('tun', 'there is no /dev/net/tun', 'modprobe tun; for a container: --device=/dev/net/tun');
}

/** A TUN of our own, never persistent: closing it takes everything on it away. */
function tryTun(): Check[] {
  let probe: { fd: number; name: string; offloads: number };
  try {
    probe = native.tunOpen('tgprobe%d');
  } catch (error) {
    const [detail = '', remedy = ''] = tunTrouble('for a trial', error).split(/: (.*)/s);
    return [fail('tun', detail, remedy)];
  }
  const nl = new Netlink();
  try {
    const link = findLink(nl, probe.name);
    if (!link) return [fail('tun', `the TUN ${probe.name} vanished when it was made`, 'look for what deletes it')];
    return [ok('tun', 'a TUN device can be made'), checkOffloads(probe.offloads), tryFilter(nl, link.index)];
  } finally {
    nl.close();
    native.closeFd(probe.fd);
  }
}

function checkOffloads(accepted: number): Check {
  const names = OFFLOADS.filter(([bit]) => (accepted & bit) !== 0).map(([, name]) => name);
  if ((accepted & 3) === 3) return ok('offloads', `the TUN takes ${names.join(', ')}`);
  return warn(
    'offloads',
    names.length > 0 ? `the TUN takes only ${names.join(', ')}` : 'the TUN takes none',
    'it works, but each TCP segment crosses alone: a newer kernel is several times faster',
  );
}

const TCA_BPF_ACT = 1;
const TCA_BPF_OPS_LEN = 4;
const TCA_BPF_OPS = 5;
const TCA_ACT_KIND = 1;
const TCA_ACT_OPTIONS = 2;
const TCA_MIRRED_PARMS = 2;
const TC_ACT_STOLEN = 4;
const TCA_EGRESS_REDIR = 1;

/** clsact, then a cls_bpf filter that never matches with a redirect behind it: all three kernel parts in one go. */
function tryFilter(nl: Netlink, index: number): Check {
  const returnZero = new Payload().u16(0x06).u16(0).u32(0).bytes();
  const redirect = new Payload().zeros(8).u32(TC_ACT_STOLEN).zeros(8).u32(TCA_EGRESS_REDIR).u32(index).bytes();
  const key = { index, parent: INGRESS, priority: 1, protocol: ETH_P_IP, handle: 1 };
  try {
    addClsact(nl, index);
    writeFilter(nl, key, 'bpf', (options) => {
      options.nest(TCA_BPF_ACT, (actions) => {
        actions.nest(1, (action) => {
          action
            .attrText(TCA_ACT_KIND, 'mirred')
            .nest(TCA_ACT_OPTIONS, (inner) => inner.attr(TCA_MIRRED_PARMS, redirect));
        });
      });
      options.attrU16(TCA_BPF_OPS_LEN, 1).attr(TCA_BPF_OPS, returnZero);
    });
    return ok('steering', 'the kernel has clsact, cls_bpf and act_mirred');
  } catch (error) {
    return fail(
      'steering',
      error instanceof Error ? error.message : String(error),
      'the kernel needs sch_ingress, cls_bpf and act_mirred: modprobe them (package linux-modules-extra on some systems)',
    );
  }
}

function checkForwarding(): Check {
  const on = readSysctl('net/ipv4/ip_forward') === '1';
  if (!on) return ok('ip_forward', 'off, and it stays off: only what the engine writes is routed');
  return ok('ip_forward', 'on, and it stays on: what comes from outside for a LAN address is dropped by the steering');
}

/** See tun.ts: what is in force is the larger one of conf.all and the TUN's own. */
function checkReversePath(tunName: string | undefined): Check {
  const all = readSysctl(confPath('all', 'rp_filter')) ?? '0';
  const own = tunName && readSysctl(confPath(tunName, 'rp_filter'));
  const running = own !== undefined && readSysctl(confPath(tunName!, 'accept_local')) === '1';
  if (running && (own === '1' || all === '1')) {
    return fail(
      'rp_filter',
      `strict reverse path filtering is on for ${tunName} (all=${all}, ${tunName}=${own}): every translated packet is dropped`,
      `sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.${tunName}.rp_filter=0, and look for what sets it (sysctl.d)`,
    );
  }
  if (all === '1')
    return ok('rp_filter', 'conf.all is 1: each interface gets the 1 of its own, the TUN none; put back at the end');
  return ok('rp_filter', `conf.all is ${all}`);
}
