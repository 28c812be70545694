/**
 * The socket on which wg(8) finds a device: /var/run/wireguard/NAME.sock, root's alone.
 *
 * It is bound in a folder of its own that nobody else may enter, and moved to its place when its mode is right: so it is never open to others, and a stale file
 * of a dead device is replaced in one step. A live one is not taken over. Requests of one connection are answered one after the other.
 */
import { chmodSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, watch } from 'node:fs';
import { type Socket as Connection, connect, createServer, type Server } from 'node:net';
import { basename, join } from 'node:path';

export const UAPI_DIR = '/var/run/wireguard';
/** A hundred thousand allowed IPs are 4 MB. */
const REQUEST_BYTES = 64 * 1024 * 1024;
const CONNECTIONS = 32;

export interface UapiServerOptions {
  /** Device name: 1 to 15 bytes, as the kernel's interfaces. */
  readonly name: string;
  /** Request without its empty line → answer. Never rejects. */
  readonly answer: (text: string) => Promise<string>;
  /** The socket's file was removed by somebody: the way to end a userspace device. */
  readonly removed?: () => void;
  readonly dir?: string;
}

export class UapiServer {
  readonly #connections = new Set<Connection>();
  #closed = false;
  #stopWatching = () => {};

  private constructor(
    /** Where wg(8) finds it. */
    readonly path: string,
    readonly server: Server,
  ) {}

  /** Throws when another device answers on that name. */
  static async open(options: UapiServerOptions): Promise<UapiServer> {
    const { name, dir = UAPI_DIR } = options;
    if (!/^[A-Za-z0-9_=+.-]{1,15}$/.test(name) || name === '.' || name === '..') {
      throw new Error(`"${name}" is not a device name: 1 to 15 letters, digits or _ = + . -`);
    }
    mkdirSync(dir, { recursive: true, mode: 0o755 });
    const path = join(dir, `${name}.sock`);
    if (await answers(path)) throw new Error(`${path}: another process is device ${name} already`);
    const own = mkdtempSync(join(dir, '.tungate-')); // 0700
    try {
      const server = createServer();
      const made = new UapiServer(path, server);
      server.on('connection', (connection) => made.#serve(connection, options.answer));
      server.maxConnections = CONNECTIONS;
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(join(own, 'sock'), resolve);
      });
      chmodSync(join(own, 'sock'), 0o600);
      renameSync(join(own, 'sock'), path);
      if (options.removed !== undefined) made.#watch(dir, options.removed);
      return made;
    } finally {
      rmSync(own, { recursive: true, force: true });
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#stopWatching();
    this.server.close();
    for (const connection of this.#connections) connection.destroy();
    rmSync(this.path, { force: true });
  }

  #watch(dir: string, removed: () => void): void {
    const watcher = watch(dir, (_, file) => {
      if (this.#closed || (file !== null && file !== basename(this.path)) || existsSync(this.path)) return;
      this.#stopWatching();
      removed();
    });
    watcher.unref();
    this.#stopWatching = () => watcher.close();
  }

  #serve(connection: Connection, answer: (text: string) => Promise<string>): void {
    this.#connections.add(connection);
    let text = '';
    let turn = Promise.resolve();
    connection.setEncoding('utf8');
    connection.on('error', () => {}); // it closes
    connection.on('close', () => this.#connections.delete(connection));
    connection.on('data', (part: string) => {
      text += part;
      if (text.length > REQUEST_BYTES) connection.destroy();
      for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
        const request = text.slice(0, end + 1);
        text = text.slice(end + 2);
        turn = turn.then(async () => {
          const words = await answer(request);
          if (!connection.destroyed) connection.write(words);
        });
      }
    });
  }
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = connect(path);
    connection.once('connect', () => {
      connection.destroy();
      resolve(true);
    });
    connection.once('error', () => resolve(false));
  });
}
