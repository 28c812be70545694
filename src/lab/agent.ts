/**
 * The agent: one Node process in each host's namespace that plays servers and clients on command (see host.ts for the
 * other end of the IPC channel). Real kernel sockets, so that what it sees is what any program there would see.
 *
 * Wire behaviour of its echo servers, TCP and UDP: each line or datagram is answered with one JSON line
 * {"host","peer","local","text"}, `peer` being the address that the server saw the client come from.
 */
import { createHash } from 'node:crypto';
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { createServer as createHttpServer, get as httpGet } from 'node:http';
import { createConnection, createServer, type Socket } from 'node:net';
import type { Answer, Call, Download } from './host.js';
import { PATIENCE } from './namespace.js';

const name = process.argv[2] ?? 'host';
const connections = new Map<number, { socket: Socket; lines: Lines }>();
const datagrams = new Map<number, { socket: UdpSocket; queue: Queue<{ text: string; peer: string; bytes: number }> }>();
let nextId = 1;

/** Values that come when they come, taken one at a time. */
class Queue<T> {
  readonly #values: T[] = [];
  readonly #takers: ((value: T | Error) => void)[] = [];
  #failure: Error | undefined;

  put(value: T): void {
    const taker = this.#takers.shift();
    if (taker) taker(value);
    else this.#values.push(value);
  }

  fail(error: Error): void {
    this.#failure ??= error;
    for (const taker of this.#takers.splice(0)) taker(error);
  }

  take(seconds: number): Promise<T> {
    if (this.#values.length > 0) return Promise.resolve(this.#values.shift()!);
    if (this.#failure) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      const taker = (value: T | Error) => {
        clearTimeout(timer);
        if (value instanceof Error) reject(value);
        else resolve(value);
      };
      const timer = setTimeout(() => {
        this.#takers.splice(this.#takers.indexOf(taker), 1);
        reject(new Error('timeout'));
      }, seconds * 1000);
      this.#takers.push(taker);
    });
  }
}

/** Splits a TCP stream into lines. */
class Lines extends Queue<string> {
  #rest = '';

  constructor(socket: Socket) {
    super();
    socket.setEncoding('utf8');
    socket.on('data', (chunk: string) => {
      const parts = (this.#rest + chunk).split('\n');
      this.#rest = parts.pop()!;
      for (const part of parts) this.put(part);
    });
    socket.on('error', (error: NodeJS.ErrnoException) => this.fail(new Error(error.code ?? error.message)));
    socket.on('close', () => this.fail(new Error('closed')));
  }
}

function answer(peer: string, local: string, text: string): string {
  return `${JSON.stringify({ host: name, peer, local, text } satisfies Answer)}\n`;
}

// -- servers --

function serveTcp(port: number, host: string): Promise<void> {
  const server = createServer((socket) => {
    const peer = `${socket.remoteAddress}:${socket.remotePort}`;
    const local = `${socket.localAddress}:${socket.localPort}`;
    let rest = '';
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      const parts = (rest + chunk).split('\n');
      rest = parts.pop()!;
      for (const part of parts) socket.write(answer(peer, local, part));
    });
    socket.on('error', () => socket.destroy());
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ port, host, ipv6Only: true }, resolve);
  });
}

function serveUdp(port: number): Promise<void> {
  const socket = createSocket('udp4');
  socket.on('message', (message, from) => {
    const reply = answer(`${from.address}:${from.port}`, `0.0.0.0:${port}`, message.toString('latin1'));
    socket.send(reply, from.port, from.address);
  });
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.bind(port, '0.0.0.0', resolve);
  });
}

/** GET /N: N bytes of a repeated pseudo-random block; the header x-peer says where the client came from. */
function serveHttp(port: number, host: string): Promise<void> {
  const block = Buffer.alloc(256 * 1024);
  for (let i = 0, x = 1; i < block.length; i++) {
    x = (Math.imul(x, 1103515245) + 12345) >>> 0;
    block[i] = x >>> 16;
  }
  const server = createHttpServer((request, response) => {
    const total = Number(request.url?.slice(1));
    const hash = createHash('sha256');
    for (let left = total; left > 0; left -= block.length) hash.update(block.subarray(0, Math.min(left, block.length)));
    response.writeHead(200, {
      'content-length': total,
      'x-peer': `${request.socket.remoteAddress}:${request.socket.remotePort}`,
      'x-sha256': hash.digest('hex'),
    });
    let left = total;
    const more = () => {
      while (left > 0) {
        const part = block.subarray(0, Math.min(left, block.length));
        left -= part.length;
        if (!response.write(part)) return;
      }
      response.end();
    };
    response.on('drain', more);
    more();
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ port, host, ipv6Only: true }, resolve);
  });
}

// -- clients --

function connect(call: Extract<Call, { op: 'connect' }>): Promise<{ id: number; local: string }> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({
      host: call.to,
      port: call.port,
      ...(call.localPort ? { localPort: call.localPort } : {}),
      ...(call.from ? { localAddress: call.from } : {}),
    });
    const lines = new Lines(socket);
    const timer = setTimeout(() => socket.destroy(new Error('timeout')), (call.seconds ?? PATIENCE) * 1000);
    socket.once('error', (error: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      reject(new Error(error.code ?? error.message));
    });
    socket.once('connect', () => {
      clearTimeout(timer);
      const id = nextId++;
      connections.set(id, { socket, lines });
      resolve({ id, local: `${socket.localAddress}:${socket.localPort}` });
    });
  });
}

async function say(id: number, text: string, seconds: number): Promise<Answer> {
  const connection = connections.get(id);
  if (!connection) throw new Error(`no connection ${id}`);
  connection.socket.write(`${text}\n`);
  return JSON.parse(await connection.lines.take(seconds)) as Answer;
}

async function bind(port: number, from: string | undefined): Promise<{ id: number; port: number }> {
  const socket = createSocket('udp4');
  const queue = new Queue<{ text: string; peer: string; bytes: number }>();
  socket.on('message', (message, peer) =>
    queue.put({ text: message.toString('latin1'), peer: `${peer.address}:${peer.port}`, bytes: message.length }),
  );
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    socket.bind(port, from ?? '0.0.0.0', resolve);
  });
  const id = nextId++;
  datagrams.set(id, { socket, queue });
  return { id, port: socket.address().port };
}

function datagramOf(id: number) {
  const found = datagrams.get(id);
  if (!found) throw new Error(`no datagram socket ${id}`);
  return found;
}

function download(url: string, seconds: number): Promise<Download> {
  return new Promise((resolve, reject) => {
    const begun = process.hrtime.bigint();
    const request = httpGet(url, { agent: false }, (response) => {
      const hash = createHash('sha256');
      let bytes = 0;
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        hash.update(chunk);
      });
      response.on('error', reject);
      response.on('end', () => {
        clearTimeout(timer);
        resolve({
          bytes,
          intact: hash.digest('hex') === response.headers['x-sha256'],
          peer: String(response.headers['x-peer']),
          seconds: Number(process.hrtime.bigint() - begun) / 1e9,
        });
      });
    });
    const timer = setTimeout(() => request.destroy(new Error('timeout')), seconds * 1000);
    request.on('error', reject);
  });
}

// -- calls --

async function perform(call: Call): Promise<unknown> {
  switch (call.op) {
    case 'serve':
      for (const port of call.tcp ?? []) await serveTcp(port, call.ipv6 ? '::' : '0.0.0.0');
      for (const port of call.udp ?? []) await serveUdp(port);
      for (const port of call.http ?? []) await serveHttp(port, call.ipv6 ? '::' : '0.0.0.0');
      return undefined;
    case 'connect':
      return connect(call);
    case 'say':
      return say(call.id, call.text, call.seconds ?? PATIENCE);
    case 'hang-up':
      if (call.reset) connections.get(call.id)?.socket.resetAndDestroy();
      else connections.get(call.id)?.socket.end();
      connections.delete(call.id);
      return undefined;
    case 'bind':
      return bind(call.port ?? 0, call.from);
    case 'send': {
      const payload = Buffer.from(call.text, 'latin1');
      return new Promise((resolve, reject) => {
        datagramOf(call.id).socket.send(payload, call.port, call.to, (error) =>
          error ? reject(error) : resolve(undefined),
        );
      });
    }
    case 'next':
      return datagramOf(call.id).queue.take(call.seconds ?? PATIENCE);
    case 'unbind':
      datagramOf(call.id).socket.close();
      datagrams.delete(call.id);
      return undefined;
    case 'download':
      return download(call.url, call.seconds ?? PATIENCE);
    case 'fetch': {
      const response = await fetch(call.url, { signal: AbortSignal.timeout(PATIENCE * 1000) });
      return { status: response.status, text: await response.text() };
    }
  }
}

process.on('message', (message: { id: number; call: Call }) => {
  perform(message.call).then(
    (result) => process.send?.({ id: message.id, result }),
    (error: unknown) =>
      process.send?.({ id: message.id, error: error instanceof Error ? error.message : String(error) }),
  );
});
process.on('disconnect', () => process.exit(0)); // the lab is gone
process.send?.({ id: 0 });
