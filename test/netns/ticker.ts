/**
 * Streams in which only the server speaks, numbered, so that the client can say what was lost and how long the longest silence
 * was. TCP loses nothing but time; UDP shows each packet that the router dropped, and for how long it did.
 *
 *   server: one number every `everyMs`        client: asks once, then only listens
 */
import type { Host } from '../../src/lab/host.js';
import type { Process } from '../../src/lab/namespace.js';

export interface Heard {
  /** Numbers that came, and those that are missing in between. */
  readonly count: number;
  readonly lost: number;
  /** Milliseconds. */
  readonly longestGap: number;
  /** The stream broke: closed, reset, out of order. */
  readonly error: string;
}

const SERVER = {
  tcp: `require('node:net').createServer((socket) => {
    let n = 0;
    socket.on('error', () => {});
    const timer = setInterval(() => socket.write(n++ + '\\n'), EVERY);
    socket.on('close', () => clearInterval(timer));
  }).listen(PORT, () => console.log('listening'));`,
  udp: `const socket = require('node:dgram').createSocket('udp4');
  socket.on('message', (_, peer) => { let n = 0; setInterval(() => socket.send(String(n++), peer.port, peer.address), EVERY); });
  socket.bind(PORT, () => console.log('listening'));`,
} as const;

const HEAR = `
  let next = -1, count = 0, lost = 0, longestGap = 0, last = 0, error = '';
  const heard = (n) => {
    const now = performance.now();
    if (count === 0) console.log('hearing');
    else longestGap = Math.max(longestGap, now - last);
    last = now;
    if (next >= 0 && n > next) lost += n - next;
    if (next >= 0 && n < next) error ||= 'out of order: ' + n + ' after ' + (next - 1);
    next = n + 1;
    count++;
  };
  const end = () => { console.log('heard ' + JSON.stringify({ count, lost, longestGap: Math.round(Math.max(longestGap, performance.now() - last)), error })); process.exit(); };
  process.on('SIGTERM', end);`;

const CLIENT = {
  tcp: `${HEAR}
  const socket = require('node:net').connect(PORT, 'TO');
  let rest = '';
  socket.setEncoding('latin1');
  socket.on('data', (text) => { const lines = (rest + text).split('\\n'); rest = lines.pop(); lines.forEach((line) => heard(Number(line))); });
  socket.on('error', (e) => { error ||= e.message; });
  socket.on('close', () => { error ||= 'closed'; });`,
  udp: `${HEAR}
  const socket = require('node:dgram').createSocket('udp4');
  socket.on('message', (text) => heard(Number(text)));
  socket.send('go', PORT, 'TO');`,
} as const;

export class Ticker {
  readonly #server: Process;
  readonly #client: Process;

  private constructor(server: Process, client: Process) {
    this.#server = server;
    this.#client = client;
  }

  /** Returns when the first number has come. */
  static async start(proto: 'tcp' | 'udp', client: Host, server: Host, port: number, everyMs: number): Promise<Ticker> {
    const script = (text: string) =>
      text.replaceAll('PORT', String(port)).replaceAll('EVERY', String(everyMs)).replaceAll('TO', server.address);
    const speaks = server.ns.spawn([process.execPath, '-e', script(SERVER[proto])]);
    await speaks.waitFor(/listening/);
    const hears = client.ns.spawn([process.execPath, '-e', script(CLIENT[proto])]);
    await hears.waitFor(/hearing/);
    return new Ticker(speaks, hears);
  }

  async stop(): Promise<Heard> {
    await this.#client.stop('SIGTERM');
    await this.#server.stop('SIGTERM');
    const text = /heard (.*)/.exec(this.#client.stdout)?.[1];
    if (text === undefined) throw new Error(this.#client.tail());
    return JSON.parse(text) as Heard;
  }
}

/** Opens `count` UDP flows (the same ones when called again) from one socket of `client` to as many ports of `to`. */
export async function openFlows(client: Host, to: string, count: number): Promise<void> {
  const script = `const socket = require('node:dgram').createSocket('udp4');
    let sent = 0;
    const some = () => {
      for (let i = 0; i < 100 && sent < ${count}; i++) socket.send('x', 30000 + sent++, '${to}');
      if (sent < ${count}) setTimeout(some, 5); else setTimeout(() => process.exit(), 100);
    };
    socket.bind(25000, some);`;
  await client.ns.must([process.execPath, '-e', script]);
}
