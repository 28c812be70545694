/**
 * The judge: what must be true of every packet, whatever came in. It knows the topology and what was received, nothing
 * of the engine's state.
 *
 *   1 every slot has a verdict
 *   2 what is dropped, held or punted is as it came; what is forwarded differs in addresses, ports, IP id, MSS and checksums only
 *   3 checksums are as right, or exactly as wrong, as they were (REQ-42, REQ-68)
 *   4 no inside address goes to an outside one, nor inside a quote (REQ-41), except where a rule says `translate: false`
 *   5 nothing from outside reaches a LAN but through P (REQ-66)
 *   6 an ICMP error of the router's own quotes what a sender sent, and is addressed to that sender
 */
import assert from 'node:assert/strict';
import { type Batch, VNET_BYTES } from '../../src/batch.js';
import { VERDICTS, Verdict } from '../../src/contract/verdict.js';
import type { MemoryPacket } from '../../src/link/index.js';
import { checksumAt, ICMP, pseudo, residue, SYN, TCP, UDP, viewOf } from './packet.js';
import { inLan, isKernels, isNoNat, isOurs, isOutside, isPublic, LAN2 } from './world.js';

/** Later fragments that the engine keeps, remembered until their first comes. */
const HELD = 1024;
const ICMP_ERRORS = [3, 11, 12];
const NEEDS_CSUM = 1;
const FTP = 21;
/** By how much one segment's lines may grow or shrink: a few addresses. */
const LINE_GROWS = 256;

export class Judge {
  /** The second LAN is away: nothing may be sent to it, the kernel would route it out by the uplink. */
  lan2Gone = false;
  /** A helper is, or was, on: segments of control connections may change in sequence numbers and payload too. */
  helping = false;
  readonly #held: Uint8Array[] = [];
  readonly #scratch = new Uint8Array(65_536);

  /** Throws an AssertionError for the first packet of the batch that is not as it must be. */
  batch(batch: Batch, received: readonly MemoryPacket[]): void {
    for (let slot = 0; slot < batch.count; slot++) {
      const verdict = batch.verdict[slot]!;
      const row = VERDICTS[verdict];
      assert.ok(row && verdict !== Verdict.PENDING, `slot ${slot} has verdict ${verdict}`);
      const off = batch.off[slot]!;
      const bytes = batch.data.subarray(off, off + batch.len[slot]!);
      const vnet = batch.data.subarray(off - VNET_BYTES, off);
      const before = received[slot];
      try {
        if (before) this.#received(batch, slot, verdict, bytes, vnet, before);
        else this.#born(batch, slot, verdict, bytes, vnet, received);
        if (row.fate === 'send') privacy(bytes);
        if (verdict === Verdict.FORWARD && this.lan2Gone)
          assert.notEqual(viewOf(bytes).getInt32(16) & LAN2.mask, LAN2.prefix, 'nothing is sent to a LAN that is away');
      } catch (error) {
        if (!(error instanceof assert.AssertionError)) throw error;
        const name = `slot ${slot} of ${batch.count}, ${row.name}`;
        const came = before ? `\n  came ${hex(before.vnet)} ${hex(before.bytes)}` : '';
        throw new Error(`${error.message} (${name})${came}\n  left ${hex(vnet)} ${hex(bytes)}`);
      }
    }
  }

  #received(batch: Batch, slot: number, verdict: number, out: Uint8Array, vnet: Uint8Array, came: MemoryPacket): void {
    const { bytes } = came;
    const off = batch.off[slot]!;
    if (this.helping && isControl(bytes)) {
      if (verdict === Verdict.FORWARD) {
        this.#helped(out, bytes, (vnet[0]! & NEEDS_CSUM) !== 0);
        delivery(out, bytes);
        completion(out, vnet);
        return;
      }
      // Its acknowledgement has been shifted back before it was found to be one that cannot be sent on.
      if (verdict === Verdict.HELPER_SEGMENT) return;
    }
    assert.ok(out.length <= bytes.length, 'a packet does not grow');
    if (verdict !== Verdict.FORWARD) {
      same(batch.data.subarray(off, off + bytes.length), bytes, 'what is not forwarded stays as it came');
      same(vnet, came.vnet, 'the vnet header stays as it came');
      if (verdict === Verdict.PUNT) assert.ok(isOurs(viewOf(out).getInt32(16)), 'only what is for the host is punted');
      if (verdict === Verdict.HELD) this.#remember(out);
      return;
    }
    const behind = out.length;
    same(batch.data.subarray(off + behind, off + bytes.length), bytes.subarray(behind), 'nothing is written behind it');
    same(vnet, came.vnet, 'the vnet header stays as it came');
    this.#translated(out, bytes.subarray(0, behind), (vnet[0]! & NEEDS_CSUM) !== 0);
    delivery(out, bytes);
    completion(out, vnet);
  }

  /** Slots that the engine took itself: its own ICMP errors, and fragments that had waited. */
  #born(
    batch: Batch,
    slot: number,
    verdict: number,
    out: Uint8Array,
    vnet: Uint8Array,
    received: readonly MemoryPacket[],
  ): void {
    assert.ok(
      vnet.every((byte) => byte === 0),
      'a packet of the engine asks the device for nothing',
    );
    if (verdict === Verdict.REPLY) reply(out, received);
    else this.#released(batch, slot, verdict, out);
  }

  #released(batch: Batch, slot: number, verdict: number, out: Uint8Array): void {
    // The columns still hold what it was matched by.
    const ends = (held: Uint8Array) =>
      viewOf(held).getInt32(12) === batch.src[slot] && viewOf(held).getInt32(16) === batch.dst[slot];
    // Two of one pair of hosts may differ in their id alone, which a translated one has lost; its checksum tells.
    const sound = (held: Uint8Array) => residue(held, 0, (held[0]! & 15) * 4) === residue(out, 0, (out[0]! & 15) * 4);
    const fits = this.#held.findIndex(
      (held) => held.length === out.length && ends(held) && sound(held) && this.#equalBut(out, held, [ADDRESSES, ID]),
    );
    assert.ok(fits >= 0, 'what is released is a fragment that was held');
    const held = this.#held[fits]!;
    if (verdict === Verdict.FORWARD) {
      this.#translated(out, held, false);
      delivery(out, held);
    }
    this.#held.splice(fits, 1);
  }

  #remember(bytes: Uint8Array): void {
    this.#held.push(bytes.slice());
    if (this.#held.length > HELD) this.#held.shift();
  }

  /** A segment of a control connection: lines may be written anew, and be longer or shorter; checksums are as right as they were. */
  #helped(out: Uint8Array, came: Uint8Array, partial: boolean): void {
    // What stands behind the packet's own length is nobody's.
    const before = came.subarray(0, viewOf(came).getUint16(2));
    const header = (out[0]! & 15) * 4;
    assert.ok(Math.abs(out.length - before.length) <= LINE_GROWS, 'only addresses in lines are written anew');
    const fixed = (bytes: Uint8Array) => {
      const copy = bytes.slice(0, header + 20);
      for (const [from, length] of [[2, 4], ADDRESSES, [header, 12], [header + 16, 2]] as Range[])
        copy.fill(0, from, from + length);
      return copy;
    };
    same(
      fixed(out),
      fixed(before),
      'of the headers of a control connection only addresses, ports, numbers and lengths change',
    );
    assert.equal(viewOf(out).getUint16(2), out.length, 'its length is its length');
    assert.equal(residue(out, 0, header), residue(before, 0, header), 'the IP checksum is as right as it was');
    const sum = (bytes: Uint8Array) => {
      const start = pseudo(bytes, bytes.length - header);
      const field = viewOf(bytes).getUint16(header + 16);
      return partial ? (start + 0xffff - field) % 0xffff : residue(bytes, header, bytes.length, start);
    };
    assert.equal(sum(out), sum(before), 'the TCP checksum is as right as it was');
  }

  #translated(out: Uint8Array, before: Uint8Array, partial: boolean): void {
    const ranges = mayChange(before);
    assert.ok(this.#equalBut(out, before, ranges), 'only addresses, ports, id, MSS and checksums change');
    const header = (out[0]! & 15) * 4;
    assert.equal(residue(out, 0, header), residue(before, 0, header), 'the IP checksum is as right as it was');
    if (ranges.length === 2) return;
    const proto = out[9]!;
    const at = checksumAt(out);
    const field = (bytes: Uint8Array) => viewOf(bytes).getUint16(at);
    if (proto === UDP && field(before) === 0 && !partial) {
      assert.equal(field(out), 0, 'a UDP packet without checksum stays without');
      return;
    }
    const sum = (bytes: Uint8Array) => {
      if (proto === ICMP) return residue(bytes, header, bytes.length);
      const start = pseudo(bytes, bytes.length - header);
      return partial ? (start + 0xffff - field(bytes)) % 0xffff : residue(bytes, header, bytes.length, start);
    };
    assert.equal(sum(out), sum(before), 'the layer 4 checksum is as right as it was');
    if (proto === UDP && !partial) assert.notEqual(field(out), 0, 'a computed UDP checksum of 0 is written 0xffff');
    if (isError(before)) quote(out, before, header + 8);
  }

  /** Are both the same outside of the ranges? */
  #equalBut(out: Uint8Array, before: Uint8Array, ranges: readonly Range[]): boolean {
    const patched = this.#scratch.subarray(0, out.length);
    patched.set(out);
    for (const [from, length] of ranges) if (from < out.length) patched.set(before.subarray(from, from + length), from);
    return Buffer.compare(patched, before) === 0;
  }
}

type Range = readonly [from: number, length: number];

/** Header checksum, source and destination. */
const ADDRESSES: Range = [10, 10];
/** The IP id: what may be fragmented gets one that no other inside host uses (RFC 6864). */
const ID: Range = [4, 2];

/** The port that the helper listens for, at either end; not a later fragment. */
function isControl(bytes: Uint8Array): boolean {
  const header = (bytes[0]! & 15) * 4;
  if (bytes.length < header + 20 || bytes[9] !== TCP || isLater(bytes)) return false;
  return viewOf(bytes).getUint16(header) === FTP || viewOf(bytes).getUint16(header + 2) === FTP;
}

function isLater(bytes: Uint8Array): boolean {
  return (viewOf(bytes).getUint16(6) & 0x1fff) !== 0;
}

function isError(bytes: Uint8Array): boolean {
  return bytes[9] === ICMP && !isLater(bytes) && ICMP_ERRORS.includes(bytes[(bytes[0]! & 15) * 4]!);
}

/** Ranges (from, length) of a packet that translation may change; only the header's for what has no ports. */
function mayChange(before: Uint8Array): readonly Range[] {
  const header = (before[0]! & 15) * 4;
  const proto = before[9]!;
  if (isLater(before) || (proto !== TCP && proto !== UDP && proto !== ICMP)) return [ADDRESSES, ID];
  if (proto === UDP) return [ADDRESSES, ID, [header, 4], [header + 6, 2]];
  if (proto === TCP) {
    const mss = (before[header + 13]! & SYN) !== 0 ? mssAt(before, header) : -1;
    return [ADDRESSES, ID, [header, 4], [header + 16, 2], ...(mss < 0 ? [] : [[mss, 2] as Range])];
  }
  if (!isError(before)) return [ADDRESSES, ID, [header + 2, 4]];
  const q = header + 8;
  const l4 = q + (before[q]! & 15) * 4;
  const quoted = before[q + 9]!;
  const result: Range[] = [ADDRESSES, [header + 2, 2], [q + 10, 10]];
  if (quoted === TCP) result.push([l4, 4], [l4 + 16, 2]);
  else if (quoted === UDP) result.push([l4, 4], [l4 + 6, 2]);
  else if (quoted === ICMP) result.push([l4 + 2, 4]);
  return result;
}

/** Where the value of the MSS option stands; a slow reading of RFC 9293 §3.1. */
function mssAt(bytes: Uint8Array, header: number): number {
  const end = header + (bytes[header + 12]! >> 4) * 4;
  for (let at = header + 20; at < end; ) {
    const kind = bytes[at]!;
    if (kind === 0) return -1;
    const length = kind === 1 ? 1 : (bytes[at + 1] ?? 0);
    if (kind !== 1 && (at + 2 > end || length < 2 || at + length > end)) return -1;
    if (kind === 2 && length === 4) return at + 2;
    at += length;
  }
  return -1;
}

/** The quoted packet of a translated error: its checksums, as far as they are quoted, are as right as they were. */
function quote(out: Uint8Array, before: Uint8Array, q: number): void {
  assert.equal(residue(out, q - 8, out.length), 0, 'an ICMP error leaves with a right checksum');
  const header = (out[q]! & 15) * 4;
  assert.equal(
    residue(out, q, q + header),
    residue(before, q, q + header),
    "the quoted header's checksum is as it was",
  );
  const proto = out[q + 9]!;
  const field = proto === TCP ? 16 : proto === UDP ? 6 : proto === ICMP ? 2 : -1;
  const at = q + header + field;
  if (field < 0 || at + 2 > out.length) return;
  if (proto === UDP && viewOf(before).getUint16(at) === 0) return;
  const sum = (bytes: Uint8Array) =>
    residue(bytes, q + header, bytes.length, proto === ICMP ? 0 : residue(bytes, q + 12, q + 20));
  assert.equal(sum(out), sum(before), 'the quoted layer 4 checksum is as right as it was');
}

/** REQ-41: what goes to an outside address carries our public address, also in what it quotes. */
function privacy(out: Uint8Array): void {
  const v = viewOf(out);
  const [src, dst] = [v.getInt32(12), v.getInt32(16)];
  if (!isOutside(dst)) return;
  assert.ok(isPublic(src) || (isNoNat(dst) && inLan(src)), 'REQ-41: what goes outside comes from a public address');
  const q = (out[0]! & 15) * 4 + 8;
  if (!isError(out) || out.length < q + 20) return;
  const quoted = [v.getInt32(q + 12), v.getInt32(q + 16)];
  for (const address of quoted)
    assert.ok(!inLan(address) || isNoNat(dst), 'REQ-41: no inside address stands in a quote that goes outside');
  assert.equal(quoted[0], dst, 'an error goes to who sent the quoted packet');
}

/** REQ-66: from outside into a LAN only through a public address, or back along a flow without NAT. */
function delivery(out: Uint8Array, before: Uint8Array): void {
  const [was, is] = [viewOf(before), viewOf(out)];
  const [src, dst, to] = [was.getInt32(12), was.getInt32(16), is.getInt32(16)];
  if (isOutside(src) && inLan(to) && !isError(before))
    assert.ok(isPublic(dst) || isNoNat(src), 'REQ-66: nothing from outside reaches a LAN but through P');
  if (isOutside(src) && isOutside(to)) assert.ok(isError(before), 'REQ-66: nothing from outside goes outside again');
  assert.ok(out[8]! > 1 || isOurs(to) || isKernels(to), 'REQ-43: a packet at the end of its TTL is not routed');
}

/**
 * What the device does with a packet that leaves its checksum to it: it sums from `start` and writes at `start + offset`.
 * That must be layer 4's checksum field: a guest that names another place could have the device write a source address.
 */
function completion(out: Uint8Array, vnet: Uint8Array): void {
  if ((vnet[0]! & NEEDS_CSUM) === 0) return;
  const v = viewOf(vnet);
  const at = v.getUint16(6, true) + v.getUint16(8, true);
  assert.ok((out[9] === TCP || out[9] === UDP) && at === checksumAt(out), 'the device writes the checksum field only');
}

/** An ICMP error of our own. */
function reply(out: Uint8Array, received: readonly MemoryPacket[]): void {
  assert.ok(
    out.length >= 48 && out.length <= 576 && out[0] === 0x45 && out[9] === ICMP && isError(out),
    'an ICMP error',
  );
  assert.equal(viewOf(out).getUint16(2), out.length, 'its length is its length');
  assert.equal(residue(out, 0, 20), 0, 'its IP checksum is right');
  assert.equal(residue(out, 20, out.length), 0, 'its ICMP checksum is right');
  assert.ok(isOurs(viewOf(out).getInt32(12)), 'it comes from an address of ours');
  const quoted = out.subarray(28);
  const about = received.some(({ bytes }) => Buffer.compare(bytes.subarray(0, quoted.length), quoted) === 0);
  assert.ok(about, 'it quotes a packet as it came');
  assert.equal(viewOf(quoted).getInt32(12), viewOf(out).getInt32(16), 'it goes to the sender');
}

function same(a: Uint8Array, b: Uint8Array, what: string): void {
  if (Buffer.compare(a, b) !== 0) assert.fail(what);
}

function hex(bytes: Uint8Array): string {
  const text = Buffer.from(bytes.subarray(0, 128)).toString('hex');
  return bytes.length > 128 ? `${text}… (${bytes.length} bytes)` : text;
}
