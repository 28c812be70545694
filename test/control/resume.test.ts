/**
 * What a start that goes on at once would obey (control/resume.ts): the plan that was written and no other, whatever happened to
 * the file meanwhile, and to the numbers beside it.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, describe, test } from 'node:test';
import { deserialize, serialize } from 'node:v8';
import type { Memory } from '../../src/control/compiled.js';
import { readMemory, writeMemory } from '../../src/control/memory.js';
import { forgetPlan, type PlanRecord, readPlan, writePlan } from '../../src/control/resume.js';
import { runtimePaths } from '../../src/control/runtime-dir.js';
import { makePlan } from '../datapath/rig.js';
import fc from '../property.js';

const base = mkdtempSync(join(tmpdir(), 'tungate-resume-'));
after(() => rmSync(base, { recursive: true }));
const paths = runtimePaths(base, 'r');
const config = join(base, 'tungate.yaml');

const memory: Memory = {
  generation: 7,
  rules: { 'forward web': 3, 'nat office': 4 },
  interfaces: ['', 'vmbr0'],
  shared: [9],
};
const plan = makePlan({}, memory.generation);
const record = { tun: 'tungate0', queues: 1, flows: 1024, tunAddresses: [9], plan };

beforeEach(() => {
  rmSync(paths.dir, { recursive: true, force: true });
  mkdirSync(paths.dir);
  writeFileSync(config, 'lans: []\n');
  writeMemory(paths.memory, memory);
  writePlan(paths, config, record);
});

/** With the right sum: as another program or another build would have written it. */
function rewritten(change: Partial<PlanRecord>): void {
  const bytes = serialize({ ...(deserialize(readFileSync(paths.plan).subarray(32)) as PlanRecord), ...change });
  const sum = createHash('sha256').update(bytes).digest();
  writeFileSync(paths.plan, Buffer.concat([sum, bytes]));
}

describe('the last plan', () => {
  test('what was written is read, with everything in it; for its owner alone', () => {
    const { program, digest, ...rest } = readPlan(paths, config)!;
    assert.deepEqual(rest, { config, ...record });
    assert.ok(program !== '' && digest !== '');
    assert.equal(statSync(paths.plan).mode & 0o777 & 0o027, 0);
    forgetPlan(paths);
    assert.equal(readPlan(paths, config), null);
  });

  test('any bytes changed, cut off or added: there is none', () => {
    const whole = readFileSync(paths.plan);
    const damage = fc.oneof(
      fc.record({ at: fc.nat(whole.length - 1), bits: fc.integer({ min: 1, max: 255 }) }).map(({ at, bits }) => {
        const bytes = Buffer.from(whole);
        bytes[at]! ^= bits;
        return bytes;
      }),
      fc.nat(whole.length - 1).map((length) => whole.subarray(0, length)),
      fc.uint8Array({ minLength: 1, maxLength: 64 }).map((more) => Buffer.concat([whole, more])),
      fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
    );
    fc.assert(
      fc.property(damage, (bytes) => {
        writeFileSync(paths.plan, bytes);
        assert.equal(readPlan(paths, config), null);
      }),
      { numRuns: 2000 },
    );
    writeFileSync(paths.plan, whole);
    assert.notEqual(readPlan(paths, config), null);
  });

  test('of another build, for another config file, for other contents of it or of an overlay: there is none', () => {
    rewritten({ program: 'tungate 0.0.9' });
    assert.equal(readPlan(paths, config), null, 'another build');
    writePlan(paths, config, record);
    assert.equal(readPlan(paths, join(base, 'other.yaml')), null, 'another file');
    writeFileSync(config, 'lans: [] # a word\n');
    assert.equal(readPlan(paths, config), null, 'another word');
    writePlan(paths, config, record);
    mkdirSync(join(base, 'conf.d'));
    writeFileSync(join(base, 'conf.d', '10-x.yaml'), 'block: []\n');
    assert.equal(readPlan(paths, config), null, 'an overlay');
    rmSync(join(base, 'conf.d'), { recursive: true });
    assert.notEqual(readPlan(paths, config), null);
    writeFileSync(paths.temporary, 'block: []\n');
    assert.equal(readPlan(paths, config), null, 'a temporary overlay');
  });

  test('the numbers beside it are of another plan, damaged, or gone: there is none', () => {
    writeMemory(paths.memory, { ...memory, generation: 8 });
    assert.equal(readPlan(paths, config), null);
    writeMemory(paths.memory, memory);
    assert.notEqual(readPlan(paths, config), null);
    truncateSync(paths.memory, 20);
    assert.equal(readPlan(paths, config), null);
    rmSync(paths.memory);
    assert.equal(readPlan(paths, config), null);
  });

  test('a file that somebody else can have written is not read: his own, writable for him, behind a link, a pipe', () => {
    chmodSync(paths.plan, 0o660);
    assert.equal(readPlan(paths, config), null, 'writable for the group');
    chmodSync(paths.plan, 0o642);
    assert.equal(readPlan(paths, config), null, 'writable for all');
    chmodSync(paths.plan, 0o640);
    assert.notEqual(readPlan(paths, config), null);
    const elsewhere = join(base, 'elsewhere');
    renameSync(paths.plan, elsewhere);
    symlinkSync(elsewhere, paths.plan);
    assert.equal(readPlan(paths, config), null, 'a link');
    rmSync(paths.plan);
    linkSync(elsewhere, paths.plan);
    assert.notEqual(readPlan(paths, config), null);
    if (process.geteuid!() === 0) {
      chownSync(paths.plan, 65_534, 65_534);
      assert.equal(readPlan(paths, config), null, "another user's");
    }
    rmSync(paths.plan);
    execFileSync('mkfifo', [paths.plan]);
    assert.equal(readPlan(paths, config), null, 'a pipe');
  });

  test('a link that lies where the draft will be is not followed', () => {
    const victim = join(base, 'victim');
    writeFileSync(victim, 'untouched');
    symlinkSync(victim, `${paths.plan}.new`);
    writePlan(paths, config, record);
    assert.equal(readFileSync(victim, 'utf8'), 'untouched');
    assert.notEqual(readPlan(paths, config), null);
  });
});

test('the numbers that rows carry: any byte changed, and none are believed', () => {
  assert.deepEqual(readMemory(paths.memory), memory);
  const whole = readFileSync(paths.memory);
  fc.assert(
    fc.property(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), (at, bits) => {
      const bytes = Buffer.from(whole);
      bytes[at]! ^= bits;
      writeFileSync(paths.memory, bytes);
      const seen = readMemory(paths.memory);
      // A changed letter's case in the sum, or blanks between words, change nothing that is meant.
      if (seen !== null) assert.deepEqual(seen, memory);
    }),
    { numRuns: 2000 },
  );
  for (const text of ['5', '{}', 'null', '[]', JSON.stringify(memory), '{"version":1,"sha256":"","memory":{}}']) {
    writeFileSync(paths.memory, text);
    assert.equal(readMemory(paths.memory), null, text);
  }
});
