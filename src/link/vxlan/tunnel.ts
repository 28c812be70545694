/**
 * An endpoint between its TAP and its UDP sockets: the way of the frames of one VXLAN link, a batch at a time.
 *
 *     out:  TAP ─► tapRead: frames and super-frames in slots ─► vtep.fromTap ─► vxlanSend: super-frames cut up, one message for a run ─► UDP
 *     in:   UDP ─► vxlanReceive: datagrams in slots ─► vtep.fromTunnel, in place ─► tapJoin: TCP runs in one write ─► TAP
 *
 * Theory of operation. A super-frame of the TAP is looked at once, whatever it becomes on the wire. It leaves by one of 64 sockets, chosen by the flow's hash:
 * UDP_SEGMENT sends from the port that its socket is bound to, and networks spread flows by that port (REQ-49). What others send arrives at one socket
 * more, bound to the VXLAN port.
 *
 * The columns are shared by all links of a thread, since they hold nothing between two calls; the sockets are the tunnel's, the TAP's descriptor its owner's.
 */
import { getSystemErrorName } from 'node:util';
import {
  VXLAN_SOURCES,
  type VxlanFdbRow,
  type VxlanOrder,
  type VxlanRemoteStatus,
  type VxlanStatus,
} from '../../contract/vxlan.js';
import { native } from '../../native.js';
import { Fragment, Ipv4, writeIpv4 } from '../../wire/ipv4.js';
import { Udp } from '../../wire/udp.js';
import { LinkLost } from '../link.js';
import { ENDPOINT_WORDS, Ep, formatAddress, parseAddress } from '../wireguard/endpoint.js';
import { Columns } from './columns.js';
import { formatMac, LOCAL, parseMac } from './fdb.js';
import { VXLAN_BYTES } from './header.js';
import type { LoopWatch } from './loop.js';
import { parseIp } from './neighbours.js';
import { OUTCOMES } from './outcome.js';
import type { Port } from './port.js';
import { RemoteStat, STAT_WORDS } from './remotes.js';
import { Vtep } from './vtep.js';

const EBADFD = 77;
const UDP = 17;
/** From one made-up station to another: the program behind the TAP writes those of the way. */
const OUTER_ETHERNET = Uint8Array.of(2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0);
const OUTER_BYTES = OUTER_ETHERNET.length + Ipv4.BYTES + Udp.BYTES;
const PORTS = VXLAN_SOURCES;
const TAP_SLOTS = 256;
/** Super-frames that are under way at once stay in the cache. */
const TAP_BYTES = 512 * 1024;
const UDP_SLOTS = 2048;
const UDP_BYTES = 2 << 20;
/** For what the endpoint sends by itself. */
const OWN_BYTES = 256;
const OWN_OFF = 64;

/** Columns of both ways, for all links of a thread. */
export class Lanes {
  readonly out = new Columns(TAP_SLOTS, new Uint8Array(TAP_BYTES));
  readonly in = new Columns(UDP_SLOTS, new Uint8Array(UDP_BYTES), 1);
  readonly own = new Columns(1, new Uint8Array(OWN_BYTES));
}

export class VxlanTunnel {
  readonly vtep: Vtep;
  sendFailed = 0;
  tapFailed = 0;
  #nextTick = 0;
  /** Descriptors, words of the addon's, port numbers; the TAP for outer packets. */
  readonly #sockets = new Int32Array(3 * PORTS + 1).fill(-1);
  readonly #outer = new Uint8Array(OUTER_BYTES);
  readonly #ids: { readonly out: number; readonly in: number; readonly own: number };
  readonly #lanes: Lanes;
  readonly #emit = (message: Uint8Array, remote: number): void => this.#send(message, remote);

  /** Opens all sockets. Throws what is wrong with addresses and ports; nothing is open then. */
  constructor(
    readonly order: VxlanOrder,
    readonly tapFd: number,
    lanes: Lanes,
    /** Where datagrams for it arrive; its owner's. */
    readonly port: Port,
    loops: LoopWatch,
    /** TAP by which super-frames leave whole (host/outer-tap.ts); −1 = none: they are cut up. */
    readonly outerFd = -1,
  ) {
    const own = endpointOf(order.local, order.port);
    const opened: number[] = [];
    this.#lanes = lanes;
    this.vtep = new Vtep({
      name: order.name,
      vni: order.vni,
      mtu: order.mtu,
      sourcePorts: PORTS,
      learning: order.learning,
      suppress: order.suppress,
      vlan: order.vlan,
      loops,
    });
    try {
      this.#fill(order);
      this.#openSources(own, opened);
      this.#fillOuter(own);
    } catch (error) {
      for (const fd of opened) native.closeFd(fd);
      this.vtep.close();
      throw error;
    }
    this.#ids = { out: this.#register(lanes.out), in: this.#register(lanes.in), own: this.#register(lanes.own) };
  }

  close(): void {
    for (const fd of this.#sockets.subarray(0, PORTS)) native.closeFd(fd);
    for (const id of [this.#ids.out, this.#ids.in, this.#ids.own]) native.vxlanRelease(id);
    this.vtep.close();
  }

  /** One batch from the TAP. Returns the frames read; 0 = none were there. Throws LinkLost. */
  send(now: number): number {
    const { out } = this.#lanes;
    const n = native.tapRead(this.tapFd, this.#ids.out);
    if (n < 0) {
      const words = n === -EBADFD ? 'the device was deleted' : getSystemErrorName(n);
      throw new LinkLost(this.order.name, `the TAP cannot be read any more: ${words}`);
    }
    if (n === 0) return 0;
    const pairs = this.vtep.fromTap(out, n, now);
    if (pairs > 0) this.sendFailed += native.vxlanSend(this.#ids.out, pairs);
    if (out.answers > 0) this.tapFailed += native.tapAnswer(this.tapFd, this.#ids.out, out.answers);
    return n;
  }

  get inId(): number {
    return this.#ids.in;
  }

  /** Datagrams that arrived: slots 0…n, of those the owner's (port.ts). */
  take(n: number, now: number, owner: number): void {
    const passed = this.vtep.fromTunnel(this.#lanes.in, n, now, owner);
    if (passed > 0) this.tapFailed += native.tapJoin(this.tapFd, this.#ids.in, n, this.order.mtu);
  }

  /** Ageing and probes, when it is time. Returns when next. */
  tick(now: number): number {
    if (now >= this.#nextTick) this.#nextTick = this.vtep.tick(now, this.#emit);
    return this.#nextTick;
  }

  status(loop: string): VxlanStatus {
    const { counts, remotes, fdb } = this.vtep;
    return {
      name: this.order.name,
      problem: '',
      loop,
      remotes: this.#remotes().map(([address, id]): VxlanRemoteStatus => {
        const of = (word: number) => remotes.stats[id * STAT_WORDS + word]!;
        return {
          address,
          txFrames: of(RemoteStat.TX_FRAMES),
          txBytes: of(RemoteStat.TX_BYTES),
          rxFrames: of(RemoteStat.RX_FRAMES),
          rxBytes: of(RemoteStat.RX_BYTES),
        };
      }),
      outcomes: Object.fromEntries(OUTCOMES.map(({ name }, id) => [name, counts[id]!])),
      sendFailed: this.sendFailed,
      tapFailed: this.tapFailed,
      addresses: [...fdb.rows(native.boottime())].length,
      refused: fdb.refused,
    };
  }

  fdb(now: number): VxlanFdbRow[] {
    const { remotes, fdb } = this.vtep;
    return [...fdb.rows(now)].map(({ hi, lo, place, fixed, seen }) => ({
      mac: formatMac(hi, lo),
      remote: place === LOCAL ? '' : addressAt(remotes.endpoints, place * ENDPOINT_WORDS),
      fixed,
      age: fixed ? 0 : Math.floor((now - seen) / 1000),
    }));
  }

  // ----

  #remotes(): [string, number][] {
    const addresses = new Set([...this.order.remotes, ...this.order.fdb.map(([, remote]) => remote)]);
    return [...addresses].map((address) => [address, this.vtep.remotes.find(endpointOf(address, 0), 0)]);
  }

  #fill({ remotes, fdb, neighbours, port, name }: VxlanOrder): void {
    const { vtep } = this;
    for (const address of remotes) this.#add(endpointOf(address, port), true);
    for (const [mac, address] of fdb) {
      const endpoint = endpointOf(address, port);
      // A remote of the table alone is heard, but gets no floods.
      let place = vtep.remotes.find(endpoint, 0);
      if (place < 0) place = this.#add(endpoint, false);
      const { hi, lo } = macOf(mac);
      if (!vtep.fdb.setStatic(hi, lo, place)) throw new RangeError(`link ${name}: too many entries in \`fdb\``);
    }
    for (const [ip, mac] of neighbours) {
      const words = parseIp(ip);
      if (words === null) throw new RangeError(`link ${name}: ${ip} is no IP address`);
      const { hi, lo } = macOf(mac);
      if (!vtep.neighbours.setStatic(words, hi, lo)) throw new RangeError(`link ${name}: too many \`neighbours\``);
    }
  }

  #add(endpoint: Int32Array, flood: boolean): number {
    const id = this.vtep.remotes.add(endpoint, flood);
    if (id < 0) throw new RangeError(`link ${this.order.name}: too many remotes`);
    return id;
  }

  /** Free ones of the order's ports, from a place of our own on. */
  #openSources(own: Int32Array, opened: number[]): void {
    const from = own.slice();
    const ports: number[] = [];
    const { vni, sources } = this.order;
    const all = sources.last - sources.first + 1;
    let port = sources.first + PORTS * (vni % Math.floor(all / PORTS));
    for (let tries = 0; opened.length < PORTS; tries++) {
      from[Ep.PORT] = port;
      port = port < sources.last ? port + 1 : sources.first;
      try {
        const socket = native.vxlanOpen(from, this.order.ttl, false, this.order.device);
        opened.push(socket.fd);
        ports.push(socket.port);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || tries >= all) throw error;
      }
    }
    this.#sockets.set(opened);
    this.#sockets.set(ports, 2 * PORTS);
  }

  /** What stands in front of every super-frame that leaves whole: Ethernet for the look of it, IPv4 and UDP but for what the addon fills in. */
  #fillOuter(own: Int32Array): void {
    if (this.outerFd < 0 || own[Ep.FAMILY] !== 4 || this.order.device !== '') return;
    this.#sockets[3 * PORTS] = this.outerFd;
    this.#outer.set(OUTER_ETHERNET);
    const { ttl } = this.order;
    const length = Ipv4.BYTES + Udp.BYTES;
    const head = { src: own[Ep.ADDRESS]!, dst: 0, proto: UDP, length, ttl, fragment: Fragment.DF };
    writeIpv4(this.#outer, new DataView(this.#outer.buffer), OUTER_ETHERNET.length, head);
  }

  #register(c: Columns): number {
    const { data, off, len, segment, source, endpoint, arrival, outcome, tos, outFrame, outRemote, answer } = c;
    const { remotes, header } = this.vtep;
    return native.vxlanRegister(
      data,
      off,
      len,
      segment,
      source,
      endpoint,
      arrival,
      outcome,
      tos,
      outFrame,
      outRemote,
      answer,
      remotes.endpoints,
      header,
      this.#sockets,
      this.#outer,
    );
  }

  /** A message of the endpoint's own. */
  #send(message: Uint8Array, remote: number): void {
    const { own } = this.#lanes;
    own.data.set(message, OWN_OFF - VXLAN_BYTES);
    own.off[0] = OWN_OFF;
    own.len[0] = message.length - VXLAN_BYTES;
    own.segment[0] = own.source[0] = own.tos[0] = own.outFrame[0] = 0;
    own.outRemote[0] = remote;
    this.sendFailed += native.vxlanSend(this.#ids.own, 1);
  }
}

/** The socket that datagrams for a link arrive at. Throws EADDRINUSE, EADDRNOTAVAIL… */
export function openReceiving({ local, port, ttl, device }: VxlanOrder): number {
  return native.vxlanOpen(endpointOf(local, port), ttl, true, device).fd;
}

function endpointOf(address: string, port: number): Int32Array {
  const words = new Int32Array(ENDPOINT_WORDS);
  words[Ep.FAMILY] = parseAddress(address, words, Ep.ADDRESS);
  if (words[Ep.FAMILY] === 0) throw new RangeError(`${address} is no IP address`);
  words[Ep.PORT] = port;
  return words;
}

function addressAt(words: Int32Array, at: number): string {
  return formatAddress(words[at + Ep.FAMILY]!, words, at + Ep.ADDRESS);
}

function macOf(text: string): { readonly hi: number; readonly lo: number } {
  const mac = parseMac(text);
  if (mac === null) throw new RangeError(`${text} is no MAC address`);
  return mac;
}
