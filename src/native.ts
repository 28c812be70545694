/**
 * The typed face of the addon; the only file that loads it.
 *
 * The addon is thin: batch calls on a TUN, memory that JavaScript reads as typed arrays, raw netlink, checksums.
 * Failed system calls throw an Error with `code` (ENODEV), `errno` and `syscall`. Descriptors are plain numbers.
 */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface TunInfo {
  readonly fd: number;
  /** Name that the kernel gave (`tun%d` templates are allowed). */
  readonly name: string;
  /** TUN_F_* bits that TUNSETOFFLOAD accepted (CSUM 1, TSO4 2, TSO6 4, TSO_ECN 8, USO4 32, USO6 64). */
  readonly offloads: number;
}

export interface Native {
  /** Version of the addon; compared with package.json at load. */
  readonly version: string;
  /** The addon's copy of the constants in batch.ts, for the test that compares them. */
  readonly layout: Readonly<
    Record<'HEADROOM' | 'VNET_BYTES' | 'PACKET_BYTES' | 'COUNT' | 'USED' | 'SECONDS' | 'MILLIS', number>
  >;

  // -- tun.cc --
  /**
   * Opens one queue of a TUN (IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE, non-blocking, close-on-exec) with the
   * offloads that the kernel has. Throws ENOENT (no tun driver), EPERM (no CAP_NET_ADMIN, or no access to /dev/net/tun),
   * EBUSY (held by another process), EINVAL (the name is taken by a device of another kind), each with its remedy.
   */
  tunOpen(name: string): TunInfo;
  /** The same for a TAP of one queue (Ethernet frames); it is gone when its descriptor is closed. */
  tapOpen(name: string): TunInfo;
  /**
   * A TAP for packets of UDP tunnels around TCP super-frames, with vnet headers of 24 bytes (outer.h). `%d` in the name is a free number. Throws EINVAL where
   * the kernel cannot (before Linux 6.17).
   */
  tapOpenOuter(name: string): TunInfo;
  /** Whether UDP datagrams are joined for TUNs and TAPs of this process: what opening one finds out of the kernel (Linux 6.2), said by a test that opens none. */
  takesUdp(yes: boolean): void;
  /** A queue that another program has opened (IFF_TUN, IFF_NO_PI): makes it non-blocking and sets offloads. `vnet`: it speaks vnet headers. */
  tunAdopt(fd: number): { readonly name: string; readonly offloads: number; readonly vnet: boolean };
  /** TUNSETPERSIST: the device outlives its descriptors. */
  tunPersist(fd: number, on: boolean): void;
  /**
   * Makes a batch known to the addon (keeps references, no copies); returns a small id for tunReceive/tunTransmit.
   * `limitSlots` and `limitBytes`: what receive may fill (the rest is the engine's).
   */
  batchRegister(
    ctl: Int32Array,
    data: Uint8Array,
    off: Int32Array,
    len: Int32Array,
    list: Int32Array,
    limitSlots: number,
    limitBytes: number,
  ): number;
  /** Ids belong to the thread that registered them and are given out again after this. */
  batchRelease(batch: number): void;
  /**
   * Appends packets until EAGAIN or the batch is full; stamps SECONDS and MILLIS. Returns the packets read; −errno when the
   * device is gone (EBADFD), −EINVAL for arguments that are not a descriptor and a registered batch. Never throws.
   */
  tunReceive(fd: number, batch: number): number;
  /** Writes packets list[0…n) with their vnet headers. Returns how many the kernel took (others: EIO, ENOBUFS, EINVAL…). Never throws. */
  tunTransmit(fd: number, batch: number, n: number): number;

  // -- wait.cc --
  pollerCreate(): number;
  /** Level-triggered EPOLLIN; `tag` (0…30) is the bit that pollerWait returns. A broken descriptor counts as readable. */
  pollerAdd(poller: number, fd: number, tag: number): void;
  pollerRemove(poller: number, fd: number): void;
  /** Blocks up to `timeoutMs` (−1 = for ever). Returns the bits of the tags that are ready, 0 on time-out or EINTR. */
  pollerWait(poller: number, timeoutMs: number): number;
  /** eventfd (non-blocking): readable from `wakeSet` on until `wakeClear`, whatever the number of sets. */
  wakeCreate(): number;
  wakeSet(fd: number): void;
  wakeClear(fd: number): void;
  /** Two unix datagram sockets that are each other's end (non-blocking, 4 MiB of buffer): what one writes with tunTransmit the other reads with tunReceive. */
  pairCreate(): [number, number];
  closeFd(fd: number): void;
  /** CLOCK_BOOTTIME in milliseconds. */
  boottime(): number;
  /** Gives this thread, and no other, the nice value `nice`, unless whoever started the process has chosen one. Returns 0, or the errno of a refusal (EACCES, EPERM). */
  raisePriority(nice: number): number;
  /**
   * Calls back on this thread's event loop whenever `fd` is readable or has an error, which the callback must read, or end
   * the watch. Keeps the loop alive. Returns a function that ends the watch (more than once is fine); end it before closeFd.
   */
  watch(fd: number, readable: () => void): () => void;

  // -- memory.cc --
  /**
   * Opens or creates `path` (0600, no symbolic link), allocates every page of `bytes` and maps it shared; unmapped when the
   * buffer is collected. Throws before mapping (ENOSPC…), and takes a file that it has made away again. A longer file keeps
   * its length. Each call maps anew: threads see the same words at different addresses, and Atomics hold between them.
   * `hugePages`: all of it at once, in pages of 2 MiB where the kernel has them; for who visits it packet by packet.
   */
  mapFile(
    path: string,
    bytes: number,
    hugePages?: boolean,
  ): { readonly buffer: ArrayBuffer; readonly created: boolean };
  /** Anonymous memory of the same kind, for tests and benches. */
  mapAnonymous(bytes: number, hugePages?: boolean): ArrayBuffer;
  /** Sleeps while words[index] === expected, at most `timeoutMs`; may return early, so look again. Works on mapped memory only or SharedArrayBuffers. */
  futexWait(words: Int32Array, index: number, expected: number, timeoutMs: number): void;
  /** Wakes every sleeper on the word. */
  futexWake(words: Int32Array, index: number): void;

  // -- netlink.cc --
  /** AF_NETLINK raw socket of `protocol` (0 = route, 4 = sock_diag), close-on-exec, joined to `groups` (RTNLGRP numbers), NETLINK_EXT_ACK on, blocking. */
  netlinkOpen(protocol: number, groups: readonly number[]): number;
  netlinkSend(fd: number, message: Uint8Array): void;
  /**
   * One datagram of the kernel's; returns its bytes, 0 on time-out (0 ms looks only, −1 waits for ever), −errno on error:
   * ENOBUFS = notifications were lost, EMSGSIZE = it was longer than `into` and is lost.
   */
  netlinkReceive(fd: number, into: Uint8Array, timeoutMs: number): number;

  // -- checksum.cc --
  /** Folded, un-complemented ones' complement sum (big-endian words) of bytes[off…off+len), plus `initial`. */
  checksum(bytes: Uint8Array, off: number, len: number, initial: number): number;

  // -- notify.cc --
  /** One datagram to the unix socket `path` ("@name" = abstract), the descriptors `fds` with it. Never waits: EAGAIN when the reader is slow. */
  notifySend(path: string, text: string, fds: readonly number[]): void;

  // -- crypto.cc: through the OpenSSL inside the Node binary --
  /** Name of what this Node's OpenSSL lacks; empty when the calls below work. blake2s works always. */
  readonly cryptoMissing: string;
  /** Batches take the short way (native/aead.h); it is worth a third of a packet's price. */
  readonly cryptoShortWay: boolean;
  /** BLAKE2s (RFC 7693) of bytes[off…off+len), keyed or not; `out` has the wanted length (1 to 32). */
  blake2s(out: Uint8Array, key: Uint8Array | null, bytes: Uint8Array, off: number, len: number): void;
  /** X25519 (RFC 7748): the public key of `secret`, or with `other` the shared secret. False: refused, `other` has a low order. */
  x25519(out: Uint8Array, secret: Uint8Array, other: Uint8Array | null): boolean;
  /** ChaCha20-Poly1305 (RFC 8439) in place on bytes[off…off+len); the tag is written behind. */
  aeadSeal(
    key: Uint8Array,
    nonce: Uint8Array,
    bytes: Uint8Array,
    off: number,
    len: number,
    ad: Uint8Array | null,
  ): boolean;
  /** The other way, `len` without the tag. False: forged; the bytes are rubbish then. */
  aeadOpen(
    key: Uint8Array,
    nonce: Uint8Array,
    bytes: Uint8Array,
    off: number,
    len: number,
    ad: Uint8Array | null,
  ): boolean;
  /** HChaCha20 of a nonce of 16 bytes; false: it failed. */
  hchacha20(out: Uint8Array, key: Uint8Array, nonce: Uint8Array): boolean;
  /** Overwrites the copies of the last keys that the cipher contexts of this thread hold. */
  aeadForget(): void;
  /** Makes the columns of link/wireguard/columns.ts known (keeps references); ids belong to the thread. */
  cryptoRegister(
    data: Uint8Array,
    source: Uint8Array,
    from: Int32Array,
    off: Int32Array,
    len: Int32Array,
    pad: Int32Array,
    key: Int32Array,
    lo: Int32Array,
    hi: Int32Array,
    receiver: Int32Array,
  ): number;
  cryptoRelease(columns: number): void;
  /**
   * Makes n WireGuard transport messages, or opens them; see columns.ts for who reads and writes what. `keys`: 32 bytes a slot.
   * Returns how many succeeded, −1 for arguments that are not registered columns and keys. Never throws.
   */
  aeadSealBatch(columns: number, n: number, keys: Uint8Array): number;
  aeadOpenBatch(columns: number, n: number, keys: Uint8Array): number;

  // -- udp.cc: UDP in batches, and a tunnel's half of the TUN. The four batch calls never throw and allocate nothing; −EINVAL = not registered. --
  /** A UDP socket of `family` 4 or 6 with all that a tunnel wants (UDP_GRO, packet info, ECN, large buffers); port 0 = any. Throws EADDRINUSE, EAFNOSUPPORT… */
  udpOpen(family: 4 | 6, port: number, mark: number): { readonly fd: number; readonly port: number };
  /** DF on what is sent; what is longer than the path's known MTU is not sent (REQ-46). */
  udpDontFragment(fd: number, family: 4 | 6): void;
  /** Path MTU to an endpoint (link/wireguard/endpoint.ts) as far as the kernel knows it; 0 = no way there. */
  udpPathMtu(endpoint: Int32Array, mark: number): number;
  /** SO_MARK. */
  udpMark(fd: number, mark: number): void;
  /** Makes the columns of link/wireguard/columns.ts known (keeps references); ids belong to the thread. */
  datagramsRegister(
    data: Uint8Array,
    from: Int32Array,
    off: Int32Array,
    len: Int32Array,
    endpoint: Int32Array,
    ecn: Uint8Array,
    outcome: Uint8Array,
  ): number;
  datagramsRelease(datagrams: number): void;
  /** What is there now, at most 64 messages of the kernel's, each cut into its datagrams: `off`, `len`, `endpoint`, `ecn`. Returns the slots filled, −errno. */
  udpReceive(fd: number, datagrams: number): number;
  /** Gives the socket a filter (struct sock_filter, 8 bytes an instruction), or takes it away (empty). False: the kernel refuses. */
  udpFilter(fd: number, program: Uint8Array): boolean;
  /** Datagrams that the kernel dropped at the socket, ever, modulo 2^32. */
  udpDropped(fd: number): number;
  /** How full the socket's queue is, in 1024ths; 0 where the kernel does not say. */
  udpQueued(fd: number): number;
  /** Sends slots 0…n whose outcome is PASS, neighbours in one message. −1 for a family without a socket. Returns how many the kernel took. */
  udpSend(four: number, six: number, datagrams: number, n: number): number;
  /** Reads the TUN and cuts packets into segments, ready to be sealed in place: `off`, `from`, `len`, `ecn`. Returns the slots filled, −errno. */
  tunSplit(fd: number, datagrams: number, vnet: 0 | 1): number;
  /** Writes opened packets (PASS, inner packet at off + 16) to the TUN, TCP neighbours joined (only with vnet). Returns the writes that the kernel took. */
  tunJoin(fd: number, datagrams: number, n: number, vnet: 0 | 1): number;
  /**
   * As tunSplit, of a batch's packets list[0…n), and IPv4 packets above `mtu` without DF in fragments. Call with `more` 0, then 1 until it returns 0; the batch
   * must not change meanwhile.
   */
  batchSplit(batch: number, n: number, datagrams: number, mtu: number, more: 0 | 1): number;
  /** As tunJoin, into a batch: appends what fits and returns how many packets that were. Call with `more` 0, then 1 until it returns 0. */
  batchJoin(datagrams: number, n: number, batch: number, more: 0 | 1): number;

  // -- bpf.cc --
  /** Loads a program for cls_bpf (instructions of 8 bytes). Returns its descriptor. Throws EPERM, or EINVAL and EACCES with what the verifier said. */
  bpfLoad(program: Uint8Array, license: string): number;

  // -- vxlan.cc: the edges of a VXLAN endpoint. The five batch calls never throw and allocate nothing; −EINVAL = not registered. --
  /**
   * A UDP socket bound to the endpoint's address and port (0 = any), and to `device` ('' = none): DF on all that is sent, whatever path MTU somebody claims. `receives`: with UDP_GRO, TOS and
   * fragment sizes; else what arrives there is dropped. Throws EADDRINUSE, EADDRNOTAVAIL…
   */
  vxlanOpen(
    endpoint: Int32Array,
    ttl: number,
    receives: boolean,
    device: string,
  ): { readonly fd: number; readonly port: number };
  /**
   * Makes columns of link/vxlan/columns.ts known (keeps references), with the remotes' endpoints, the VXLAN header and the ports to send by, and the way of super-frames that leave
   * whole (outer.h). `sockets`: a descriptor for each port, as many words of the addon's (−1 at first), the ports' numbers, and the descriptor of the TAP for outer
   * packets (−1 = none). `outer`: the Ethernet, IPv4 and UDP headers of those. Ids belong to the thread.
   */
  vxlanRegister(
    data: Uint8Array,
    off: Int32Array,
    len: Int32Array,
    segment: Int32Array,
    source: Int32Array,
    endpoint: Int32Array,
    arrival: Uint8Array,
    outcome: Uint8Array,
    tos: Int16Array,
    outFrame: Int32Array,
    outRemote: Int32Array,
    answer: Int32Array,
    remotes: Int32Array,
    header: Uint8Array,
    sockets: Int32Array,
    outer: Uint8Array,
  ): number;
  vxlanRelease(frames: number): void;
  /** Reads frames from a TAP: `off`, `len`, `segment`; checksums of single frames are completed. Returns the slots filled, −errno. */
  tapRead(fd: number, frames: number): number;
  /** Writes slots 0…n whose outcome is PASS to a TAP, TCP neighbours joined. Returns the writes that the kernel did not take. */
  tapJoin(fd: number, frames: number, n: number, mtu: number): number;
  /** Writes the frames of `answer` 0…n to a TAP. Returns the writes that the kernel did not take. */
  tapAnswer(fd: number, frames: number, n: number): number;
  /** What is there now: `off`, `len`, `endpoint`, `tos`, `arrival`. Returns the slots filled, −errno. */
  vxlanReceive(fd: number, frames: number): number;
  /** Sends pairs 0…n, super-frames cut up, neighbours in one message. Returns how many datagrams the kernel did not take. */
  vxlanSend(frames: number, n: number): number;
}

const require = createRequire(import.meta.url);

function packageRoot(): string {
  // dist/src/native.js → two up from dist/.
  return join(dirname(fileURLToPath(import.meta.url)), '..', '..');
}

function load(): Native {
  if (process.platform !== 'linux' || (process.arch !== 'x64' && process.arch !== 'arm64')) {
    throw new Error(
      `tungate runs on Linux x64 and arm64 only (this is ${process.platform} ${process.arch}): it needs a TUN device and rtnetlink`,
    );
  }
  const root = packageRoot();
  const rebuild = `run "npm run build:native" in ${root} (needs a C++ compiler, make and python3)`;
  const nodeGypBuild = require('node-gyp-build') as (dir: string) => Native;
  let addon: Native;
  try {
    addon = nodeGypBuild(root);
  } catch (error) {
    throw new Error(`the native addon is missing or does not fit this Node (${process.version}): ${rebuild}`, {
      cause: error,
    });
  }
  const { version } = require(join(root, 'package.json')) as { version: string };
  if (addon.version !== version) {
    throw new Error(`the native addon is of version ${addon.version}, tungate of ${version}: ${rebuild}`);
  }
  return addon;
}

export const native: Native = load();
