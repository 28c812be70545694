/**
 * `tungate capture`: both sides of the translation and every verdict. Read by tshark, with the interfaces' names and the comments,
 * and by tcpdump, which must accept every byte of it.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { needTools } from '../../src/lab/namespace.js';
import { order, upAsPuppet } from './faults.js';
import { eventually, INTERNET, LAN, P, pause, prepare, type Stage } from './stage.js';

const CLI = fileURLToPath(new URL('../../src/cli.js', import.meta.url));

describe('capture', () => {
  let stage: Stage;
  before(async () => {
    needTools(['tcpdump', 'tshark']);
    stage = await prepare();
    await upAsPuppet(stage);
  });
  after(() => stage?.lab.close());

  /** Interface, addresses and comment of each packet, as tshark reads them. */
  async function read(file: string): Promise<string[]> {
    const fields = ['frame.interface_name', 'ip.src', 'ip.dst', 'frame.comment'].flatMap((field) => ['-e', field]);
    const text = await stage.router.ns.must([
      'tshark',
      '-n',
      '-r',
      file,
      '-T',
      'fields',
      '-E',
      'occurrence=f',
      ...fields,
    ]);
    const lines = text.split('\n').filter((line) => line !== '');
    const seen = await stage.router.ns.must(['tcpdump', '-n', '-tttt', '-r', file]);
    const today = new Date().toISOString().slice(0, 10);
    const frames = seen.split('\n').filter((line) => line !== '');
    assert.equal(frames.length, lines.length);
    for (const frame of frames) assert.ok(frame.startsWith(today), `${frame}: time of day, not of boot`);
    return lines.map((line) => line.replaceAll('\t', ' '));
  }

  /** Captures while `act` lasts, and until `packets` are in the file. */
  async function during(options: string[], packets: number, act: () => Promise<unknown>): Promise<string[]> {
    const { ns, dir, runtimeDir } = stage.daemon;
    const file = join(dir, 'capture.pcapng');
    rmSync(file, { force: true });
    const argv = [process.execPath, CLI, 'capture', '--runtime-dir', runtimeDir, '-w', file, ...options];
    const capture = ns.spawn(argv);
    await eventually('the capture has begun', async () => existsSync(file) || capture.code !== undefined);
    await pause(300); // the workers hear of it
    await act();
    await eventually(`${packets} packets`, async () => packetsIn(readFileSync(file)) >= packets);
    await pause(300); // more than were asked for would be wrong
    assert.equal(await capture.stop('SIGINT'), 0, capture.tail());
    return read(file);
  }

  /** Enhanced packet blocks of a pcapng file that is still written. */
  function packetsIn(bytes: Buffer): number {
    let packets = 0;
    for (let at = 0; at + 8 <= bytes.length; at += bytes.readUInt32LE(at + 4))
      if (bytes.readUInt32LE(at) === 6 && at + bytes.readUInt32LE(at + 4) <= bytes.length) packets++;
    return packets;
  }

  /** Clients that the daemon's socket has. */
  async function clients(): Promise<number> {
    const sockets = await stage.daemon.ns.must(['cat', '/proc/net/unix']);
    return sockets.split('\n').filter((line) => / 03 +\d+ .*\/api\.sock(\.new)?$/.test(line)).length;
  }

  test('a packet is seen coming and leaving, its answer too, and nobody else', async () => {
    const lines = await during(['--address', LAN.a, '-p', 'udp'], 3, async () => {
      await stage.a.askUdp({ to: INTERNET.one, port: 7 });
      await stage.b.askUdp({ to: INTERNET.one, port: 7 });
    });
    assert.deepEqual(lines, [
      `pre-nat ${LAN.a} ${INTERNET.one} send: forward`,
      `post-nat ${P} ${INTERNET.one} send: forward`,
      `post-nat ${INTERNET.one} ${LAN.a} send: forward`,
    ]);
  });

  test('what is dropped is seen coming, with the reason', async () => {
    const lines = await during(['--port', '2222'], 1, () =>
      stage.two.tryAsk('tcp', { to: P, port: 2222, seconds: 0.3 }),
    );
    assert.ok(lines.length > 0);
    for (const line of lines) assert.equal(line, `pre-nat ${INTERNET.two} ${P} drop: forward-source`);
  });

  /** Ends a worker thread, and waits until there are new ones. */
  async function renewWorkers(): Promise<void> {
    const look = async () =>
      (await stage.daemon.json<{ workers: { restarts: number; state: string }[] }>('status')).workers;
    const before = (await look())[0]!.restarts;
    order(stage, 'kill-worker');
    await eventually('new workers', async () =>
      (await look()).every(({ restarts, state }) => restarts === before + 1 && state === 'ready'),
    );
  }

  test('it goes on when the workers are started again', async () => {
    const lines = await during(['--address', LAN.a, '-p', 'udp', '--point', 'pre'], 2, async () => {
      await stage.a.askUdp({ to: INTERNET.one, port: 7 });
      await renewWorkers();
      await stage.a.askUdp({ to: INTERNET.two, port: 7 });
    });
    assert.deepEqual(lines, [
      `pre-nat ${LAN.a} ${INTERNET.one} send: forward`,
      `pre-nat ${LAN.a} ${INTERNET.two} send: forward`,
    ]);
  });

  test('so does a trace that waits for packets, and nobody is watched after its end', async () => {
    const wait = (...more: string[]) =>
      stage.daemon.cli('trace', LAN.b, '-p', 'udp', '-d', INTERNET.one, '--json', ...more);
    const traced = wait('--seconds', '60', '-n', '2');
    await eventually('the trace is there', async () => (await clients()) > 0);
    await pause(1000);
    await renewWorkers();
    await stage.b.askUdp({ to: INTERNET.one, port: 7 });
    const { code, stdout, stderr } = await traced;
    assert.equal(code, 0, stderr);
    const seen = stdout.trim().split(/\n(?=\{)/);
    assert.equal(seen.length, 2, 'the question and its answer, after the worker that was asked first had died');
    await renewWorkers();
    await stage.b.askUdp({ to: INTERNET.one, port: 7 });
    assert.equal((await wait('--seconds', '0.5')).code, 1, 'a new trace waits for new packets');
  });

  test('a capture that cannot be written says where and why, and a router that dies ends capture and trace with 1', async () => {
    const { daemon } = stage;
    const ping = stage.a.ns.spawn(['ping', '-q', '-n', '-i', '0.02', INTERNET.one]);
    for (const [file, said] of [
      ['/dev/full', /^tungate: \/dev\/full: no space left; .*\n$/],
      [`${daemon.dir}/none/x`, /\/none\/x: there is no folder .*\/none; make it first\n$/],
      [daemon.dir, /: is a folder; name the file in it\n$/],
    ] as const) {
      const { code, stderr } = await daemon.cli('capture', '-w', file, '--seconds', '5');
      assert.deepEqual([code, said.test(stderr)], [1, true], stderr);
    }
    for (const seconds of ['0', '-1', 'x', ''])
      assert.equal((await daemon.cli('capture', '-w', '/dev/null', '--seconds', seconds)).code, 2, seconds);
    await ping.stop('SIGINT');
    const both = [
      daemon.cli('capture', '-w', '/dev/null', '--seconds', '50'),
      daemon.cli('trace', '192.0.2.200', '--seconds', '50'),
    ];
    await eventually('both are there', async () => (await clients()) === 2);
    await pause(1000);
    await daemon.kill();
    for (const { code, stderr } of await Promise.all(both))
      assert.deepEqual([code, /the router has ended, and the stream with it/.test(stderr)], [1, true], stderr);
    await upAsPuppet(stage);
  });

  test('one point alone; a second capture beside the first is refused; a bad filter is exit 2', async () => {
    const lines = await during(['--point', 'post', '-p', 'udp'], 2, async () => {
      await stage.a.askUdp({ to: INTERNET.one, port: 7 });
      assert.equal((await stage.daemon.cli('capture', '-w', '/dev/null')).code, 1);
    });
    assert.deepEqual(lines, [
      `post-nat ${P} ${INTERNET.one} send: forward`,
      `post-nat ${INTERNET.one} ${LAN.a} send: forward`,
    ]);
    assert.equal((await stage.daemon.cli('capture', '-w', '/dev/null', '--point', 'middle')).code, 2);
  });
});
