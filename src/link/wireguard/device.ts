/**
 * A WireGuard device: its key, its peers, its sessions. The protocol core: no sockets and no clock.
 *
 * Theory of operation. Bytes and times go in, bytes come out:
 *
 *     open(columns, n, now)   datagrams that were received → inner packets in place (receive.ts; handshakes.ts for messages 1 to 3)
 *     seal(columns, n, now)   inner packets → transport messages (send.ts); what has no session yet is staged and asks for one
 *     tick(now)               what is due by itself (timers.ts); returns when to come again
 *
 * Handshake messages, keepalives and packets that were staged leave by `emit`, one by one, during any of the three; they are few. `now` is milliseconds
 * of a clock that never goes back (CLOCK_BOOTTIME), `epoch` what has to be added to get the wall clock, for timestamps only.
 *
 * Tables: peers by public key and by id; sessions and half-done handshakes by the 32-bit index that we gave out, which is random, so that it says nothing.
 * A session's index leaves the table in the moment that its keys are overwritten. Bounds: 3 sessions, 1 handshake and STAGED_PACKETS packets a peer.
 */
import { randomFillSync } from 'node:crypto';
import { AllowedIps } from './allowed-ips.js';
import type { Columns } from './columns.js';
import { KEY_BYTES, REKEY_TIMEOUT, TAG_BYTES } from './constants.js';
import { Load, MacChecker, type Randomness, SourceRates } from './cookie.js';
import { clamp, publicKeyOf, sameBytes, wipe } from './crypto.js';
import { clearOwn } from './endpoint.js';
import { sendInitiation } from './handshakes.js';
import { KeyRing } from './key-ring.js';
import type { Keypair } from './keypair.js';
import { compareTimestamps, laterTimestamp, TIMESTAMP_BYTES, timestampOf } from './messages.js';
import { type Own, staticShared } from './noise.js';
import { OUTCOMES } from './outcome.js';
import { Peer, Stat } from './peer.js';
import { openBatch, type Receiving, receiving } from './receive.js';
import { flushStaged, type Sending, sealBatch, sendEmpty, sending } from './send.js';
import { Shares } from './shares.js';
import { Sieve } from './sieve.js';
import { Alarm, Timer } from './timers.js';

export interface DeviceOptions {
  /** Sends one datagram; both arrays are the callee's to keep. Endpoint as in endpoint.ts. */
  readonly emit: (message: Uint8Array, endpoint: Int32Array) => void;
  /** Inner MTU: padding never makes a packet longer. */
  readonly mtu?: number;
  /** Where random bytes come from; tests give their own. */
  readonly random?: Randomness;
  /** An initiation was not answered in time, the n-th in a row. */
  readonly silent?: (peer: Peer, attempts: number) => void;
  /** Handshake messages a second beyond which cookies are asked for. */
  readonly handshakeLimit?: number;
}

export class Device {
  mtu: number;
  /** Wall clock minus `now`, in milliseconds. The owner keeps it right. */
  epoch = 0;
  /** What became of packets and datagrams, by Outcome. */
  readonly counts = new Float64Array(OUTCOMES.length);
  readonly ring = new KeyRing();
  readonly alarm = new Alarm();
  readonly allowedIps = new AllowedIps();
  readonly sessions = new Map<number, Keypair>();
  readonly handshakes = new Map<number, Peer>();
  readonly peersByKey = new Map<string, Peer>();
  /** By id; undefined = free. */
  readonly peers: (Peer | undefined)[] = [];
  readonly random: Randomness;
  readonly emit: DeviceOptions['emit'];
  readonly #silent: DeviceOptions['silent'];
  readonly load: Load;
  readonly rates = new SourceRates();
  /** Of what comes in. */
  readonly shares = new Shares();
  /** Of handshakes. */
  readonly sieve = new Sieve();
  readonly receiving: Receiving = receiving();
  readonly sending: Sending = sending();
  own: Own | null = null;
  checker: MacChecker | null = null;
  #up = false;
  #lastTimestamp = new Uint8Array(TIMESTAMP_BYTES);

  constructor(options: DeviceOptions) {
    this.emit = options.emit;
    this.#silent = options.silent;
    this.mtu = options.mtu ?? 1420;
    this.random = options.random ?? ((bytes) => randomFillSync(bytes));
    this.load = new Load(options.handshakeLimit);
  }

  // -- the way of packets --

  /** Datagrams in slots 0…n; see columns.ts. Returns how many inner packets came out (outcome PASS). */
  open(columns: Columns, n: number, now: number): number {
    return openBatch(this, columns, n, now);
  }

  /** Inner packets in slots 0…n. Returns how many messages are to be sent (outcome PASS), each to its slot's endpoint. */
  seal(columns: Columns, n: number, now: number): number {
    return sealBatch(this, columns, n, now);
  }

  /** Does what is due. Returns when it has to be called again at the latest (infinity: not before something else happens). */
  tick(now: number): number {
    if (now < this.alarm.at) return this.alarm.at;
    this.alarm.clear();
    if (!this.#up) return this.alarm.at;
    for (const peer of this.peers) {
      if (peer !== undefined) this.#expire(peer, now);
    }
    return this.alarm.at;
  }

  #expire(peer: Peer, now: number): void {
    const due = peer.timers.due(now);
    if (due === 0) return;
    if (due & (1 << Timer.RETRANSMIT)) {
      this.#silent?.(peer, peer.timers.attempts + 1);
      if (peer.timers.retry(now)) {
        clearOwn(peer.endpoint); // perhaps our address has gone
        sendInitiation(this, peer, now, true);
      } else {
        peer.stats[Stat.HANDSHAKES_GIVEN_UP]! += 1;
        peer.staged = [];
        this.endHandshake(peer);
      }
    }
    if (due & (1 << Timer.KEEPALIVE)) {
      const again = peer.timers.takeAgain();
      sendEmpty(this, peer, now);
      peer.timers.keptAlive(now, again);
    }
    if (due & (1 << Timer.RENEW)) {
      clearOwn(peer.endpoint);
      sendInitiation(this, peer, now);
    }
    if (due & (1 << Timer.WIPE)) this.endSessions(peer);
    if (due & (1 << Timer.PERSISTENT) && peer.timers.interval > 0) {
      sendEmpty(this, peer, now);
      // Nothing went out (no endpoint, handshake under way): come again all the same.
      if (peer.timers.deadline(Timer.PERSISTENT) === Number.POSITIVE_INFINITY) {
        peer.timers.setInterval(peer.timers.interval, now);
      }
    }
  }

  // -- life --

  get up(): boolean {
    return this.#up;
  }

  /** From now on packets are taken. */
  start(now: number): void {
    if (this.#up) return;
    this.#up = true;
    for (const peer of this.peers) {
      if (peer !== undefined && peer.timers.interval > 0) this.keepalive(peer, peer.timers.interval, now);
    }
  }

  /**
   * Begins a handshake with every peer whose endpoint is known and with whom there is no session: after a restart a peer would notice only by
   * its own silence that we have lost ours, 15 seconds later (REQ-54).
   */
  greet(now: number): void {
    for (const peer of this.peers) {
      if (peer?.hasEndpoint && peer.current === null) sendInitiation(this, peer, now);
    }
  }

  /** Ends every session. Peers and keys stay; `start` goes on. */
  stop(): void {
    this.#up = false;
    for (const peer of this.peers) {
      if (peer === undefined) continue;
      this.endSessions(peer);
      peer.timers.stop();
      peer.staged = [];
      peer.lastInitiationSent = Number.NEGATIVE_INFINITY; // a start may greet at once
    }
    this.alarm.clear();
  }

  /** Ends everything and overwrites every secret. */
  close(): void {
    this.stop();
    for (const peer of this.peers) if (peer !== undefined) this.removePeer(peer);
    this.setPrivateKey(null);
    this.checker?.wipe();
    this.sending.columns.close();
  }

  // -- configuration --

  /** Null: no key, nothing works. The key is copied. A peer with our own public key is removed: it would be ourselves. */
  setPrivateKey(secret: Uint8Array | null): void {
    const copy = secret?.slice();
    if (copy !== undefined) clamp(copy);
    // `wg syncconf` repeats the key: sessions live on.
    if (this.own !== null && copy !== undefined && sameBytes(copy, this.own.secret)) {
      wipe(copy);
      return;
    }
    if (this.own !== null) wipe(this.own.secret);
    this.own = null;
    this.checker?.wipe();
    this.checker = null;
    for (const peer of this.peers) if (peer !== undefined) this.endSessions(peer);
    if (copy === undefined) return;
    this.own = { secret: copy, public: publicKeyOf(copy) };
    this.checker = new MacChecker(this.own.public, this.random);
    const self = this.peer(this.own.public);
    if (self !== undefined) this.removePeer(self);
    for (const peer of this.peers) {
      if (peer === undefined) continue;
      if (peer.shared !== null) wipe(peer.shared);
      peer.shared = staticShared(this.own, peer.publicKey);
    }
  }

  peer(publicKey: Uint8Array): Peer | undefined {
    return this.peersByKey.get(keyText(publicKey));
  }

  /** The peer with that key, made if there is none. Undefined: it is our own key. */
  addPeer(publicKey: Uint8Array): Peer | undefined {
    if (publicKey.length !== KEY_BYTES) throw new RangeError(`a public key has ${KEY_BYTES} bytes`);
    const known = this.peer(publicKey);
    if (known !== undefined) return known;
    if (this.own !== null && keyText(this.own.public) === keyText(publicKey)) return undefined;
    let id = this.peers.indexOf(undefined);
    if (id < 0) id = this.peers.length;
    const key = publicKey.slice();
    const shared = this.own === null ? null : staticShared(this.own, key);
    const made = new Peer(id, key, shared, this.alarm, this.random);
    this.peers[id] = made;
    this.peersByKey.set(keyText(key), made);
    return made;
  }

  removePeer(peer: Peer): void {
    this.endSessions(peer);
    peer.timers.stop();
    peer.staged = [];
    peer.wipe();
    this.allowedIps.removePeer(peer.id);
    this.peersByKey.delete(keyText(peer.publicKey));
    this.peers[peer.id] = undefined;
  }

  /** Persistent keepalive in milliseconds, 0 = off. When it is turned on the first one goes out at once. */
  keepalive(peer: Peer, millis: number, now: number): void {
    peer.timers.setInterval(millis, now);
    if (millis > 0 && this.#up) sendEmpty(this, peer, now);
  }

  /** Tries again now what was waiting for an endpoint or a key. */
  nudge(peer: Peer, now: number): void {
    if (this.#up && peer.staged.length > 0) flushStaged(this, peer, now);
  }

  // -- for the files beside this one --

  /** A new index that no session and no handshake has. */
  newIndex(): number {
    const bytes = new Uint8Array(4);
    for (;;) {
      this.random(bytes);
      const index = bytes[0]! | (bytes[1]! << 8) | (bytes[2]! << 16) | (bytes[3]! << 24);
      if (!this.sessions.has(index) && !this.handshakes.has(index)) return index;
    }
  }

  newEphemeral(): Uint8Array {
    const secret = new Uint8Array(KEY_BYTES);
    this.random(secret);
    clamp(secret);
    return secret;
  }

  /** The wall clock's timestamp, and always later than the last one, whatever the clock does (REQ-57). */
  newTimestamp(now: number): Uint8Array {
    let stamp = timestampOf(now + this.epoch);
    if (compareTimestamps(stamp, this.#lastTimestamp) <= 0) stamp = laterTimestamp(this.#lastTimestamp);
    this.#lastTimestamp = stamp.slice();
    return stamp;
  }

  adopt(made: Keypair): void {
    const crossed = made.initiator && made.peer.next !== null;
    if (crossed && Buffer.compare(this.own!.public, made.peer.publicKey) > 0) made.renewAfter += 2 * REKEY_TIMEOUT;
    const ended = made.peer.begin(made);
    this.sessions.set(made.localIndex, made);
    this.forget(ended);
  }

  /** Takes the indices of ended sessions out of the table. */
  forget(ended: readonly Keypair[]): void {
    for (const keypair of ended) this.sessions.delete(keypair.localIndex);
  }

  endHandshake(peer: Peer): void {
    if (peer.initiator === null) return;
    this.handshakes.delete(peer.initiatorIndex);
    peer.dropInitiator();
  }

  endSessions(peer: Peer): void {
    this.endHandshake(peer);
    this.forget(peer.endSessions());
  }
}

export function keyText(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('base64');
}

/** The largest inner packet for a path MTU: 60 bytes less over IPv4, 80 over IPv6 (REQ-47). */
export function innerMtu(pathMtu: number, family: number): number {
  return pathMtu - (family === 6 ? 40 : 20) - 8 - 16 - TAG_BYTES;
}
