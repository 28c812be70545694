/**
 * The other end of the daemon's API. Light on purpose: the CLI's quick verbs load nothing else of control.
 */
import { request } from 'node:http';
import type { ErrorAnswer } from '../contract/api.js';

const ANSWER_MS = 30_000;

// `exit` is the code that the CLI ends with.

/** Nobody answers on the socket. */
export class NotRunning extends Error {
  readonly exit = 3;
}

/** The socket is there and not for us. */
export class NotAllowed extends Error {
  readonly exit = 77;
}

/** The daemon answered with an error. */
export class ApiError extends Error {
  readonly exit: number;
  readonly status: number;
  readonly errors: readonly string[];
  constructor(status: number, answer: ErrorAnswer) {
    super(answer.error);
    this.status = status;
    // What was asked (400) or configured (422) is wrong, not the daemon.
    this.exit = status === 400 || status === 422 ? 2 : 1;
    this.errors = answer.errors ?? [];
  }
}

/** One request; resolves with the body. A `body` of bytes is sent as it is, anything else as JSON. */
export function callBytes(socket: string, method: string, path: string, body?: unknown): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const raw = body instanceof Uint8Array;
    const payload = body === undefined ? undefined : raw ? body : Buffer.from(JSON.stringify(body));
    const call = request({
      socketPath: socket,
      method,
      path,
      agent: false,
      headers: payload
        ? { 'content-type': raw ? 'application/octet-stream' : 'application/json', 'content-length': payload.length }
        : {},
    });
    call.setTimeout(ANSWER_MS, () => call.destroy(new Error(`${socket}: no answer for ${ANSWER_MS / 1000} s`)));
    call.on('error', (error: NodeJS.ErrnoException) => reject(explain(error, socket)));
    call.on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', (error) => reject(error));
      response.on('aborted', () => reject(new Error(`${socket}: the answer was cut off`)));
      response.on('end', () => {
        const answer = Buffer.concat(chunks);
        const status = response.statusCode ?? 0;
        if (status < 400) resolve(answer);
        else reject(new ApiError(status, readError(answer.toString('utf8'))));
      });
    });
    call.end(payload);
  });
}

/** A GET whose answer comes for as long as `signal` is not aborted. Resolves when it has ended. */
export function callStream(
  socket: string,
  path: string,
  take: (bytes: Buffer) => void,
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const call = request({ socketPath: socket, path, agent: false });
    signal.addEventListener('abort', () => {
      resolve();
      call.destroy();
    });
    call.on('error', (error: NodeJS.ErrnoException) => reject(explain(error, socket)));
    /** A taker that cannot go on (its disk is full) ends the call. */
    const pass = (bytes: Buffer): void => {
      try {
        take(bytes);
      } catch (error) {
        reject(error as Error);
        call.destroy();
      }
    };
    call.on('response', (response) => {
      const refusal: Buffer[] = [];
      const refused = (response.statusCode ?? 0) >= 400;
      response.on('data', (bytes: Buffer) => (refused ? refusal.push(bytes) : pass(bytes)));
      // Without effect where the end was asked for.
      response.on('error', () => reject(new Error(`${socket}: the router has ended, and the stream with it`)));
      response.on('end', () =>
        refused
          ? reject(new ApiError(response.statusCode ?? 0, readError(Buffer.concat(refusal).toString())))
          : resolve(),
      );
    });
    call.end();
  });
}

/** One request; resolves with the body as text. */
export async function callText(socket: string, method: string, path: string, body?: unknown): Promise<string> {
  return (await callBytes(socket, method, path, body)).toString('utf8');
}

/** One request; resolves with the answer. */
export async function call<T>(socket: string, method: string, path: string, body?: unknown): Promise<T> {
  return JSON.parse(await callText(socket, method, path, body)) as T;
}

function readError(text: string): ErrorAnswer {
  try {
    return JSON.parse(text) as ErrorAnswer;
  } catch {
    return { error: text.trim() || 'the daemon gave no reason' };
  }
}

function explain(error: NodeJS.ErrnoException, socket: string): Error {
  switch (error.code) {
    case 'ENOENT':
    case 'ECONNREFUSED':
      return new NotRunning(
        `no tungate is running here (nobody answers on ${socket}): start it with "tungate up", or name its --runtime-dir and --name`,
      );
    case 'EACCES':
      return new NotAllowed(
        `${socket}: permission denied: run this as root, or as a member of the group that owns the socket`,
      );
    default:
      return error;
  }
}
