import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ANNOUNCEMENT_BYTES, Announcement, Line } from '../../src/alg/alg.js';
import { Form, ftp } from '../../src/alg/ftp.js';
import { dotted, ip } from '../lib-packets.js';
import fc from '../property.js';

const bytes = (text: string) => Uint8Array.from(text, (c) => c.charCodeAt(0) & 255);
const text = (data: Uint8Array) => String.fromCharCode(...data);
const CLIENT = 0;
const SERVER = 1;

interface Read {
  line: number;
  address: string;
  port: number;
  argument: string;
  memory: number;
}

function read(line: string, side: number, memory = 0): Read {
  const data = bytes(line);
  const found = new Announcement();
  found.memory = memory;
  const result = ftp.read(data, 0, data.length, side, found);
  return {
    line: result,
    address: dotted(found.address),
    port: found.port,
    argument: text(data.subarray(found.from, found.to)),
    memory: found.memory,
  };
}

/** The line with its address written anew. */
function rewritten(line: string, side: number, address: string, port: number): string {
  const data = bytes(line);
  const found = new Announcement();
  assert.equal(ftp.read(data, 0, data.length, side, found), Line.ADDRESS, line);
  const into = new Uint8Array(ANNOUNCEMENT_BYTES);
  const length = ftp.write(into, found, ip(address), port);
  return line.slice(0, found.from) + text(into.subarray(0, length)) + line.slice(found.to);
}

for (const [line, side, address, port] of [
  ['PORT 192,168,0,2,200,13\r\n', CLIENT, '192.168.0.2', 51213],
  ['port 10,0,0,1,4,0\r\n', CLIENT, '10.0.0.1', 1024],
  ['PORT   10,0,0,1,4,0  \n', CLIENT, '10.0.0.1', 1024],
  ['PORT 192,168,000,002,4,1\r\n', CLIENT, '192.168.0.2', 1025],
  ['EPRT |1|192.168.0.2|51213|\r\n', CLIENT, '192.168.0.2', 51213],
  ['eprt !1!10.0.0.1!65535!\r\n', CLIENT, '10.0.0.1', 65535],
  ['227 Entering Passive Mode (192,168,0,2,200,13).\r\n', SERVER, '192.168.0.2', 51213],
  ['227 Entering Passive Mode 192,168,0,2,200,13\r\n', SERVER, '192.168.0.2', 51213],
  ['227 =192,168,0,2,200,13\r\n', SERVER, '192.168.0.2', 51213],
  ['227 Mode 2 is on, 3 of 4 (192,168,0,2,200,13)\r\n', SERVER, '192.168.0.2', 51213],
  ['229 Entering Extended Passive Mode (|||51213|)\r\n', SERVER, '0.0.0.0', 51213],
  ['229 !!! (!!!1024!)\r\n', SERVER, '0.0.0.0', 1024],
] as const)
  test(`REQ-11 understood: ${JSON.stringify(line)}`, () => {
    const seen = read(line, side);
    assert.equal(seen.line, Line.ADDRESS);
    assert.deepEqual([seen.address, seen.port], [address, port]);
  });

for (const [line, side] of [
  ['PORT 192,168,0,2,200\r\n', CLIENT],
  ['PORT 192,168,0,2,200,13,1\r\n', CLIENT],
  ['PORT 192,168,0,256,200,13\r\n', CLIENT],
  ['PORT 192,168,0,2,200,1300\r\n', CLIENT],
  ['PORT 192,168,0,2,200,-1\r\n', CLIENT],
  ['PORT192,168,0,2,200,13\r\n', CLIENT],
  ['PORT 192,168,0,2,200,13 and more\r\n', CLIENT],
  ['XPORT 192,168,0,2,200,13\r\n', CLIENT],
  [' PORT 192,168,0,2,200,13\r\n', CLIENT],
  ['PORT\r\n', CLIENT],
  ['EPRT |2|2001:db8::1|51213|\r\n', CLIENT],
  ['EPRT |1|192.168.0.2|65536|\r\n', CLIENT],
  ['EPRT |1|192.168.0.2|51213\r\n', CLIENT],
  ['EPRT |1|192.168.0|51213|\r\n', CLIENT],
  ['EPRT 111192.168.0.2151213|\r\n', CLIENT],
  ['227 Entering Passive Mode (192,168,0,2,200,13).\r\n', CLIENT],
  ['PORT 192,168,0,2,200,13\r\n', SERVER],
  ['227-Entering Passive Mode (192,168,0,2,200,13).\r\n', SERVER],
  ['2270 Entering Passive Mode (192,168,0,2,200,13).\r\n', SERVER],
  ['227 Entering Passive Mode\r\n', SERVER],
  ['229 Entering Extended Passive Mode (|||70000|)\r\n', SERVER],
  ['229 Entering Extended Passive Mode (|1|10.0.0.1|51213|)\r\n', SERVER],
  ['229 Entering Extended Passive Mode |||51213|\r\n', SERVER],
] as const)
  test(`REQ-11 left alone: ${JSON.stringify(line)} of the ${side === CLIENT ? 'client' : 'server'}`, () => {
    assert.equal(read(line, side).line, Line.OTHER);
  });

test('REQ-11 written anew: the address changes and nothing else', () => {
  const P = '203.0.113.10';
  assert.equal(rewritten('port 10,0,0,1,4,0\r\n', CLIENT, P, 0xabcd), 'port 203,0,113,10,171,205\r\n');
  assert.equal(rewritten('EPRT !1!10.0.0.1!9999!\r\n', CLIENT, P, 20000), 'EPRT !1!203.0.113.10!20000!\r\n');
  assert.equal(rewritten('227 ok (10,0,0,1,4,0).\r\n', SERVER, P, 65535), '227 ok (203,0,113,10,255,255).\r\n');
  assert.equal(rewritten('229 ok (|||1024|)\r\n', SERVER, P, 60009), '229 ok (|||60009|)\r\n');
});

test('inside a reply of several lines nothing is an address: help texts and file names stand there', () => {
  let memory = 0;
  for (const [line, result] of [
    ['213-Status follows:\r\n', Line.OTHER],
    ['227 Entering Passive Mode (192,168,0,2,200,13).\r\n', Line.OTHER],
    ['213-227 (192,168,0,2,200,13)\r\n', Line.OTHER],
    ['213 End of status\r\n', Line.OTHER],
    ['227 Entering Passive Mode (192,168,0,2,200,13).\r\n', Line.ADDRESS],
  ] as const) {
    const seen = read(line, SERVER, memory);
    assert.equal(seen.line, result, line);
    memory = seen.memory;
  }
  assert.equal(memory, 0);
});

test('after 234 nothing is readable any more; what greets begins a connection', () => {
  assert.equal(read('234 AUTH TLS successful\r\n', SERVER).line, Line.SEALED);
  for (const greeting of ['220 hello\r\n', '220-hello\r\n', '120 in 5 minutes\r\n'])
    assert.ok(ftp.greets(bytes(greeting), 0, greeting.length));
  for (const other of ['421 no\r\n', 'HTTP/1.1 200 OK\r\n', '22', ''])
    assert.ok(!ftp.greets(bytes(other), 0, other.length));
});

const part = fc.constantFrom(
  'PORT ',
  'EPRT ',
  '227 ',
  '229 ',
  '220-',
  '227-',
  '234 ',
  ',',
  '|',
  '|||',
  '(',
  ')',
  '.',
  ' ',
  '\r',
  '\n',
  '1',
  '255',
  '256',
  '65535',
  '99999999999',
  '0',
  '10,0,0,1,4,0',
  '|1|10.0.0.1|1024|',
  '(|||1024|)',
  '\xff\xf4',
  'é',
);
const hostile = fc.oneof(
  fc.array(part, { maxLength: 40 }).map((parts) => bytes(parts.join(''))),
  fc.uint8Array({ maxLength: 300 }),
);

/** An array that notices reads outside [from, end). */
function fenced(data: Uint8Array, from: number, end: number): Uint8Array {
  return new Proxy(data, {
    get(target, key) {
      const index = typeof key === 'string' && /^-?\d+$/.test(key) ? Number(key) : undefined;
      if (index !== undefined && (index < from || index >= end))
        throw new RangeError(`read at ${index} outside [${from}, ${end})`);
      return Reflect.get(target, key, target) as unknown;
    },
  });
}

test('REQ-64 hostile input: never an exception, never a read outside the line, an argument inside it, a text that reads back (property)', () => {
  fc.assert(
    fc.property(
      hostile,
      hostile,
      fc.nat(1),
      fc.nat(0xffff),
      fc.integer(),
      fc.nat(0xffff),
      (line, behind, side, memory, address, port) => {
        const data = Uint8Array.of(...behind, ...line, ...behind);
        const from = behind.length;
        const end = from + line.length;
        const found = new Announcement();
        found.memory = memory;
        const guarded = fenced(data, from, end);
        ftp.greets(guarded, from, end);
        ftp.mayAnnounce(guarded, from, end, side);
        if (ftp.read(guarded, from, end, side, found) !== Line.ADDRESS) return;
        assert.ok(found.from >= from && found.to > found.from && found.to <= end);
        assert.ok(found.port >= 0 && found.port <= 0xffff);
        const into = new Uint8Array(ANNOUNCEMENT_BYTES);
        const length = ftp.write(into, found, address, port);
        assert.ok(length <= ANNOUNCEMENT_BYTES);
        const again = new Announcement();
        const line2 = Uint8Array.of(
          ...data.subarray(from, found.from),
          ...into.subarray(0, length),
          ...data.subarray(found.to, end),
        );
        assert.equal(ftp.read(line2, 0, line2.length, side, again), Line.ADDRESS);
        assert.equal(again.port, port);
        if (found.form !== Form.EPSV) assert.equal(again.address, address);
      },
    ),
    { numRuns: 20_000 },
  );
});
