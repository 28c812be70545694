/** Changes at run time are edits of the router's own overlay files. */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, describe, test } from 'node:test';
import { parsePrefix } from '../../src/control/address.js';
import { activeBlocks, nextBlockEnd } from '../../src/control/blocks.js';
import { loadConfig } from '../../src/control/config.js';
import {
  addBlock,
  addItem,
  type Edit,
  Overlay,
  removeBlock,
  removeForward,
  removeItems,
} from '../../src/control/edit.js';
import { formatErrors } from '../../src/control/errors.js';
import { ownOverlay, replaceFile } from '../../src/control/files.js';
import type { Config } from '../../src/control/model.js';
import { Refused } from '../../src/control/refused.js';

const dir = mkdtempSync(join(tmpdir(), 'tungate-edit-'));
const main = join(dir, 'tungate.yaml');
const temporary = join(dir, 'run', 'temporary.yaml');
const own = ownOverlay(main);
const overlay = new Overlay(main, temporary);
const MAIN = `uplink: { interface: vmbr0, address: 203.0.113.10 }
lans: [{ interface: vmbr1, subnet: 172.22.161.0/24 }]
forwards:
  - { name: written, ports: 80, to: 172.22.161.2 }
`;

function load(edit?: Edit): Config {
  const result = loadConfig(main, { temporary, ...(edit && { instead: edit }) });
  if ('errors' in result) assert.fail(formatErrors(result.errors));
  return result.config;
}

function errors(edit?: Edit): string[] {
  const result = loadConfig(main, { temporary, ...(edit && { instead: edit }) });
  assert.ok('errors' in result);
  return formatErrors(result.errors).replaceAll(`${dir}/`, '').split('\n');
}

function apply(edit: Edit): Config {
  const config = load(edit);
  for (const [file, text] of edit) replaceFile(file, text);
  assert.deepEqual(load(), config, 'what was judged is what was written');
  return config;
}

function put(name: string, text: string): void {
  mkdirSync(join(dir, 'conf.d'), { recursive: true });
  writeFileSync(join(dir, 'conf.d', name), text);
}

const block = (text: string, until = 0) => ({ ...parsePrefix(text), until, origin: '' });
const refused = (status: number, message: RegExp) => (error: unknown) =>
  error instanceof Refused && error.status === status && message.test(error.message);

beforeEach(() => {
  rmSync(join(dir, 'conf.d'), { recursive: true, force: true });
  rmSync(join(dir, 'run'), { recursive: true, force: true });
  writeFileSync(main, MAIN);
});
after(() => rmSync(dir, { recursive: true }));

describe('conf.d', () => {
  test('overlays add to the lists in the order of their names; other files are not read', () => {
    put('20-b.yaml', 'forwards: ["82:172.22.161.2"]\n');
    put('10-a.yml', 'forwards: ["81:172.22.161.2"]\nlans: [{ interface: vmbr2, subnet: 10.7.0.0/24 }]\n');
    put('.15-swap.yaml', 'not: [right');
    put('15.yaml~', 'not: [right');
    put('30-empty.yaml', '# nothing yet\n');
    const config = load();
    assert.deepEqual(
      config.forwards.map(({ name }) => name),
      ['written', '81/tcp', '82/tcp'],
    );
    assert.equal(config.lans.length, 2);
    assert.deepEqual(
      config.files.map((file) => file.slice(dir.length + 1)),
      ['tungate.yaml', 'conf.d/10-a.yml', 'conf.d/20-b.yaml', 'conf.d/30-empty.yaml'],
    );
    assert.equal(config.forwards[2]!.origin, `${join(dir, 'conf.d', '20-b.yaml')}:1:12`);
  });

  test('errors have the place in the file that they stand in, file by file', () => {
    put('10-a.yaml', '# first\nforwards:\n  - "81:172.22.161.2"\n  - "82:10.0.0.1"\n');
    put('20-b.yaml', 'forwards: [{ prts: 3, to: 172.22.161.2 }]\nlimits: { flows: 1024 }\nforwads: []\nnat: 7\n');
    assert.deepEqual(errors(), [
      'conf.d/10-a.yaml:4:5: forwards[1].to: target 10.0.0.1 is in no LAN (there is: 172.22.161.0/24)',
      'conf.d/20-b.yaml:1:14: forwards[0].prts: unknown key "prts"; did you mean "ports"? (allowed: name, description, ports, to, proto, from, address, max_flows, max_rate)',
      'conf.d/20-b.yaml:2:1: limits: `limits` belongs into tungate.yaml; a file beside it adds to the lists uplinks, lans, forwards, nat, block, links',
      'conf.d/20-b.yaml:3:1: forwads: unknown key "forwads"; did you mean "forwards"? (allowed: uplinks, lans, forwards, nat, block, links)',
      'conf.d/20-b.yaml:4:6: nat: must be a list, not 7',
    ]);
  });

  test('what two files claim is an error that names both places', () => {
    put('10-a.yaml', 'forwards: ["80:172.22.161.9"]\n');
    put('20-b.yaml', 'forwards: [{ name: written, ports: 81, to: 172.22.161.2 }]\n');
    assert.deepEqual(errors(), [
      'conf.d/10-a.yaml:1:12: forwards[0]: forward "80/tcp" and forward "written" at tungate.yaml:4:5 both take tcp port 80; a port has one target',
      'conf.d/20-b.yaml:1:20: forwards[0].name: "written" is already the name of the forward at tungate.yaml:4:5; names tell rules apart',
    ]);
  });

  test('an overlay that is not YAML, not UTF-8, or a folder is an error with its name', () => {
    put('10-a.yaml', 'forwards: [');
    assert.match(errors()[0]!, /^conf\.d\/10-a\.yaml:1:\d+: cannot be read as YAML/);
    writeFileSync(join(dir, 'conf.d', '10-a.yaml'), Uint8Array.of(0xff, 0xfe));
    assert.deepEqual(errors(), ['conf.d/10-a.yaml: is not UTF-8 text']);
    rmSync(join(dir, 'conf.d', '10-a.yaml'));
    mkdirSync(join(dir, 'conf.d', '10-a.yaml'));
    assert.deepEqual(errors(), ['conf.d/10-a.yaml: is a folder; name the file in it']);
  });
});

describe('forwards', () => {
  test('added to an overlay that is made for it, lasting or temporary, and removed again', () => {
    apply(addItem(overlay, false, 'forwards', '2222:172.22.161.10:22/tcp'));
    apply(
      addItem(overlay, true, 'forwards', { name: 'web', ports: '443', to: '172.22.161.10', from: ['198.51.100.0/24'] }),
    );
    const config = apply(addItem(overlay, false, 'forwards', '2223:172.22.161.11:22/tcp'));
    assert.deepEqual(
      config.forwards.map(({ name }) => name),
      ['written', '2222/tcp', '2223/tcp', 'web'],
    );
    assert.match(readFileSync(own, 'utf8'), /^# Written by "tungate forward"/);
    apply(removeForward(overlay, load(), '2222/tcp'));
    apply(removeForward(overlay, load(), 'web'));
    apply(removeForward(overlay, load(), '2223/tcp'));
    assert.equal(load().forwards.length, 1);
    apply(addItem(overlay, false, 'forwards', '2222:172.22.161.10:22/tcp'));
  });

  test('comments, order and what else is in the file stay', () => {
    put(
      '90-tungate.yaml',
      '# mine\nforwards:\n  # the first\n  - "81:172.22.161.2" # why\n  - "82:172.22.161.2"\nblock: [192.0.2.7] # bad\n',
    );
    apply(addItem(overlay, false, 'forwards', '83:172.22.161.2'));
    apply(removeForward(overlay, load(), '82/tcp'));
    assert.equal(
      readFileSync(own, 'utf8'),
      '# mine\nforwards:\n  # the first\n  - "81:172.22.161.2" # why\n  - 83:172.22.161.2\nblock: [ 192.0.2.7 ] # bad\n',
    );
  });

  test('what stands in a file of somebody else is named and not touched', () => {
    put('10-a.yaml', 'forwards: ["81:172.22.161.2"]\n');
    assert.throws(
      () => removeForward(overlay, load(), 'written'),
      refused(409, /tungate\.yaml:4:5: is written in a file/),
    );
    assert.throws(() => removeForward(overlay, load(), '81/tcp'), refused(409, /10-a\.yaml:1:12/));
    assert.throws(
      () => removeForward(overlay, load(), 'nobody'),
      refused(404, /no forward "nobody" \(there are: written, 81\/tcp\)/),
    );
  });

  test('an overlay that changed since it was read is not edited at the old place', () => {
    apply(addItem(overlay, false, 'forwards', '81:172.22.161.2'));
    const [, { origin }] = load().forwards as [unknown, { origin: string }];
    put('90-tungate.yaml', '# a line more\n\nforwards: ["82:172.22.161.2"]\n');
    assert.throws(() => removeItems(overlay, 'forwards', [origin]), refused(409, /have changed/));
  });

  test('hostile texts stay texts', () => {
    const name = 'x"}]\nblock: [0.0.0.0/0]\n#';
    const edit = addItem(overlay, false, 'forwards', { ports: 81, to: '172.22.161.2', description: name });
    const config = load(edit);
    assert.equal(config.forwards[1]!.description, name);
    assert.deepEqual(config.block, []);
  });
});

describe('blocks', () => {
  test('added, replaced with a new end, removed; ended ones are cleared away in passing', () => {
    apply(addBlock(overlay, load(), block('198.51.100.7', 1000), false));
    const later = Math.floor(Date.now() / 1000) + 100;
    apply(addBlock(overlay, load(), block('192.0.2.0/24', later), true));
    assert.deepEqual(
      load().block.map(({ until }) => until),
      [later],
    );
    apply(addBlock(overlay, load(), block('192.0.2.0/24'), false));
    assert.deepEqual(
      load().block.map(({ until, origin }) => [until, origin.startsWith(own)]),
      [[0, true]],
    );
    apply(removeBlock(overlay, load(), block('192.0.2.0/24')));
    assert.deepEqual(load().block, []);
  });

  test('what is not on the list, or only inside of another, is said', () => {
    writeFileSync(main, `${MAIN}block: [192.0.2.0/24]\n`);
    assert.throws(
      () => removeBlock(overlay, load(), block('192.0.2.9')),
      refused(404, /is inside 192\.0\.2\.0\/24, which is \(.*:5:9\)/),
    );
    assert.throws(
      () => removeBlock(overlay, load(), block('192.0.3.9')),
      refused(404, /192\.0\.3\.9 is not on the block list$/),
    );
    assert.throws(() => removeBlock(overlay, load(), block('192.0.2.0/24')), refused(409, /tungate\.yaml:5:9/));
  });

  test('an end is part of the config and no longer of the plan once it is over', () => {
    writeFileSync(main, `${MAIN}block: [{ address: 192.0.2.7, until: 2030-01-31T12:00:00+01:00 }, 192.0.2.8]\n`);
    const config = load();
    const end = Date.UTC(2030, 0, 31, 11) / 1000;
    assert.equal(nextBlockEnd(config, end - 1), end);
    assert.equal(activeBlocks(config, end - 1), config);
    assert.equal(activeBlocks(config, end).block.length, 1);
    assert.equal(nextBlockEnd(config, end), Number.POSITIVE_INFINITY);
    writeFileSync(main, `${MAIN}block: [{ address: 192.0.2.7, until: 2030-01-31 }]\n`);
    assert.match(errors()[0]!, /5:38: block\[0\]\.until: "2030-01-31" is not a moment/);
  });
});

test('a file is replaced as a whole, keeps its mode, and leaves no draft', () => {
  replaceFile(own, 'one');
  chmodSync(own, 0o600);
  replaceFile(own, 'two');
  assert.equal(readFileSync(own, 'utf8'), 'two');
  assert.equal(statSync(own).mode & 0o777, 0o600);
  assert.deepEqual(readdirSync(join(dir, 'conf.d')), ['90-tungate.yaml']);
  mkdirSync(join(dir, 'conf.d', 'folder.yaml'));
  assert.throws(() => replaceFile(join(dir, 'conf.d', 'folder.yaml'), 'x'), /EISDIR|ENOTEMPTY|EEXIST/);
  assert.deepEqual(readdirSync(join(dir, 'conf.d')).sort(), ['90-tungate.yaml', 'folder.yaml']);
});
