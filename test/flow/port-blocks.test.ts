/** Port blocks on the engine (flow/port-blocks.ts). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Header } from '../../src/contract/table-layout.js';
import { TranslationEvent } from '../../src/contract/translation.js';
import { translationLines } from '../../src/control/translations.js';
import { A, B, OTHER, P, Rig, SERVER } from '../datapath/rig.js';
import { build, dissect } from '../lib-packets.js';
import { checkTable } from './invariants.js';

const udp = (src: string, sport: number, dst = SERVER, dport = 9) => build({ proto: 'udp', src, sport, dst, dport });
const blocks = (pool: [number, number], size = 64) =>
  new Rig({ pool, change: (plan) => ({ ...plan, portBlocks: size, translationLog: 'blocks' }) });

test('REQ-37 an inside host’s ports come from blocks that are its alone, and the log has a line a block, without destinations', () => {
  const rig = blocks([20_032, 28_031]);
  const owner = new Map<number, string>();
  const take = () => translationLines(rig.engine.translations.take());
  for (let n = 0; n < 150; n++) {
    for (const src of [A, B, '172.22.161.33']) {
      const out = dissect(rig.pass(udp(src, 1024 + n))[0]!);
      assert.equal(out.src, P);
      assert.equal(out.sport & 1, n & 1, 'parity is kept');
      const block = out.sport >> 6;
      assert.equal(owner.get(block) ?? src, src, 'nobody else is in the block');
      owner.set(block, src);
    }
  }
  // 150 ports are three blocks of 64, and parity takes none more.
  assert.equal(owner.size, 9);
  const begun = take();
  assert.equal(begun.length, 9);
  for (const line of begun) {
    const [, from, to] = /^203\.0\.113\.10:(\d+)-(\d+)$/.exec(line.outside)!;
    assert.deepEqual([line.event, line.proto, line.remote], ['port block begins', 'udp', undefined]);
    assert.equal(Number(to) - Number(from), 63);
    assert.equal(owner.get(Number(from) >> 6), line.inside);
  }
  // Another destination, and what goes on, is no news.
  rig.pass(udp(A, 1024, OTHER), udp(A, 1025));
  assert.deepEqual(take(), []);
  checkTable(rig.engine.table);
  rig.advance(301);
  assert.deepEqual(take(), [], 'held ports are still the host’s');
  rig.advance(121);
  const ended = take();
  assert.deepEqual(
    ended.map((line) => line.event),
    Array.from({ length: 9 }, () => 'port block ends'),
  );
  assert.deepEqual(ended.map((line) => line.outside).sort(), begun.map((line) => line.outside).sort());
  assert.equal(rig.engine.table.header[Header.LIVE_MAPPINGS], 0);
});

test('REQ-37 blocks are used to the last port of the last one; who finds none free is refused', () => {
  // Of the last block only half is the pool's.
  const rig = blocks([20_032, 20_031 + 64 * 3 + 32]);
  for (let n = 0; n < 64 * 2; n++) assert.equal(dissect(rig.pass(udp(A, 1024 + n))[0]!).src, P);
  const ports = new Set<number>();
  let got = 0;
  for (let n = 0; n < 128; n++) {
    const out = dissect(rig.pass(udp(B, 1024 + n))[0]!);
    if (out.proto === 1) continue;
    ports.add(out.sport);
    got++;
  }
  assert.equal(ports.size, got);
  assert.ok(got === 64 + 32 || got === 64 || got === 32 + 64, `${got} ports`);
  assert.equal(dissect(rig.pass(udp('172.22.161.9', 5))[0]!).code, 13);
  checkTable(rig.engine.table);
});

test('REQ-37 after a crash a host goes on in its own blocks, which nothing but its mappings names', () => {
  const rig = blocks([20_032, 28_031]);
  const block = (src: string, sport: number) => dissect(rig.pass(udp(src, sport))[0]!).sport >> 6;
  const [a, b] = [block(A, 5000), block(B, 5000)];
  rig.engine.setPlan({ ...rig.engine.plan, generation: 2 });
  for (let n = 1; n < 60; n++) assert.deepEqual([block(A, 5000 + n), block(B, 5000 + n)], [a, b]);
  assert.equal(
    rig.engine.translations.take().filter((word, at) => at % 8 === 0 && word === TranslationEvent.BLOCK_BEGINS).length,
    2,
  );
});
