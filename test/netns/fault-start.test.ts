/**
 * Nothing left behind: the router is started and stopped in a namespace of its own while one call after the other fails:
 * each netlink request (refused, or done and its answer lost), each write to /proc/sys, each line of the journal, each native
 * call. Whatever fails, at the end the kernel reads as before. The faults are put in from outside (methods of shared objects
 * are replaced); the code that runs is the code that ships.
 */
import assert from 'node:assert/strict';
import fs, { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { constants } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { loadConfig } from '../../src/control/index.js';
import { createLog } from '../../src/control/log.js';
import { clean } from '../../src/control/offline.js';
import { Router } from '../../src/control/router.js';
import { runtimePaths } from '../../src/control/runtime-dir.js';
import { KernelError, Netlink } from '../../src/host/index.js';
import { diffState, kernelState, type Namespace, run } from '../../src/lab/index.js';
import { native } from '../../src/native.js';
import { besideOneAnother, inNamespace } from '../in-namespace.js';

/** rp_filter=1 and an address that only the TUN has: every kind of change is made. */
const CONFIG = `uplink: { interface: vmbr0, address: [203.0.113.10, 203.0.113.11], ports: "20000-29999" }
lans:
  - { interface: vmbr1, subnet: 172.22.161.0/24 }
forwards:
  - "10000-10999:172.22.161.170:10000-10999/tcp"
workers: 1
limits: { flows: 1024 }
metrics: { listen: "off" }
`;

const here = {
  run,
  async must(argv: readonly string[]) {
    const { code, stdout, stderr } = await run(argv);
    assert.equal(code, 0, stderr);
    return stdout;
  },
} as unknown as Namespace;

/** Counts calls, and makes the one with the number `at` fail. */
class Fault {
  calls = 0;
  at = 0;
  /** The call is made, and then fails all the same. */
  late = false;
  what = '';

  wrap<T extends unknown[], R>(name: (args: T) => string | undefined, act: (...args: T) => R, error: () => Error) {
    const fault = this;
    return function (this: unknown, ...args: T): R {
      const what = name(args);
      if (what === undefined || ++fault.calls !== fault.at) return act.apply(this, args);
      fault.what = what;
      if (fault.late) act.apply(this, args);
      throw error();
    };
  }
}

function folder(): string {
  const dir = mkdtempSync(join('/dev/shm', `tungate-fault-${process.pid}-`));
  process.on('exit', () => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

async function host(): Promise<void> {
  for (const line of [
    // IPv6 addresses that are there at once: a state that settles seconds later cannot be compared.
    'sysctl -q -w net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0',
    'sysctl -q -w net.ipv6.conf.default.router_solicitations=0 net.ipv6.conf.default.addr_gen_mode=1',
    'ip link set lo up',
    'ip link add vmbr0 type bridge',
    'ip link add vmbr1 type bridge',
    'ip link set vmbr0 up',
    'ip link set vmbr1 up',
    'ip addr add 203.0.113.10/24 dev vmbr0',
    'ip addr add 172.22.161.1/24 dev vmbr1',
    'ip route add default via 203.0.113.1',
    'sysctl -q -w net.ipv4.ip_forward=0 net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=0',
  ])
    await here.must(line.split(' '));
}

const openFds = () => readdirSync('/proc/self/fd').length;

/** A whole life of the router. What start and stop throw or return is not judged here: only what is left. */
async function life(dir: string): Promise<{ started: boolean; failed: readonly string[] }> {
  const file = join(dir, 'tungate.yaml');
  writeFileSync(file, CONFIG);
  const paths = runtimePaths(join(dir, 'run'));
  mkdirSync(paths.dir, { recursive: true });
  const loaded = loadConfig(file);
  assert.ok('config' in loaded, JSON.stringify(loaded));
  const router = new Router({ paths, config: loaded.config, log: createLog('silent', 'json') });
  try {
    await router.start();
  } catch {
    return { started: false, failed: [] };
  }
  return { started: true, failed: await router.stop(false) };
}

/** Lets every call fail once, in turn, and compares. */
async function tryAll(fault: Fault, modes: readonly boolean[]): Promise<void> {
  await host();
  const dir = folder();
  const before = await kernelState(here);
  await life(dir);
  assert.deepEqual(diffState(before, await kernelState(here)), [], 'without a fault');
  fault.calls = 0;
  const { started } = await life(dir);
  assert.ok(started);
  const calls = fault.calls;
  assert.ok(calls > 0);
  const wrong: string[] = [];
  let refused = 0;
  for (const late of modes) {
    for (let at = 1; at <= calls; at++) {
      Object.assign(fault, { at, late, calls: 0, what: '' });
      const open = openFds();
      let end: Awaited<ReturnType<typeof life>> | undefined;
      try {
        end = await life(dir);
      } catch (error) {
        // The look at the host before anything is changed.
        assert.ok(error instanceof Error && fault.what !== '', String(error));
      }
      fault.at = 0;
      if (end && !end.started) refused++;
      const name = `${late ? 'after' : 'instead of'} call ${at}/${calls}, ${fault.what} (${end?.started ? 'while running or stopping' : 'at the start'})`;
      // A stop says what it could not put back; then `tungate clean` must.
      const left = end?.failed.length ? clean(runtimePaths(join(dir, 'run'))).failed : [];
      const differences = diffState(before, await kernelState(here));
      if (differences.length + left.length > 0) wrong.push(`${name}: ${[...left, ...differences].join('\n  ')}`);
      // A thread that has ended closes what was its own a moment later.
      let more = openFds() - open;
      for (let tries = 0; end && more > 0 && tries < 200; tries++) {
        await sleep(5);
        more = openFds() - open;
      }
      if (end && more > 0) wrong.push(`${name}: ${more} descriptors are left open`);
      if (wrong.length > 5) break;
    }
  }
  console.error(`# ${calls} calls, ${refused} refused starts`);
  assert.deepEqual(wrong, []);
  assert.ok(refused > 0, 'some faults must make a start fail');
}

besideOneAnother('whatever fails, nothing is left behind', () => {
  inNamespace('each netlink request fails', import.meta.url, ['--net'], () => {
    test('the kernel is as before, whichever it was', async () => {
      const fault = new Fault();
      const { prototype } = Netlink;
      const failure = () => new KernelError('do what the test forbids', constants.errno.ENOMEM);
      prototype.request = fault.wrap(([type, , , what]) => what ?? `request ${type}`, prototype.request, failure);
      await tryAll(fault, [false, true]);
    });
  });

  inNamespace('each reading of a kernel table fails', import.meta.url, ['--net'], () => {
    test('the kernel is as before, whichever it was', async () => {
      const fault = new Fault();
      const { prototype } = Netlink;
      const failure = () => new KernelError('read what the test forbids', constants.errno.ENOBUFS);
      prototype.query = fault.wrap(([type, , what]) => what ?? `query ${type}`, prototype.query, failure);
      prototype.dump = fault.wrap(([type, , what]) => what ?? `dump ${type}`, prototype.dump, failure);
      await tryAll(fault, [false]);
    });
  });

  inNamespace('each write to /proc/sys and to the runtime directory fails', import.meta.url, ['--net'], () => {
    test('the kernel is as before, whichever it was', async () => {
      const fault = new Fault();
      const full = () => Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
      const { writeFileSync: writeFile, writeSync: write } = fs;
      const isOurs = (file: unknown) => typeof file === 'string' && /^\/proc\/sys|\/run\//.test(file);
      fs.writeFileSync = fault.wrap(([file]) => (isOurs(file) ? String(file) : undefined), writeFile, full);
      fs.writeSync = fault.wrap(
        ([, what]: unknown[]) =>
          Buffer.isBuffer(what) && what[0] === 0x7b ? `journal: ${what.toString().slice(0, 60)}` : undefined,
        write as (...args: unknown[]) => number,
        full,
      ) as typeof fs.writeSync;
      syncBuiltinESMExports();
      await tryAll(fault, [false]);
    });
  });

  inNamespace('each call of the addon fails', import.meta.url, ['--net'], () => {
    test('the kernel is as before, whichever it was', async () => {
      const fault = new Fault();
      const failure = () => Object.assign(new Error('EMFILE: too many open files'), { code: 'EMFILE', errno: -24 });
      const addon = native as unknown as Record<string, (...args: unknown[]) => unknown>;
      for (const name of ['tunOpen', 'tunPersist', 'mapFile', 'wakeCreate', 'netlinkOpen', 'watch'])
        addon[name] = fault.wrap(() => name, addon[name]!, failure);
      await tryAll(fault, [false]);
    });
  });
});
