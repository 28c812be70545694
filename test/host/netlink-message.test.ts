import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  attributeList,
  attributes,
  be32,
  decodeMessages,
  encodeMessage,
  isTorn,
  NLMSG_ERROR,
  Payload,
  readVerdict,
  text,
  u32,
} from '../../src/host/netlink-message.js';

const hex = (string: string): Uint8Array => new Uint8Array(Buffer.from(string.replaceAll(/\s/g, ''), 'hex'));

/** What Linux 6.18 answers to "add 1.2.3.4/32 to interface 99". */
const REFUSED = hex(`
  5800000002000002070000001f520000 edffffff
  28000000140005060700000000000000 0220000063000000 0800020001020304 0800010001020304
  1b000100 697076343a20446576696365206e6f7420666f756e6400 00`);

/** Two routes of a dump: 10.0.0.0/24 on the link, 10.5.0.0/16 with metric 7 by two next hops. */
const ROUTES = hex(`
  3c00000018000200070000001f520000 02180000fe02fd0110000000 08000f00fe000000 080001000a000000 080007000a000001
  0800040002000000
  5800000018000200070000001f520000 02100000fe03000110000000 08000f00fe000000 080001000a050000 0800060007000000
  24000900 1000100002000000080005000a000002 1000100102000000080005000a000003`);

test('a request is written as the kernel reads it', () => {
  const payload = new Payload().u8(2).u8(32).u8(0).u8(0).u32(99).attrBe32(2, 0x01020304).attrBe32(1, 0x01020304);
  assert.deepEqual(
    encodeMessage(20, 0x605, 7, payload.bytes()),
    hex('28000000140005060700000000000000 0220000063000000 0800020001020304 0800010001020304'),
  );
});

test('attributes are padded to four bytes, and the padding is not counted', () => {
  const payload = new Payload().attrText(3, 'lo').attrU8(4, 9).attrU16(5, 0x0102);
  assert.deepEqual(payload.bytes(), hex('07000300 6c6f0000 05000400 09000000 06000500 02010000'));
});

test('nested attributes carry the flag, and the length of all that is inside', () => {
  const payload = new Payload().nest(2, (outer) => {
    outer.attrText(1, 'bpf').nest(3, (inner) => {
      inner.attrU32(1, 5);
    });
  });
  assert.deepEqual(payload.bytes(), hex('18000280 08000100 62706600 0c000380 08000100 05000000'));
  const outer = attributes(attributes(payload.bytes()).get(2));
  assert.equal(text(outer.get(1)), 'bpf');
  assert.equal(u32(attributes(outer.get(3)).get(1)), 5);
});

test('a payload grows past its first buffer; an attribute that no length field can hold is refused', () => {
  const payload = new Payload().attr(1, new Uint8Array(5000).fill(7)).attrU32(2, 3);
  assert.equal(attributes(payload.bytes()).get(1)?.length, 5000);
  assert.equal(u32(attributes(payload.bytes()).get(2)), 3);
  assert.throws(() => new Payload().attr(1, new Uint8Array(65_533)), /65535 fit/);
});

test('a refusal gives the errno and the words that the kernel put behind the quoted request', () => {
  const [message] = decodeMessages(REFUSED);
  assert.equal(message?.type, NLMSG_ERROR);
  assert.equal(message.sequence, 7);
  assert.deepEqual(readVerdict(message), { errno: 19, extack: 'ipv4: Device not found' });
});

test('a capped refusal quotes only the header of the request', () => {
  const capped = REFUSED.slice();
  capped[7] = 0x03; // NLM_F_ACK_TLVS | NLM_F_CAPPED
  const short = new Uint8Array([...capped.subarray(0, 36), ...capped.subarray(60)]);
  new DataView(short.buffer).setUint32(0, short.length, true);
  assert.deepEqual(readVerdict(decodeMessages(short)[0]!), { errno: 19, extack: 'ipv4: Device not found' });
});

test('a datagram holds several messages', () => {
  const messages = decodeMessages(ROUTES);
  assert.deepEqual(
    messages.map(({ body }) => be32(attributes(body, 12).get(1))),
    [0x0a000000, 0x0a050000],
  );
});

test('a dump that was disturbed is known by the flag on any of its messages, the last one included', () => {
  const messages = decodeMessages(ROUTES);
  assert.deepEqual(messages.map(isTorn), [false, false]);
  const disturbed = ROUTES.slice();
  disturbed[60 + 6]! |= 0x10;
  assert.deepEqual(decodeMessages(disturbed).map(isTorn), [false, true]);
  assert.equal(isTorn({ type: 3, flags: 0x12, sequence: 7, body: new Uint8Array(4) }), true, 'NLMSG_DONE');
  assert.equal(isTorn({ type: 2, flags: 0x10, sequence: 7, body: new Uint8Array(4) }), false, 'an error is no dump');
});

test('hostile lengths end the reading: no exception from attributes, no endless loop', () => {
  assert.deepEqual(attributeList(hex('0300010000000000')), [], 'shorter than its own header');
  assert.deepEqual(attributeList(hex('ff00010000000000')), [], 'longer than what is there');
  assert.deepEqual(attributeList(hex('040001')), []);
  assert.throws(() => decodeMessages(hex('00000000020000020700000000000000')), /does not fit/);
  for (let cut = 1; cut < ROUTES.length; cut++) {
    try {
      for (const { body } of decodeMessages(ROUTES.slice(0, cut))) attributes(body, 12);
    } catch (error) {
      assert.ok(error instanceof RangeError);
    }
  }
});
