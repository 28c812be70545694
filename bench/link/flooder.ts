/**
 * A program that floods a WireGuard port with handshake initiations, for bench/link/wireguard-flood.ts. Prints how many it has sent when it ends.
 *
 *     node flooder.js KIND HOST:PORT PUBLIC_KEY SECRET_KEY PER_SECOND
 *
 * KIND: wrong-mac (its sender does not know the public key), unknown-key (right mac1, a key that is nobody's), replayed (one right initiation of the peer
 * SECRET_KEY is of, again and again). PER_SECOND 0: as fast as it goes.
 */
import { randomBytes } from 'node:crypto';
import { UdpPort } from '../../src/link/udp.js';
import { Columns } from '../../src/link/wireguard/columns.js';
import { INITIATION_BYTES } from '../../src/link/wireguard/constants.js';
import { MacMaker } from '../../src/link/wireguard/cookie.js';
import { clamp, publicKeyOf } from '../../src/link/wireguard/crypto.js';
import { ENDPOINT_WORDS, parseEndpoint } from '../../src/link/wireguard/endpoint.js';
import { Initiation, newInitiation, timestampOf } from '../../src/link/wireguard/messages.js';
import { Initiator, type Own, staticShared } from '../../src/link/wireguard/noise.js';
import { Outcome } from '../../src/link/wireguard/outcome.js';
import { native } from '../../src/native.js';

const [kind, target, publicKey, secretKey, perSecond] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string,
];
const theirs = new Uint8Array(Buffer.from(publicKey, 'base64'));
/** Messages a call. */
const BATCH = 32;
/** Different messages, by turns. */
const VARIETY = 64;

function keyOf(text: string): Uint8Array {
  const key = new Uint8Array(text === '' ? randomBytes(32) : Buffer.from(text, 'base64'));
  clamp(key);
  return key;
}

function initiation(): Uint8Array {
  const secret = keyOf(kind === 'replayed' ? secretKey : '');
  const own: Own = { secret, public: publicKeyOf(secret) };
  const message = newInitiation(randomBytes(4).readInt32LE());
  const shared = staticShared(own, theirs)!;
  const stamp = timestampOf(Date.now());
  Initiator.start(own, theirs, shared, keyOf(''), stamp, message, Initiation.EPHEMERAL);
  new MacMaker(theirs).stamp(message, 0);
  if (kind === 'wrong-mac') message[INITIATION_BYTES - 20]! ^= 1;
  return message;
}

const STRIDE = (INITIATION_BYTES + 15) & ~15;
const columns = new Columns(VARIETY, new Uint8Array(VARIETY * STRIDE));
const first = initiation();
for (let i = 0; i < VARIETY; i++) {
  columns.data.set(kind === 'replayed' ? first : initiation(), i * STRIDE);
  columns.off[i] = i * STRIDE;
  columns.outcome[i] = Outcome.PASS;
  columns.endpoint.set(parseEndpoint(target)!, i * ENDPOINT_WORDS);
}
const port = new UdpPort();
port.start();
let sent = 0;
let running = true;
process.once('SIGTERM', () => {
  running = false;
});
console.log('flooding');
const rate = Number(perSecond);
const start = performance.now();
while (running) {
  const due = rate === 0 ? BATCH * 8 : Math.floor(((performance.now() - start) * rate) / 1000) - sent;
  for (let n = 0; n < due; n += BATCH) {
    columns.len.fill(INITIATION_BYTES);
    sent += native.udpSend(port.four, port.six, columns.datagrams, BATCH);
  }
  await new Promise((resolve) => (rate === 0 ? setImmediate(resolve) : setTimeout(resolve, 1)));
}
console.log(JSON.stringify({ sent, seconds: (performance.now() - start) / 1000 }));
process.exit(0);
