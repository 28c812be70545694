/**
 * A host of the lab: a namespace, its address and the agent that lives in it. This file is the caller's end of the agent's
 * IPC channel (nsenter hands the descriptor on), one promise a call.
 */
import { fileURLToPath } from 'node:url';
import { type Namespace, PATIENCE, type Process } from './namespace.js';

/** What an echo server answers: who it is, whom it saw, which of its own addresses was spoken to. */
export interface Answer {
  readonly host: string;
  readonly peer: string;
  readonly local: string;
  readonly text: string;
}

export interface Download {
  readonly bytes: number;
  /** The SHA-256 of what came equals the server's. */
  readonly intact: boolean;
  /** The client as the server saw it. */
  readonly peer: string;
  readonly seconds: number;
}

export interface Datagram {
  readonly text: string;
  readonly peer: string;
  readonly bytes: number;
}

export interface Target {
  readonly to: string;
  readonly port: number;
  /** Local address and port to speak from. */
  readonly from?: string;
  readonly localPort?: number;
  readonly seconds?: number;
}

export type Call =
  | { op: 'serve'; tcp?: readonly number[]; udp?: readonly number[]; http?: readonly number[]; ipv6?: boolean }
  | ({ op: 'connect' } & Target)
  | { op: 'say'; id: number; text: string; seconds?: number }
  | { op: 'hang-up'; id: number; reset?: boolean }
  | { op: 'bind'; port?: number; from?: string }
  | { op: 'send'; id: number; to: string; port: number; text: string }
  | { op: 'next'; id: number; seconds?: number }
  | { op: 'unbind'; id: number }
  | { op: 'download'; url: string; seconds?: number }
  | { op: 'fetch'; url: string };

const AGENT = fileURLToPath(new URL('./agent.js', import.meta.url));
/** Longest a call may take: above every limit inside the agent, so that its own message comes first. */
const CALL_SECONDS = 2 * PATIENCE;

export class Host {
  readonly #process: Process;
  readonly #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  readonly #up: Promise<unknown>;
  #calls = 1;

  constructor(
    readonly ns: Namespace,
    readonly address: string,
  ) {
    this.#process = ns.spawn([process.execPath, AGENT, ns.role], { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
    this.#up = this.#expect(0);
    this.#process.child.on('message', (message) => {
      const { id, result, error } = message as { id: number; result?: unknown; error?: string };
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) waiting?.resolve(result);
      else waiting?.reject(new Error(error));
    });
    void this.#process.ended.then(() => {
      for (const { reject } of this.#waiting.values())
        reject(new Error(`agent of ${ns.role} ended\n${this.#process.tail()}`));
    });
  }

  #expect(id: number): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new Error(`agent of ${this.ns.role} did not answer within ${CALL_SECONDS} s`));
      }, CALL_SECONDS * 1000);
      this.#waiting.set(id, {
        resolve: (value) => {
          clearTimeout(timer);
          resolve(value);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      });
    });
  }

  async #call<T>(call: Call): Promise<T> {
    await this.#up;
    const id = this.#calls++;
    const answer = this.#expect(id);
    this.#process.child.send({ id, call });
    return (await answer) as T;
  }

  /** Echo servers on these ports; `http` serves GET /N; `ipv6`: by IPv6 (TCP alone), in place of IPv4. */
  serve(what: {
    tcp?: readonly number[];
    udp?: readonly number[];
    http?: readonly number[];
    ipv6?: boolean;
  }): Promise<void> {
    return this.#call({ op: 'serve', ...what });
  }

  /** One TCP connection, one line, its answer. Rejects with ECONNREFUSED, timeout… */
  async askTcp(target: Target, text = 'hello'): Promise<Answer & { from: string }> {
    const connection = await this.connect(target);
    try {
      return { ...(await connection.say(text, target.seconds)), from: connection.local };
    } finally {
      await connection.hangUp();
    }
  }

  /** One datagram and its answer. */
  async askUdp(target: Target, text = 'hello'): Promise<Answer & { from: string }> {
    const socket = await this.bind(target.localPort, target.from);
    try {
      await socket.send(target.to, target.port, text);
      const reply = await socket.next(target.seconds);
      return { ...(JSON.parse(reply.text) as Answer), from: `${target.from ?? this.address}:${socket.port}` };
    } finally {
      await socket.close();
    }
  }

  ask(proto: 'tcp' | 'udp', target: Target, text?: string): Promise<Answer & { from: string }> {
    return proto === 'tcp' ? this.askTcp(target, text) : this.askUdp(target, text);
  }

  /** Like ask, but what went wrong comes as a word ('timeout', 'ECONNREFUSED') instead of an exception. */
  async tryAsk(proto: 'tcp' | 'udp', target: Target): Promise<string> {
    try {
      return (await this.ask(proto, target)).host;
    } catch (error) {
      return (error as Error).message;
    }
  }

  async connect(target: Target) {
    const { id, local } = await this.#call<{ id: number; local: string }>({ op: 'connect', ...target });
    return {
      local,
      say: (text: string, seconds = PATIENCE) => this.#call<Answer>({ op: 'say', id, text, seconds }),
      hangUp: (reset = false) => this.#call<void>({ op: 'hang-up', id, reset }),
    };
  }

  /** A UDP socket that stays. */
  async bind(port = 0, from?: string) {
    const made = await this.#call<{ id: number; port: number }>({ op: 'bind', port, ...(from ? { from } : {}) });
    return {
      port: made.port,
      send: (to: string, toPort: number, text: string) =>
        this.#call<void>({ op: 'send', id: made.id, to, port: toPort, text }),
      next: (seconds = PATIENCE) => this.#call<Datagram>({ op: 'next', id: made.id, seconds }),
      close: () => this.#call<void>({ op: 'unbind', id: made.id }),
    };
  }

  download(url: string, seconds = PATIENCE): Promise<Download> {
    return this.#call({ op: 'download', url, seconds });
  }

  fetch(url: string): Promise<{ status: number; text: string }> {
    return this.#call({ op: 'fetch', url });
  }
}
