/**
 * A site link of the engine: a device between the engine's batch and its UDP port.
 *
 *     out:  batch ─► batchSplit: segments (and fragments) in slots ─► device.seal, in place ─► udpSend ─► UDP
 *     in:   UDP ─► udpReceive ─► device.open, in place ─► batchJoin: TCP runs as one packet each ─► batch
 *
 * Theory of operation. A link is a way out of the engine, not a device of the kernel's: what a LAN host sends to a far site crosses the kernel once, as
 * a segment of up to 64 KiB, is cut up here and leaves as a few UDP messages. What comes in is joined first and then walks through the engine,
 * so that a packet of 64 KiB costs its stages what one of 1,400 bytes would. For that it is copied, from the columns into the batch:
 * some 50 ns a packet beside about a microsecond for its cipher.
 *
 * Datagrams leave with DF. What the path cannot carry comes back as EMSGSIZE, now or once a router on the way has complained: then the kernel is asked for the
 * path MTU of each peer that has a session, the smallest decides what the link carries, and is looked up again every LOOK_MS, because the kernel forgets it
 * after ten minutes. A forged complaint must know our ports, and ends at the kernel's least (552 bytes).
 *
 * Columns are scratch between two calls, with one exception: what was opened may need several batches (`fill` until it returns 0). Nothing else may use
 * these columns meanwhile; sending has columns of its own.
 */
import { type Batch, Ctl } from '../../batch.js';
import type { LinkStatus } from '../../contract/links.js';
import { native } from '../../native.js';
import { batchId } from '../batch-id.js';
import { stamp } from '../link.js';
import { innerMtu, keyText } from './device.js';
import { type Lanes, TunnelCount, TunnelEnd } from './end.js';
import { ENDPOINT_WORDS, Ep, formatEndpoint } from './endpoint.js';
import { OUTCOMES, Outcome } from './outcome.js';
import { Stat } from './peer.js';
import { sieveProgram, WINDOW } from './sieve.js';
import { answerNow } from './uapi.js';

const LOOK_MS = 60_000;
/** How often filters are set anew while a flood lasts. */
const SIFT_MS = 1000;
const NOBODY = new Int32Array(0);
/** Fewer datagrams than these at a time leave no long queue. */
const LOOK_SLOTS = 32;
/** While datagrams are refused. */
const LOOK_SOON_MS = 1000;

export interface SiteOptions {
  readonly lanes: Lanes;
  /** Inner. */
  readonly mtu: number;
  /** The path to that endpoint carries less than `mtu` says (outer bytes), or again as much (0). */
  readonly narrow: (mtu: number, endpoint: string, pathMtu: number) => void;
  /** Strangers' handshakes come so fast that most are filtered, or do no longer. */
  readonly flooded: (is: boolean) => void;
  /** An initiation was not answered in time. */
  readonly silent: (publicKey: string, attempts: number) => void;
}

export class SiteLink extends TunnelEnd {
  /** Why the port is not open, or ''. */
  problem = '';
  readonly #lanes: Lanes;
  readonly #narrow: SiteOptions['narrow'];
  readonly #flooded: SiteOptions['flooded'];
  /** As configured. */
  #widest: number;
  #refused = false;
  #lookAt = 0;
  /** Opened datagrams that are not all in a batch yet. */
  #opened = 0;
  #more: 0 | 1 = 0;
  #openedAt = 0;
  #siftAt = 0;
  readonly #unread = [0, 0];
  /** Datagrams of the last `open`. */
  #received = 0;

  constructor(name: string, options: SiteOptions) {
    super(name, { mtu: options.mtu, silent: (peer, attempts) => options.silent(keyText(peer.publicKey), attempts) });
    this.#lanes = options.lanes;
    this.#narrow = options.narrow;
    this.#flooded = options.flooded;
    this.#widest = options.mtu;
    this.port.dontFragment = true;
  }

  /** What the link may carry; the path may carry less. */
  setMtu(mtu: number): void {
    if (mtu === this.#widest) return;
    const narrow = this.device.mtu < this.#widest;
    this.#widest = mtu;
    if (!narrow || mtu < this.device.mtu) this.device.mtu = mtu;
    this.#lookAt = 0;
  }

  override tick(now: number): number {
    const at = Math.min(super.tick(now), this.#sift(now));
    const narrow = this.device.mtu < this.#widest;
    if (!this.#refused && !narrow) return at;
    if (now >= this.#lookAt) {
      this.#lookAt = now + (this.#refused ? LOOK_SOON_MS : LOOK_MS);
      this.#refused = false;
      this.#look();
    }
    return Math.min(at, this.#lookAt);
  }

  /** Sets the sockets' filters as the flood wants it. Returns when to look again. */
  #sift(now: number): number {
    const { sieve } = this.device;
    if (!sieve.due(now)) return sieve.depth > 0 ? now + WINDOW : Number.POSITIVE_INFINITY;
    const was = sieve.depth;
    // Ports move, and peers roam: what was set is set again.
    if (!sieve.judge(now) && (was === 0 || now < this.#siftAt))
      return was > 0 ? now + WINDOW : Number.POSITIVE_INFINITY;
    this.#siftAt = now + SIFT_MS;
    const { depth } = sieve;
    const known = depth === 0 || !sieve.trusting ? NOBODY : this.#endpoints();
    const { four, six } = this.port;
    if (four >= 0) native.udpFilter(four, sieveProgram(depth, 4, known));
    if (six >= 0) native.udpFilter(six, sieveProgram(depth, 6, known));
    if (depth > 0 !== was > 0) this.#flooded(depth > 0);
    return depth > 0 ? now + WINDOW : Number.POSITIVE_INFINITY;
  }

  /** Where the peers are that have a session and have spoken in it (who plays an old initiation again has not), or are asked for one. */
  #endpoints(): Int32Array {
    const peers = this.device.peers.filter((peer) => peer?.hasEndpoint && (peer.current ?? peer.initiator) !== null);
    const words = new Int32Array(peers.length * ENDPOINT_WORDS);
    for (const [at, peer] of peers.entries()) words.set(peer!.endpoint, at * ENDPOINT_WORDS);
    return words;
  }

  /** What the kernel has dropped of ours. A new socket begins anew. */
  #countUnread(): void {
    const { four, six } = this.port;
    for (const [at, fd] of [four, six].entries()) {
      if (fd < 0) continue;
      const dropped = native.udpDropped(fd);
      this.device.counts[Outcome.UNREAD]! += dropped < this.#unread[at]! ? dropped : dropped - this.#unread[at]!;
      this.#unread[at] = dropped;
    }
  }

  protected override failed(): void {
    this.#refused = true;
  }

  /** Asks the kernel what the paths carry. */
  #look(): void {
    const { device, port } = this;
    let mtu = this.#widest;
    let endpoint = '';
    let path = 0;
    for (const peer of device.peers) {
      if (!peer?.hasEndpoint || peer.current === null) continue;
      const bytes = native.udpPathMtu(peer.endpoint, port.mark | 0);
      const inner = innerMtu(bytes, peer.endpoint[Ep.FAMILY]!);
      if (bytes === 0 || inner >= mtu) continue;
      mtu = inner;
      path = bytes;
      endpoint = formatEndpoint(peer.endpoint);
    }
    if (mtu === device.mtu) return;
    device.mtu = mtu;
    this.#narrow(mtu === this.#widest ? 0 : mtu, endpoint, path);
  }

  /** A look at one socket begins: one `open`, and others while `more` (shares.ts). */
  begin(): void {
    this.device.shares.begin();
  }

  /** Too much is waiting, and not all that was there got its share. */
  get more(): boolean {
    return this.#received > 0 && this.device.shares.more;
  }

  /** Takes datagrams of one socket and opens them. False: nothing was there, or nothing that goes on. */
  open(fd: number, now: number): boolean {
    const columns = this.#lanes.in;
    const n = this.receiveInto(columns, fd);
    this.#received = n;
    if (n >= LOOK_SLOTS || this.device.shares.pressed) this.device.shares.look(native.udpQueued(fd));
    if (n === 0) return false;
    const opened = this.device.open(columns, n, now);
    this.flush();
    this.#opened = opened > 0 ? n : 0;
    this.#more = 0;
    this.#openedAt = now;
    return opened > 0;
  }

  /** Appends opened packets to the batch, marked with the link's number. Returns how many; 0 = there are no more. */
  fill(batch: Batch, number: number): number {
    if (this.#opened === 0) return 0;
    stamp(batch, this.#openedAt);
    const n = native.batchJoin(this.#lanes.in.datagrams, this.#opened, batchId(batch), this.#more);
    this.#more = 1;
    batch.ctl[Ctl.INGRESS] = number;
    if (n === 0) this.#opened = 0;
    return n;
  }

  /** Sends the first `n` slots of `batch.list`. Returns how many it took: all, as what waits for a session, or has no peer, is the device's to count. */
  transmit(batch: Batch, n: number, now: number): number {
    const { device } = this;
    if (!this.port.open) return 0;
    const columns = this.#lanes.out;
    const id = batchId(batch);
    let slots = native.batchSplit(id, n, columns.datagrams, device.mtu, 0);
    for (; slots > 0; slots = native.batchSplit(id, n, columns.datagrams, device.mtu, 1)) {
      const sealed = device.seal(columns, slots, now);
      this.flush();
      if (sealed > 0) this.transmitSealed(columns, slots, sealed);
    }
    return n;
  }

  /** Answers wg(8). A peer whose endpoint is new to us gets a handshake at once: it may hold a session that we have lost (REQ-54). */
  answer(text: string, now: number, complain: (words: string) => void): string {
    const answer = answerNow(this.device, this.socket, text, now, complain);
    if (text.startsWith('set=1')) this.device.greet(now);
    this.flush();
    return answer;
  }

  status(): LinkStatus {
    const { device, port, counts } = this;
    this.#countUnread();
    const outcomes: Record<string, number> = {};
    OUTCOMES.forEach(({ name }, id) => {
      if (device.counts[id] !== 0) outcomes[name] = device.counts[id]!;
    });
    return {
      name: this.name,
      up: port.open,
      problem: this.problem,
      port: port.port,
      mtu: device.mtu,
      outcomes,
      sendFailed: counts[TunnelCount.SEND_FAILED]!,
      receiveFailed: counts[TunnelCount.RECEIVE_FAILED]!,
      peers: device.peers.flatMap((peer) =>
        peer === undefined
          ? []
          : [
              {
                publicKey: keyText(peer.publicKey),
                endpoint: formatEndpoint(peer.endpoint),
                lastHandshake: peer.stats[Stat.LAST_HANDSHAKE]!,
                handshakesInitiated: peer.stats[Stat.HANDSHAKES_INITIATED]!,
                handshakesAnswered: peer.stats[Stat.HANDSHAKES_ANSWERED]!,
                handshakesGivenUp: peer.stats[Stat.HANDSHAKES_GIVEN_UP]!,
                rxBytes: peer.stats[Stat.RX_BYTES]!,
                txBytes: peer.stats[Stat.TX_BYTES]!,
                rxPackets: peer.stats[Stat.RX_PACKETS]!,
                txPackets: peer.stats[Stat.TX_PACKETS]!,
                staged: peer.staged.length,
              },
            ],
      ),
    };
  }
}
