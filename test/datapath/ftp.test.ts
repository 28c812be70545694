/** The FTP helper on the engine: bytes in, bytes out (REQ-11). Two TCP ends that lose, repeat and merge stand in ftp-dialog.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Counter } from '../../src/contract/counters.js';
import { Header } from '../../src/contract/table-layout.js';
import { build, type Parsed } from '../lib-packets.js';
import { ACK, bytesOf, Dialog, only, SYN, textOf, whole } from './ftp-dialog.js';
import { A, B, makePlan, OTHER, P, Rig, SERVER } from './rig.js';

const syn = (src: string, sport: number, dst: string, dport: number) =>
  build({ proto: 'tcp', src, sport, dst, dport, flags: SYN, seq: 77 });

/** A in active mode at SERVER, by the router. */
function active(options = {}): { rig: Rig; talk: Dialog } {
  const rig = new Rig({ helpers: ['ftp'], ...options });
  const talk = new Dialog(rig, { client: A, cport: 30001, server: SERVER, asSeen: SERVER, port: 21 });
  talk.open();
  talk.server('220 ready\r\n');
  return { rig, talk };
}

/** SERVER as a client of an FTP server on A, behind the forward 21 → A:21. */
function passive(options = {}): { rig: Rig; talk: Dialog } {
  const rig = new Rig({ helpers: ['ftp'], forwards: [{ first: 21, to: A }], ...options });
  const talk = new Dialog(rig, { client: SERVER, cport: 30001, server: A, asSeen: P, port: 21 });
  talk.open();
  talk.server('220 ready\r\n');
  return { rig, talk };
}

const announced = (line: string): [string, number] => {
  const six = /(\d+),(\d+),(\d+),(\d+),(\d+),(\d+)/.exec(line)!.slice(1).map(Number);
  return [six.slice(0, 4).join('.'), six[4]! * 256 + six[5]!];
};

test('REQ-11 PORT of an inside client: announced is P:p, the server comes in by it from any port, nobody else does', () => {
  const { rig, talk } = active();
  const [address, port] = announced(talk.client('PORT 172,22,161,170,156,64\r\n')); // 40000
  assert.equal(address, P);
  assert.equal(port, 40000, 'the port is free in the pool: kept');
  assert.deepEqual(rig.pass(syn(OTHER, 20, P, port)), []);
  const data = only(rig.pass(syn(SERVER, 20, P, port)));
  assert.deepEqual([data.src, data.sport, data.dst, data.dport], [SERVER, 20, A, 40000]);
  const back = only(
    rig.pass(build({ proto: 'tcp', src: A, sport: 40000, dst: SERVER, dport: 20, flags: SYN | ACK, seq: 5, ack: 78 })),
  );
  assert.deepEqual([back.src, back.sport, back.dst, back.dport], [P, port, SERVER, 20]);
  assert.equal(rig.counters[Counter.HELPER_REWRITTEN], 1);
});

test('REQ-11 EPRT likewise, in its own form', () => {
  const { rig, talk } = active();
  assert.match(talk.client('EPRT |1|172.22.161.170|5001|\r\n'), /^EPRT \|1\|203\.0\.113\.10\|[234]\d{4}\|\r\n$/);
  const line = talk.client('EPRT !1!172.22.161.170!40002!\r\n');
  assert.equal(line, `EPRT !1!${P}!40002!\r\n`);
  assert.equal(only(rig.pass(syn(SERVER, 20, P, 40002))).dport, 40002);
});

test('REQ-11 both ends go on after a line that became shorter: sequence, acknowledgement, SACK', () => {
  const { talk } = active();
  talk.client('PORT 172,22,161,170,156,64\r\n');
  talk.server('200 PORT command successful\r\n');
  assert.equal(talk.client('LIST\r\n'), 'LIST\r\n');
  // The server has LIST, but not the line before it: what it selects is what the client called it.
  const { clientSeq, serverView } = talk;
  const left = (serverView - 6) | 0;
  const sack = new Uint8Array(12);
  const v = new DataView(sack.buffer);
  v.setUint32(0, 0x0101050a);
  v.setInt32(4, left);
  v.setInt32(8, serverView);
  const ack = only(talk.rig.pass(talk.fromServer('', { ack: left, tcpOptions: sack })));
  const seen = new DataView(whole(ack).buffer);
  const at = ack.header;
  assert.equal(seen.getInt32(at + 8), (clientSeq - 6) | 0, 'acknowledgement');
  assert.equal(seen.getInt32(at + 24), (clientSeq - 6) | 0, 'SACK, left edge');
  assert.equal(seen.getInt32(at + 28), clientSeq, 'SACK, right edge');
});

test('REQ-11 a retransmission of a line that was written anew is the same bytes; one of an earlier line is shifted as then', () => {
  const { rig, talk } = active();
  talk.client('USER a\r\n');
  const first = talk.clientSeq;
  const line = talk.client('PORT 172,22,161,170,156,64\r\n');
  const after = talk.clientSeq;
  talk.client('LIST\r\n');
  const again = only(rig.pass(talk.fromClient('PORT 172,22,161,170,156,64\r\n', { seq: first })));
  assert.equal(textOf(again), line);
  assert.equal(seqOf(again), first, 'nothing before it has changed');
  const list = only(rig.pass(talk.fromClient('LIST\r\n', { seq: after })));
  assert.equal(seqOf(list), (after + line.length - 28) | 0);
  const user = only(rig.pass(talk.fromClient('USER a\r\n', { seq: (first - 8) | 0 })));
  assert.equal(seqOf(user), (first - 8) | 0);
  // All three in one segment, as TCP merges them.
  const merged = only(
    rig.pass(talk.fromClient('USER a\r\nPORT 172,22,161,170,156,64\r\nLIST\r\n', { seq: (first - 8) | 0 })),
  );
  assert.equal(textOf(merged), `USER a\r\n${line}LIST\r\n`);
  assert.equal(rig.counters[Counter.HELPER_REWRITTEN], 1, 'one announcement, whatever the number of copies');
  assert.equal(rig.engine.table.header[Header.LIVE_EXPECTED], 1);
});

test('REQ-11 an acknowledgement inside a line that was written anew acknowledges nothing of it', () => {
  const { rig, talk } = active();
  const first = talk.clientSeq;
  const line = talk.client('PORT 172,22,161,170,156,64\r\n');
  for (const [acked, told] of [
    [0, 0],
    [1, 0],
    [20, 0],
    [line.length - 3, 0],
    [line.length - 2, 26], // the announcement; its line end is shifted like everything behind it
    [line.length, 28],
  ] as const) {
    const ack = only(rig.pass(talk.fromServer('', { ack: (first + acked) | 0 })));
    assert.equal(new DataView(whole(ack).buffer).getInt32(ack.header + 8), (first + told) | 0, `${acked} bytes`);
  }
});

test('REQ-11 announcements that nobody acknowledges: the fifth goes on as it is, until the first is', () => {
  const { rig, talk } = active();
  let seq = talk.clientSeq;
  const send = (i: number) => {
    const text = `PORT 172,22,161,170,156,${64 + i}\r\n`;
    const out = textOf(only(rig.pass(talk.fromClient(text, { seq }))));
    seq = (seq + text.length) | 0;
    return out === text ? 'left' : 'rewritten';
  };
  assert.deepEqual([0, 1, 2, 3, 4].map(send), ['rewritten', 'rewritten', 'rewritten', 'rewritten', 'left']);
  only(rig.pass(talk.fromServer('', { ack: (talk.serverView + 26) | 0 })));
  assert.deepEqual([5, 6].map(send), ['rewritten', 'left']);
});

test('REQ-11 what comes behind a gap is not read: what fills the gap later may belong to its line', () => {
  const { rig, talk } = active();
  const behind = 'SITE\r\nPORT 172,22,161,170,156,64\r\n';
  assert.equal(textOf(only(rig.pass(talk.fromClient(behind, { seq: (talk.clientSeq + 4) | 0 })))), behind);
  assert.equal(textOf(only(rig.pass(talk.fromClient('ABCD')))), 'ABCD');
  assert.equal(rig.counters[Counter.HELPER_REWRITTEN], 0);
});

test('REQ-11 a number far outside the window is not followed: a stranger who guesses cannot make the helper deaf', () => {
  const { rig, talk } = active();
  rig.pass(talk.fromClient('NOOP\r\n', { seq: (talk.clientSeq + 0x1000_0000) | 0 }));
  assert.notEqual(talk.client('PORT 172,22,161,170,156,64\r\n'), 'PORT 172,22,161,170,156,64\r\n');
});

test('REQ-11 a segment that cuts through a line that was written anew is dropped by name, and nothing else is', () => {
  const { rig, talk } = active();
  const first = talk.clientSeq;
  talk.client('PORT 172,22,161,170,156,64\r\n');
  assert.deepEqual(rig.pass(talk.fromClient('22,161,170,156,64\r\n', { seq: (first + 9) | 0 })), []);
  assert.deepEqual(rig.pass(talk.fromClient('PORT 172,22,', { seq: first })), []);
  assert.equal(rig.verdicts()['helper-segment'], 2);
  assert.equal(talk.client('NOOP\r\n'), 'NOOP\r\n');
});

test('REQ-11 227 and 229 of an inside server behind a forward: only that client comes in', () => {
  const { rig, talk } = passive();
  const [address, port] = announced(talk.server('227 Entering Passive Mode (172,22,161,170,7,208).\r\n')); // 2000
  assert.equal(address, P);
  assert.ok(port >= 20000 && port <= 49999, String(port));
  assert.deepEqual(rig.pass(syn(OTHER, 999, P, port)), []);
  assert.deepEqual(
    [only(rig.pass(syn(SERVER, 999, P, port)))].map((p) => [p.src, p.dst, p.dport]),
    [[SERVER, A, 2000]],
  );
  const line = talk.server('229 Entering Extended Passive Mode (|||40001|)\r\n');
  assert.equal(line, '229 Entering Extended Passive Mode (|||40001|)\r\n', 'kept: free in the pool');
  assert.equal(only(rig.pass(syn(SERVER, 1000, P, 40001))).dport, 40001);
  // Longer: 3000 becomes five digits, and the client's acknowledgement comes back shorter.
  const longer = talk.server('229 Entering Extended Passive Mode (|||3000|)\r\n');
  assert.equal(longer.length, 1 + '229 Entering Extended Passive Mode (|||3000|)\r\n'.length);
  assert.equal(talk.client('PASV\r\n'), 'PASV\r\n');
});

test('REQ-11 passive ports that are forwarded anyway are announced as the forward has them', () => {
  const { rig, talk } = passive({
    forwards: [
      { first: 21, to: A },
      { first: 50000, last: 50010, to: A, toPort: 2000 },
    ],
  });
  assert.deepEqual(announced(talk.server('227 ok (172,22,161,170,7,213)\r\n')), [P, 50005]);
  assert.equal(rig.engine.table.header[Header.LIVE_EXPECTED], 0);
  assert.equal(only(rig.pass(syn(SERVER, 999, P, 50005))).dport, 2005);
});

test('REQ-11 sides that are not translated are not touched: a client outside, a server outside', () => {
  const inside = passive();
  assert.equal(inside.talk.client('PORT 198,51,100,10,156,64\r\n'), 'PORT 198,51,100,10,156,64\r\n');
  const outside = active();
  const line = '227 Entering Passive Mode (198,51,100,10,156,64)\r\n';
  assert.equal(outside.talk.server(line), line);
  for (const { rig } of [inside, outside]) {
    assert.equal(rig.counters[Counter.HELPER_REWRITTEN], 0);
    assert.equal(rig.counters[Counter.HELPER_REFUSED], 0);
    assert.equal(rig.engine.table.header[Header.LIVE_EXPECTED], 0);
  }
});

test('REQ-11 hairpin: client and server inside, each announces, each comes in by P', () => {
  const rig = new Rig({ helpers: ['ftp'], forwards: [{ first: 21, to: A }] });
  const talk = new Dialog(rig, { client: B, cport: 30001, server: A, asSeen: P, port: 21 });
  talk.open();
  talk.server('220 ready\r\n');
  const [, toServer] = announced(talk.server('227 ok (172,22,161,170,7,208)\r\n'));
  assert.deepEqual(
    [only(rig.pass(syn(B, 999, P, toServer)))].map((p) => [p.src, p.dst, p.dport]),
    [[P, A, 2000]],
  );
  const [, toClient] = announced(talk.client('PORT 172,22,161,20,156,64\r\n'));
  assert.deepEqual(
    [only(rig.pass(syn(A, 20, P, toClient)))].map((p) => [p.src, p.dst, p.dport]),
    [[P, B, 40000]],
  );
  assert.equal(rig.engine.table.header[Header.LIVE_EXPECTED], 0, 'both have come');
});

test('REQ-11 bounce: an address of somebody else, and a port below 1024, go on untouched and counted', () => {
  const { rig, talk } = active();
  for (const line of ['PORT 172,22,161,20,156,64\r\n', 'PORT 198,51,100,10,156,64\r\n', 'PORT 172,22,161,170,0,22\r\n'])
    assert.equal(talk.client(line), line);
  assert.equal(rig.counters[Counter.HELPER_FOREIGN], 3);
  assert.equal(rig.engine.table.header[Header.LIVE_EXPECTED], 0);
});

test('REQ-11 lines cut by a segment’s end, and commands that stand inside a line, are left alone', () => {
  const { rig, talk } = active();
  assert.equal(talk.client('PORT 172,22,'), 'PORT 172,22,');
  assert.equal(talk.client('161,170,156,64\r\n'), '161,170,156,64\r\n');
  assert.equal(rig.counters[Counter.HELPER_SPLIT], 1);
  assert.equal(talk.client('SITE '), 'SITE ');
  assert.equal(talk.client('PORT 172,22,161,170,156,64\r\n'), 'PORT 172,22,161,170,156,64\r\n');
  assert.notEqual(talk.client('PORT 172,22,161,170,156,64\r\n'), 'PORT 172,22,161,170,156,64\r\n');
});

test('REQ-11 what does not begin with a server’s greeting is not read: an HTTP request to port 21', () => {
  const rig = new Rig({ helpers: ['ftp'] });
  const talk = new Dialog(rig, { client: A, cport: 30001, server: SERVER, asSeen: SERVER, port: 21 });
  talk.open();
  talk.server('HTTP/1.1 400 Bad Request\r\n');
  assert.equal(talk.client('PORT 172,22,161,170,156,64\r\n'), 'PORT 172,22,161,170,156,64\r\n');
});

test('REQ-11 after AUTH TLS nothing is read', () => {
  const { talk } = active();
  talk.server('234 AUTH TLS successful\r\n');
  assert.equal(talk.client('PORT 172,22,161,170,156,64\r\n'), 'PORT 172,22,161,170,156,64\r\n');
});

test('REQ-11 off by default: nothing is touched', () => {
  const { talk } = active({ helpers: [] });
  assert.equal(talk.client('PORT 172,22,161,170,156,64\r\n'), 'PORT 172,22,161,170,156,64\r\n');
});

test('REQ-11 switched off by a reload: what was shifted stays shifted, nothing new is read', () => {
  const { rig, talk } = active();
  talk.client('PORT 172,22,161,170,156,64\r\n');
  rig.engine.setPlan(makePlan({ helpers: [] }, 2));
  assert.equal(talk.client('LIST\r\n'), 'LIST\r\n');
  assert.equal(talk.client('PORT 172,22,161,170,156,65\r\n'), 'PORT 172,22,161,170,156,65\r\n');
});

test('REQ-11 an announced port waits 60 s, then it is nobody’s', () => {
  const { rig, talk } = active();
  const [, port] = announced(talk.client('PORT 172,22,161,170,156,64\r\n'));
  rig.advance(61);
  assert.deepEqual(rig.pass(syn(SERVER, 20, P, port)), []);
  assert.equal(rig.engine.table.header[Header.LIVE_EXPECTED], 0);
  assert.equal(rig.engine.table.mappings.ports.isUsed(rig.engine.plan.addresses[0]!.address, 0, port), false);
});

test('REQ-11 at most 8 ports wait for one connection; one that was used makes room', () => {
  const { rig, talk } = active();
  const ports: number[] = [];
  for (let i = 0; i < 8; i++) {
    ports.push(announced(talk.client(`PORT 172,22,161,170,156,${64 + i}\r\n`))[1]);
    talk.server('200 ok\r\n');
  }
  assert.equal(rig.engine.table.header[Header.LIVE_EXPECTED], 8);
  const ninth = 'PORT 172,22,161,170,156,99\r\n';
  assert.equal(talk.client(ninth), ninth);
  assert.equal(rig.counters[Counter.HELPER_REFUSED], 1);
  // The same endpoint again takes no further place.
  assert.notEqual(talk.client('PORT 172,22,161,170,156,64\r\n'), 'PORT 172,22,161,170,156,64\r\n');
  talk.server('200 ok\r\n');
  rig.pass(syn(SERVER, 20, P, ports[3]!));
  only(
    rig.pass(build({ proto: 'tcp', src: A, sport: 40003, dst: SERVER, dport: 20, flags: SYN | ACK, seq: 5, ack: 78 })),
  );
  assert.equal(rig.engine.table.header[Header.LIVE_EXPECTED], 7);
  assert.notEqual(talk.client(ninth), ninth);
});

test('REQ-11, 32 the limit of ports for one host holds for announced ones', () => {
  const { rig, talk } = active({ perHost: 2 });
  talk.client('PORT 172,22,161,170,156,64\r\n');
  talk.server('200 ok\r\n');
  const line = 'PORT 172,22,161,170,156,66\r\n';
  assert.equal(talk.client(line), line);
  assert.equal(rig.counters[Counter.HELPER_REFUSED], 1);
});

test('REQ-11 at most 1024 ports wait in all, and a refusal leaves no port behind', () => {
  const { rig, talk } = active();
  const { header, mappings } = rig.engine.table;
  header[Header.LIVE_EXPECTED] = 1024;
  const line = 'PORT 172,22,161,170,156,64\r\n';
  assert.equal(talk.client(line), line);
  assert.equal(rig.counters[Counter.HELPER_REFUSED], 1);
  assert.equal(header[Header.LIVE_EXPECTED], 1024);
  assert.equal(mappings.ports.usedCount(rig.engine.plan.addresses[0]!.address, 0), 1, 'the control connection’s own');
});

test('REQ-11 the 5-tuple is used again after the end: the new connection starts unshifted', () => {
  const { rig, talk } = active();
  talk.client('PORT 172,22,161,170,156,64\r\n');
  const reset = talk.fromClient('', { flags: 4 | ACK });
  only(rig.pass(reset));
  const next = new Dialog(rig, { client: A, cport: 30001, server: SERVER, asSeen: SERVER, port: 21 });
  next.open();
  next.server('220 ready\r\n');
  assert.equal(next.client('USER somebody-with-a-long-name\r\n'), 'USER somebody-with-a-long-name\r\n');
  assert.equal(announced(next.client('PORT 172,22,161,170,156,64\r\n'))[0], P);
  assert.equal(next.client('LIST\r\n'), 'LIST\r\n');
});

test('REQ-42 partial checksums: the pseudo-header sum has the new length; GSO that shrinks into one segment is none', () => {
  const { rig, talk } = active();
  const before = talk.fromClient('PORT 172,22,161,170,156,64\r\n');
  const vnet = new Uint8Array(10);
  const v = new DataView(vnet.buffer);
  v.setUint8(0, 1);
  v.setUint8(1, 1);
  v.setUint16(2, 40, true);
  v.setUint16(4, 26, true); // gso_size: 28 bytes are two segments, 26 are one
  v.setUint16(6, 20, true);
  v.setUint16(8, 16, true);
  const pseudo = (packet: Uint8Array, length: number) => {
    const p = new DataView(packet.buffer, packet.byteOffset);
    let sum = 6 + length;
    for (let at = 12; at < 20; at += 2) sum += p.getUint16(at);
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
    return sum;
  };
  new DataView(before.buffer).setUint16(36, pseudo(before, before.length - 20));
  const [out] = rig.passWithVnet({ bytes: before, vnet });
  const bytes = out!.bytes;
  assert.equal(new TextDecoder().decode(bytes.subarray(40)), 'PORT 203,0,113,10,156,64\r\n');
  assert.equal(new DataView(bytes.buffer, bytes.byteOffset).getUint16(36), pseudo(bytes, bytes.length - 20));
  const w = new DataView(out!.vnet.buffer, out!.vnet.byteOffset);
  assert.deepEqual([w.getUint8(0), w.getUint8(1), w.getUint16(4, true)], [1, 0, 0]);
});

test('REQ-68 a control segment with a wrong checksum is written anew and stays wrong', () => {
  const { rig, talk } = active();
  const packet = talk.fromClient('PORT 172,22,161,170,156,64\r\n');
  packet[36]! ^= 0x55;
  const [out] = rig.pass(packet);
  assert.equal(whole(out!).length < packet.length, true);
  assert.equal(only([out!], false).l4ChecksumOk, false);
});

test('REQ-14 a line that would no longer fit the MTU goes on as it is', () => {
  const rig = new Rig({ helpers: ['ftp'], forwards: [{ first: 21, to: A }], mtu: { wan: 600 } });
  const talk = new Dialog(rig, { client: SERVER, cport: 30001, server: A, asSeen: P, port: 21 });
  talk.open();
  talk.server('220 ready\r\n');
  const line = '229 Entering Extended Passive Mode (|||3000|)\r\n';
  const full = `${`200 ${'x'.repeat(600 - 40 - line.length - 6)}`}\r\n${line}`;
  assert.equal(full.length, 560);
  assert.equal(talk.server(full), full);
  assert.equal(rig.counters[Counter.HELPER_REFUSED], 1);
  assert.notEqual(talk.server(line), line);
});

function seqOf(packet: Parsed): number {
  return new DataView(whole(packet).buffer).getInt32(packet.header + 4);
}

test('no memory is read or written beside the packet: neighbours in the batch keep their bytes', () => {
  const { rig, talk } = passive();
  const other = build({ proto: 'udp', src: B, sport: 30003, dst: OTHER, dport: 53, payload: bytesOf('neighbour') });
  const out = rig.pass(talk.fromServer('229 Entering Extended Passive Mode (|||3000|)\r\n'), other);
  assert.equal(out.length, 2);
  assert.equal(textOf(only([out[1]!])), 'neighbour');
});
