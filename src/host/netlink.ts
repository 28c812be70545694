/**
 * A netlink socket, used synchronously: one request, its answer, the next request.
 *
 * Theory of operation. The kernel answers a request within the sendmsg call (rtnetlink runs under its lock in the
 * sender's context), so a blocking receive is short and the control plane may simply wait for it. Every request carries
 * NLM_F_ACK and a sequence number of its own; answers with another number are left-overs of a request that timed out
 * and are skipped. A dump arrives as several datagrams and ends with NLMSG_DONE; when the table changed meanwhile the
 * kernel says so (NLM_F_DUMP_INTR on any message, or EINTR) and the whole dump is read again. A dump that stays torn is
 * an error, never a half answer. Notifications do not arrive here: they have a socket of their own (world.ts).
 */
import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';
import { native } from '../native.js';
import {
  decodeMessages,
  encodeMessage,
  isTorn,
  type Message,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSG_NOOP,
  readVerdict,
} from './netlink-message.js';

export type { Attributes, Message } from './netlink-message.js';
export { NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Payload } from './netlink-message.js';

export const NETLINK_ROUTE = 0;
export const NETLINK_SOCK_DIAG = 4;
export const NETLINK_NETFILTER = 12;

/** The kernel builds dumps in buffers of up to 32 KiB; one link with many virtual functions may be larger. */
const RECEIVE_BYTES = 256 * 1024;
const ANSWER_MS = 5000;
const DUMP_TRIES = 20;

const ERRNO_NAMES = new Map(Object.entries(constants.errno).map(([name, errno]) => [errno, name]));

/** `EEXIST` for 17. */
export function errnoName(errno: number): string {
  return ERRNO_NAMES.get(errno) ?? `errno ${errno}`;
}

/** What the errno means in the words of libuv ("file already exists"). */
function errnoText(errno: number): string {
  return getSystemErrorMap().get(-errno)?.[1] ?? 'the kernel refused';
}

/** The kernel refused a request. The message says which one, why, and quotes the kernel's own explanation. */
export class KernelError extends Error {
  override readonly name = 'KernelError';
  readonly errno: number;
  /** EPERM, ENODEV… */
  readonly code: string;
  /** The kernel's explanation (extended ack), where it gave one. */
  readonly extack: string | undefined;

  constructor(what: string, errno: number, extack?: string) {
    const code = errnoName(errno);
    const hint = errno === constants.errno.EPERM ? '; this needs CAP_NET_ADMIN' : '';
    super(`cannot ${what}: ${errnoText(errno)} (${code})${extack ? `: ${extack}` : ''}${hint}`);
    this.errno = errno;
    this.code = code;
    this.extack = extack;
  }
}

/** True for a KernelError (or an addon's system error) with one of these codes. */
export function failedWith(error: unknown, ...codes: string[]): boolean {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code));
}

export class Netlink {
  readonly #fd: number;
  readonly #buffer = new Uint8Array(RECEIVE_BYTES);
  #sequence = 0;
  #open = true;

  /** `protocol`: NETLINK_ROUTE unless said otherwise. */
  constructor(protocol: number = NETLINK_ROUTE) {
    this.#fd = native.netlinkOpen(protocol, []);
  }

  /** One change, acknowledged. `what` completes "cannot …" in the error. */
  request(type: number, flags: number, payload: Uint8Array, what = `do netlink request ${type}`): void {
    this.#send(type, NLM_F_REQUEST | NLM_F_ACK | flags, payload, what);
    this.#collect(what);
  }

  /** One question with one answer (RTM_GETLINK of one interface). Undefined where the kernel only acknowledges. */
  query(type: number, payload: Uint8Array, what = `do netlink query ${type}`): Message | undefined {
    this.#send(type, NLM_F_REQUEST | NLM_F_ACK, payload, what);
    return this.#collect(what).messages[0];
  }

  /** All rows of a table, consistent: read again until nothing changed in between. */
  dump(type: number, payload: Uint8Array, what = `read netlink table ${type}`): Message[] {
    for (let attempt = 0; attempt < DUMP_TRIES; attempt++) {
      this.#send(type, NLM_F_REQUEST | NLM_F_ACK | NLM_F_DUMP, payload, what);
      try {
        const { messages, torn } = this.#collect(what);
        if (!torn) return messages;
      } catch (error) {
        if (!failedWith(error, 'EINTR', 'ENOBUFS')) throw error;
      }
    }
    throw new KernelError(what, constants.errno.EINTR, `it changed during each of ${DUMP_TRIES} readings`);
  }

  close(): void {
    if (this.#open) native.closeFd(this.#fd);
    this.#open = false;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #send(type: number, flags: number, payload: Uint8Array, what: string): void {
    if (!this.#open) throw new Error(`cannot ${what}: the netlink socket is closed`);
    this.#sequence = (this.#sequence + 1) >>> 0;
    try {
      native.netlinkSend(this.#fd, encodeMessage(type, flags, this.#sequence, payload));
    } catch (error) {
      if (error instanceof Error && 'errno' in error && typeof error.errno === 'number') {
        throw new KernelError(what, Math.abs(error.errno));
      }
      throw error;
    }
  }

  /** Reads until the acknowledgement (or DONE) of the present sequence number; throws what the kernel says. */
  #collect(what: string): { messages: Message[]; torn: boolean } {
    const messages: Message[] = [];
    let torn = false;
    for (;;) {
      const got = native.netlinkReceive(this.#fd, this.#buffer, ANSWER_MS);
      if (got === 0) throw new KernelError(what, constants.errno.ETIMEDOUT, 'no answer from the kernel');
      if (got < 0) throw new KernelError(what, -got);
      for (const message of decodeMessages(this.#buffer.subarray(0, got))) {
        if (message.sequence !== this.#sequence || message.type === NLMSG_NOOP) continue;
        if (isTorn(message)) torn = true;
        if (message.type === NLMSG_ERROR || message.type === NLMSG_DONE) {
          const { errno, extack } = readVerdict(message);
          if (errno !== 0) throw new KernelError(what, errno, extack);
          return { messages, torn };
        }
        messages.push(message);
      }
    }
  }
}
