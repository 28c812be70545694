/**
 * Cases as files: NAME/in.pcap goes through the engine, what comes out is NAME/out.pcap, and NAME/counters.json is what the
 * verdicts say. Where packets have vnet headers, in.vnet and out.vnet hold them, one line of hexadecimal digits each.
 *
 *   node dist/test/cases/cases.test.js --update    writes all files anew from cases.ts; look at the difference before you commit
 */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Rig } from '../datapath/rig.js';
import { checkTable } from '../flow/invariants.js';
import { dissect, withChecksums } from '../lib-packets.js';
import { parsePcap, writePcap } from '../pcap.js';
import { CASES, type WithVnet } from './cases.js';

// dist/test/cases/ → test/cases/: the files are read where they are checked in.
const HERE = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..', 'test', 'cases');
const UPDATE = process.argv.includes('--update');
const RAW_IP = 101;

interface Entry extends WithVnet {
  /** Seconds since the first packet. */
  second: number;
}

interface Outcome {
  out: Entry[];
  counters: Record<string, number>;
}

function run(name: string, entries: readonly Entry[]): Outcome {
  const rig = new Rig(CASES[name]!.options);
  const out: Entry[] = [];
  let second = 0;
  for (const entry of entries) {
    if (entry.second > second) rig.advance(entry.second - second);
    second = entry.second;
    for (const { bytes, vnet } of rig.passWithVnet({ bytes: entry.bytes, vnet: entry.vnet }))
      out.push({ bytes: masked(bytes), vnet, second });
  }
  checkTable(rig.engine.table);
  return { out, counters: rig.verdicts() };
}

/** IP ids that the engine chooses are random: without DF the id becomes 0, also in a quoted packet. */
function masked(packet: Uint8Array): Uint8Array {
  const copy = packet.slice();
  const v = new DataView(copy.buffer);
  if (copy.length < 20 || (v.getUint16(6) & 0x4000) !== 0) return copy;
  v.setUint16(4, 0);
  return withChecksums(copy, -1);
}

function described(name: string): Entry[] {
  let second = 0;
  const entries: Entry[] = [];
  for (const packet of CASES[name]!.packets) {
    if (typeof packet === 'number') second += packet;
    else if (packet instanceof Uint8Array) entries.push({ bytes: packet, vnet: new Uint8Array(10), second });
    else entries.push({ ...packet, second });
  }
  return entries;
}

function write(dir: string, name: string, entries: readonly Entry[]): void {
  const packets = entries.map(({ bytes, second }) => ({ time: BigInt(second) * 1_000_000_000n, bytes }));
  writeFileSync(join(dir, `${name}.pcap`), writePcap(RAW_IP, packets));
  if (entries.some(({ vnet }) => vnet.some((byte) => byte !== 0)))
    writeFileSync(
      join(dir, `${name}.vnet`),
      entries.map(({ vnet }) => `${Buffer.from(vnet).toString('hex')}\n`).join(''),
    );
}

function read(dir: string, name: string): Entry[] {
  const { linkType, packets } = parsePcap(readFileSync(join(dir, `${name}.pcap`)));
  assert.equal(linkType, RAW_IP);
  const file = join(dir, `${name}.vnet`);
  const lines = existsSync(file) ? readFileSync(file, 'latin1').split('\n') : [];
  return packets.map(({ bytes, time }, i) => ({
    bytes: bytes.slice(),
    vnet: lines[i] ? Uint8Array.from(Buffer.from(lines[i], 'hex')) : new Uint8Array(10),
    second: Number(time / 1_000_000_000n),
  }));
}

const shown = (entries: readonly Entry[]) =>
  entries.map(
    ({ bytes, vnet, second }) => `${second} ${Buffer.from(vnet).toString('hex')} ${Buffer.from(bytes).toString('hex')}`,
  );

for (const name of Object.keys(CASES)) {
  const dir = join(HERE, name);
  if (UPDATE) {
    mkdirSync(dir, { recursive: true });
    const { out, counters } = run(name, described(name));
    write(dir, 'in', described(name));
    write(dir, 'out', out);
    writeFileSync(join(dir, 'counters.json'), `${JSON.stringify(counters, null, 2)}\n`);
    continue;
  }
  test(`case ${name}: what goes in becomes what came out when it was written down`, () => {
    const { out, counters } = run(name, read(dir, 'in'));
    assert.deepEqual(counters, JSON.parse(readFileSync(join(dir, 'counters.json'), 'utf8')));
    assert.deepEqual(shown(out), shown(read(dir, 'out')));
  });
}

if (!UPDATE) {
  test('the stored packets are those that cases.ts describes, and every folder has its case', () => {
    for (const name of Object.keys(CASES))
      assert.deepEqual(shown(read(join(HERE, name), 'in')), shown(described(name)), name);
    const folders = readdirSync(HERE, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    assert.deepEqual(folders.map((entry) => entry.name).sort(), Object.keys(CASES).sort());
  });

  test('every stored packet that came out has right checksums, unless its checksum is partial', () => {
    for (const name of Object.keys(CASES)) {
      for (const { bytes, vnet } of read(join(HERE, name), 'out')) {
        const packet = dissect(bytes);
        assert.ok(packet.ipChecksumOk, name);
        if (vnet[0] === 0) assert.ok(packet.l4ChecksumOk, `${name}: ${Buffer.from(bytes).toString('hex')}`);
      }
    }
  });
}
