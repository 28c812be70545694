/**
 * `tungate capture`: both sides of the translation and every verdict. Read twice: by tcpdump, which must accept every byte of
 * it, and by the few lines below, which see what tcpdump does not show (interface and comment).
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { needTools } from '../../src/lab/namespace.js';
import { INTERNET, LAN, P, pause, raise, type Stage } from './stage.js';

describe('capture', () => {
  let stage: Stage;
  before(async () => {
    needTools(['tcpdump']);
    stage = await raise();
  });
  after(() => stage?.lab.close());

  /** Interface, addresses and comment of each packet. */
  async function read(file: string): Promise<string[]> {
    const bytes = readFileSync(file);
    const lines: string[] = [];
    for (let at = 0; at < bytes.length; at += bytes.readUInt32LE(at + 4)) {
      assert.equal(
        bytes.readUInt32LE(at + bytes.readUInt32LE(at + 4) - 4),
        bytes.readUInt32LE(at + 4),
        'block length twice',
      );
      if (bytes.readUInt32LE(at) !== 6) continue;
      const packet = at + 28;
      const comment = packet + ((bytes.readUInt32LE(at + 20) + 3) & ~3);
      const address = (from: number) => [...bytes.subarray(from, from + 4)].join('.');
      assert.equal(bytes.readUInt16LE(comment), 1, 'opt_comment');
      const text = bytes.toString('utf8', comment + 4, comment + 4 + bytes.readUInt16LE(comment + 2));
      lines.push(`${bytes.readUInt32LE(at + 8)} ${address(packet + 12)} ${address(packet + 16)} ${text}`);
    }
    const seen = await stage.router.ns.must(['tcpdump', '-n', '-tttt', '-r', file]);
    const today = new Date().toISOString().slice(0, 10);
    const frames = seen.split('\n').filter((line) => line !== '');
    assert.equal(frames.length, lines.length);
    for (const frame of frames) assert.ok(frame.startsWith(today), `${frame}: time of day, not of boot`);
    return lines;
  }

  async function during(options: string[], act: () => Promise<unknown>): Promise<string[]> {
    const file = join(stage.daemon.dir, 'capture.pcapng');
    const done = stage.daemon.cli('capture', '-w', file, '--seconds', '3', ...options);
    await pause(1500);
    await act();
    const { code, stderr } = await done;
    assert.equal(code, 0, stderr);
    return read(file);
  }

  test('a packet is seen coming and leaving, its answer too, and nobody else', async () => {
    const lines = await during(['--address', LAN.a, '-p', 'udp'], async () => {
      await stage.a.askUdp({ to: INTERNET.one, port: 7 });
      await stage.b.askUdp({ to: INTERNET.one, port: 7 });
    });
    assert.deepEqual(lines, [
      `0 ${LAN.a} ${INTERNET.one} send: forward`,
      `1 ${P} ${INTERNET.one} send: forward`,
      `1 ${INTERNET.one} ${LAN.a} send: forward`,
    ]);
  });

  test('what is dropped is seen coming, with the reason', async () => {
    const lines = await during(['--port', '2222'], () => stage.two.tryAsk('tcp', { to: P, port: 2222, seconds: 0.3 }));
    assert.ok(lines.length > 0);
    for (const line of lines) assert.equal(line, `0 ${INTERNET.two} ${P} drop: forward-source`);
  });

  test('one point alone; a second capture beside the first is refused; a bad filter is exit 2', async () => {
    const lines = await during(['--point', 'post', '-p', 'udp'], async () => {
      await stage.a.askUdp({ to: INTERNET.one, port: 7 });
      assert.equal((await stage.daemon.cli('capture', '-w', '/dev/null')).code, 1);
    });
    assert.deepEqual(lines, [`1 ${P} ${INTERNET.one} send: forward`, `1 ${INTERNET.one} ${LAN.a} send: forward`]);
    assert.equal((await stage.daemon.cli('capture', '-w', '/dev/null', '--point', 'middle')).code, 2);
  });
});
