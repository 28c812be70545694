/** The primitives against the vectors of their RFCs, both ways: the addon's and node:crypto's. */
import assert from 'node:assert/strict';
import { createHash, createHmac, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { Columns } from '../../../src/link/wireguard/columns.js';
import {
  type Crypto,
  crypto,
  hash,
  hmac,
  kdf,
  mac,
  nonceOf,
  publicKeyOf,
  slowCrypto,
  xopen,
  xseal,
} from '../../../src/link/wireguard/crypto.js';
import { KeyRing } from '../../../src/link/wireguard/key-ring.js';
import { native } from '../../../src/native.js';
import fc from '../../property.js';

const hex = (text: string) => new Uint8Array(Buffer.from(text, 'hex'));
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

test("this Node's OpenSSL offers all that the addon wants", () => {
  assert.equal(native.cryptoMissing, '');
  assert.equal(crypto.name, 'openssl');
});

for (const way of [crypto, slowCrypto]) {
  test(`${way.name}: ChaCha20-Poly1305 of RFC 8439, section 2.8.2`, () => {
    const key = hex('808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f');
    const nonce = hex('070000004041424344454647');
    const ad = hex('50515253c0c1c2c3c4c5c6c7');
    const plain = new TextEncoder().encode(
      "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.",
    );
    const sealed =
      'd31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b' +
      '1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc' +
      '3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691';
    const bytes = new Uint8Array(plain.length + 16 + 3);
    bytes.set(plain, 3);
    way.seal(key, nonce, bytes, 3, plain.length, ad);
    assert.equal(text(bytes.subarray(3)), sealed);
    assert.ok(way.open(key, nonce, bytes, 3, plain.length, ad));
    assert.deepEqual(bytes.subarray(3, 3 + plain.length), plain);
  });

  test(`${way.name}: opening RFC 8439, appendix A.5`, () => {
    const key = hex('1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0');
    const nonce = hex('000000000102030405060708');
    const ad = hex('f33388860000000000004e91');
    const sealed =
      '64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb24c6cfc18755d43eea09ee94e382d26b0bdb7b73c321b0100d4f03b7f355894cf' +
      '332f830e710b97ce98c8a84abd0b948114ad176e008d33bd60f982b1ff37c8559797a06ef4f0ef61c186324e2b3506383606907b6a7c02b0f9f6157b53c867e4' +
      'b9166c767b804d46a59b5216cde7a4e99040c5a40433225ee282a1b0a06c523eaf4534d7f83fa1155b0047718cbc546a0d072b04b3564eea1b422273f548271a' +
      '0bb2316053fa76991955ebd63159434ecebb4e466dae5a1073a6727627097a1049e617d91d361094fa68f0ff77987130305beaba2eda04df997b714d6c6f2c29' +
      'a6ad5cb4022b02709beead9d67890cbb22392336fea1851f38';
    const bytes = hex(sealed);
    assert.ok(way.open(key, nonce, bytes, 0, bytes.length - 16, ad));
    assert.match(
      Buffer.from(bytes).toString('latin1'),
      /^Internet-Drafts are draft documents valid for a maximum of six/,
    );
    const forged = hex(sealed);
    forged[20]! ^= 1;
    assert.equal(way.open(key, nonce, forged, 0, forged.length - 16, ad), false);
  });

  test(`${way.name}: X25519 of RFC 7748, sections 5.2 and 6.1; a key of low order is refused`, () => {
    const out = new Uint8Array(32);
    const dh = (secret: string, other: string) => {
      assert.ok(way.x25519(out, hex(secret), hex(other)));
      return text(out);
    };
    assert.equal(
      dh(
        'a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4',
        'e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c',
      ),
      'c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552',
    );
    assert.equal(
      dh(
        '4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d',
        'e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493',
      ),
      '95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957',
    );
    let k = hex(`09${'00'.repeat(31)}`);
    let u = k;
    for (let i = 0; i < 1000; i++) {
      const next = new Uint8Array(32);
      assert.ok(way.x25519(next, k, u));
      u = k;
      k = next;
      if (i === 0) assert.equal(text(k), '422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079');
    }
    assert.equal(text(k), '684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51');
    for (const low of [
      '00'.repeat(32),
      `01${'00'.repeat(31)}`,
      'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
    ]) {
      assert.equal(way.x25519(out, hex('77'.repeat(32)), hex(low)), false, low);
    }
  });

  test(`${way.name}: a batch is what single calls make; forged, foreign and impossible slots are left alone`, () => {
    const keys = new KeyRing();
    const raw = [randomBytes(32), randomBytes(32)];
    const slots = raw.map((key) => keys.add(new Uint8Array(key)));
    const source = randomBytes(4096);
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            len: fc.integer({ min: 0, max: 300 }),
            pad: fc.integer({ min: 0, max: 15 }),
            key: fc.constantFrom(...slots),
            lo: fc.integer(),
            hi: fc.integer(),
            bad: fc.constantFrom('', '', '', 'flip', 'key', 'off', 'pad', 'len'),
          }),
          { minLength: 1, maxLength: 8 },
        ),
        (packets) => {
          const c = new Columns(8, new Uint8Array(8 * 512), source);
          packets.forEach((packet, i) => {
            c.from[i] = i * 300;
            c.off[i] = packet.bad === 'off' ? c.data.length - 31 : i * 512;
            c.len[i] = packet.bad === 'len' ? -1 : packet.len;
            c.pad[i] = packet.bad === 'pad' ? 16 : packet.pad;
            c.key[i] = packet.bad === 'key' ? 2 ** 26 : packet.key;
            c.lo[i] = packet.lo;
            c.hi[i] = packet.hi;
            c.receiver[i] = i - 5;
          });
          const good = packets.filter(({ bad }) => bad === '' || bad === 'flip').length;
          assert.equal(way.sealBatch(c, packets.length, keys.bytes), good);
          packets.forEach((packet, i) => {
            if (packet.bad !== '' && packet.bad !== 'flip') {
              assert.equal(c.len[i], 0);
              c.key[i] = -1;
              return;
            }
            const all = packet.len + packet.pad;
            const want = Buffer.alloc(32 + all);
            want.writeUInt32LE(4, 0);
            want.writeInt32LE(i - 5, 4);
            want.writeInt32LE(packet.lo, 8);
            want.writeInt32LE(packet.hi, 12);
            source.copy(want, 16, i * 300, i * 300 + packet.len);
            slowCrypto.seal(
              new Uint8Array(raw[slots.indexOf(packet.key)]!),
              nonceOf(packet.lo, packet.hi),
              want,
              16,
              all,
              null,
            );
            assert.deepEqual(Buffer.from(c.data.subarray(i * 512, i * 512 + c.len[i]!)), want);
            if (packet.bad === 'flip') c.data[i * 512 + 16 + (all >> 1)]! ^= 4;
            c.lo[i] = c.hi[i] = 0;
          });
          assert.equal(way.openBatch(c, packets.length, keys.bytes), packets.filter(({ bad }) => bad === '').length);
          packets.forEach((packet, i) => {
            if (packet.bad !== '') {
              assert.equal(c.len[i], -1);
              return;
            }
            assert.equal(c.len[i], packet.len + packet.pad);
            assert.deepEqual([c.lo[i], c.hi[i]], [packet.lo, packet.hi]);
            const at = i * 512 + 16;
            assert.deepEqual(
              Buffer.from(c.data.subarray(at, at + packet.len)),
              source.subarray(i * 300, i * 300 + packet.len),
            );
            assert.ok(c.data.subarray(at + packet.len, at + packet.len + packet.pad).every((byte) => byte === 0));
          });
          c.close();
        },
      ),
      { numRuns: 200 },
    );
  });

  test(`${way.name}: sealing in place, and from an overlapping place`, () => {
    const key = randomBytes(32);
    const keys = new KeyRing();
    const slot = keys.add(new Uint8Array(key));
    for (const from of [16, 0, 7, 40]) {
      const c = new Columns(1, new Uint8Array(256));
      c.data.set(randomBytes(100), from);
      const plain = c.data.slice(from, from + 100);
      c.from[0] = from;
      c.off[0] = 0;
      c.len[0] = 100;
      c.pad[0] = 12;
      c.key[0] = slot;
      assert.equal(way.sealBatch(c, 1, keys.bytes), 1);
      assert.equal(way.openBatch(c, 1, keys.bytes), 1);
      assert.deepEqual(c.data.slice(16, 116), plain);
    }
  });
}

test('BLAKE2s of RFC 7693: appendix B, and the self-test of appendix E', () => {
  assert.equal(
    text(hash(new TextEncoder().encode('abc'))),
    '508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982',
  );
  // Appendix E: every combination of these lengths, keyed and not, hashed together.
  const sequence = (length: number, seed: number) => {
    const out = new Uint8Array(length);
    let a = Math.imul(0xdead4bad, seed) >>> 0;
    let b = 1;
    for (let i = 0; i < length; i++) {
      const t = (a + b) >>> 0;
      a = b;
      b = t;
      out[i] = t >>> 24;
    }
    return out;
  };
  const all: Uint8Array[] = [];
  for (const outBytes of [16, 20, 28, 32]) {
    for (const inBytes of [0, 3, 64, 65, 255, 1024]) {
      const input = sequence(inBytes, inBytes);
      for (const key of [null, sequence(outBytes, outBytes)]) {
        const out = new Uint8Array(outBytes);
        native.blake2s(out, key, input, 0, inBytes);
        all.push(out);
      }
    }
  }
  assert.equal(text(hash(...all)), '6a411f08ce25adcdfb02aba641451cec53c598b24f4fc787fbdc88797f4c1dfe');
});

test("BLAKE2s, HMAC and HKDF equal OpenSSL's, through node:crypto", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.uint8Array({ minLength: 32, maxLength: 32 }), (input, key) => {
      const their = createHash('blake2s256').update(input).digest('hex');
      assert.equal(text(hash(input)), their);
      assert.equal(text(hmac(key, input)), createHmac('blake2s256', key).update(input).digest('hex'));
    }),
  );
  // RFC 5869 by hand, over the HMAC that was just compared.
  const chain = randomBytes(32);
  const input = randomBytes(32);
  const prk = createHmac('blake2s256', chain).update(input).digest();
  const one = createHmac('blake2s256', prk)
    .update(Buffer.from([1]))
    .digest();
  const two = createHmac('blake2s256', prk)
    .update(Buffer.concat([one, Buffer.from([2])]))
    .digest();
  const three = createHmac('blake2s256', prk)
    .update(Buffer.concat([two, Buffer.from([3])]))
    .digest();
  assert.deepEqual(kdf(3, chain, input).map(text), [one, two, three].map(text));
});

test('HChaCha20 and XChaCha20-Poly1305 of draft-irtf-cfrg-xchacha', () => {
  const key = hex('000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f');
  for (const way of [crypto, slowCrypto]) {
    assert.equal(
      text(way.hchacha20(key, hex('000000090000004a0000000031415927'))),
      '82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc',
      way.name,
    );
  }
  const long = hex('808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f');
  const nonce = hex('404142434445464748494a4b4c4d4e4f5051525354555657');
  const ad = hex('50515253c0c1c2c3c4c5c6c7');
  const plain = new TextEncoder().encode(
    "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.",
  );
  const bytes = new Uint8Array(plain.length + 16);
  bytes.set(plain);
  xseal(long, nonce, bytes, 0, plain.length, ad);
  assert.equal(
    text(bytes),
    'bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39' +
      'ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9' +
      '21f9664c97637da9768812f615c68b13b52ec0875924c1c7987947deafd8780acf49',
  );
  assert.ok(xopen(long, nonce, bytes, 0, plain.length, ad));
  assert.deepEqual(bytes.subarray(0, plain.length), plain);
});

test('keyed BLAKE2s of 16 bytes, as mac1 and mac2 use it', () => {
  const out = new Uint8Array(16);
  mac(out, hex('00'.repeat(32)), hex('00'.repeat(16)), 0, 16);
  const other = new Uint8Array(16);
  mac(other, hex('00'.repeat(32)), hex('00'.repeat(17)), 1, 16);
  assert.deepEqual(out, other);
  assert.notDeepEqual(out, new Uint8Array(16));
});

test('lengths that the addon must not believe are refused', () => {
  const key = new Uint8Array(32);
  const nonce = new Uint8Array(12);
  const bytes = new Uint8Array(64);
  const calls = [
    () => native.aeadSeal(key, nonce, bytes, 0, 49, null),
    () => native.aeadSeal(key, nonce, bytes, -1, 16, null),
    () => native.aeadSeal(key, nonce, bytes, 60, 2 ** 31 - 1, null),
    () => native.aeadSeal(key.subarray(1), nonce, bytes, 0, 16, null),
    () => native.aeadOpen(key, nonce.subarray(1), bytes, 0, 16, null),
    () => native.blake2s(new Uint8Array(33), null, bytes, 0, 4),
    () => native.blake2s(new Uint8Array(0), null, bytes, 0, 4),
    () => native.blake2s(new Uint8Array(16), new Uint8Array(33), bytes, 0, 4),
    () => native.blake2s(new Uint8Array(16), null, bytes, 1, 64),
    () => native.hchacha20(key, key, key),
    () => native.x25519(new Uint8Array(31), key, null),
    () => native.x25519(new Uint8Array(32), key, new Uint8Array(0)),
  ];
  for (const call of calls) assert.throws(call, TypeError);
  assert.equal(native.aeadSealBatch(10_000, 1, key), -1);
});

test('a key that was removed from the ring is overwritten, and its slot is given out again', () => {
  const keys = new KeyRing();
  const key = new Uint8Array(randomBytes(32));
  const copy = text(key);
  const slot = keys.add(key);
  assert.equal(text(key), '00'.repeat(32), "the caller's copy");
  assert.equal(text(keys.bytes.subarray(slot * 32, slot * 32 + 32)), copy);
  keys.remove(slot);
  assert.ok(!text(keys.bytes).includes(copy));
  assert.equal(keys.add(new Uint8Array(32)), slot);
  for (let i = 0; i < 1000; i++) keys.add(new Uint8Array(32).fill(i));
  assert.equal(keys.size, 1001);
});

test('public keys and shared secret of RFC 7748, section 6.1', () => {
  const alice = hex('77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a');
  const bob = hex('5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb');
  assert.equal(text(publicKeyOf(alice)), '8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a');
  assert.equal(text(publicKeyOf(bob)), 'de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f');
  for (const [secret, other] of [
    [alice, publicKeyOf(bob)],
    [bob, publicKeyOf(alice)],
  ] as const) {
    const shared = new Uint8Array(32);
    assert.ok(crypto.x25519(shared, secret, other));
    assert.equal(text(shared), '4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742');
  }
});

/** Only so that both ways keep the same shape. */
const shape: readonly (keyof Crypto)[] = [
  'name',
  'x25519',
  'seal',
  'open',
  'hchacha20',
  'sealBatch',
  'openBatch',
  'forget',
];
test('both ways have the same calls', () => {
  for (const name of shape) assert.equal(typeof crypto[name], typeof slowCrypto[name]);
});
