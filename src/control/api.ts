/**
 * The daemon's ears: HTTP + JSON on a unix socket for the CLI, and GET /metrics on TCP for Prometheus.
 *
 * Theory of operation. Neither is on the packets' way, and neither may hurt the router: requests are small (headers
 * 8 KiB, bodies 4 KiB), connections few, times bounded. The socket's mode (0660) is the access control: whoever may
 * open it may steer the router, so only `GET /metrics` is also offered on TCP. The socket file is bound under another
 * name, given its mode, and then renamed: nobody can connect while it is open to all. Long answers (flows) are written
 * in slices with a turn of the event loop in between, so that a slow reader or a million flows stop nobody.
 */
import { once } from 'node:events';
import { chmodSync, renameSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type {
  BlockRow,
  ChangeAnswer,
  ConfigAnswer,
  ErrorAnswer,
  Flow,
  ForwardRow,
  ImportAnswer,
  LinkRow,
  ReloadAnswer,
  RuleRow,
  SeenAnswer,
  Status,
  TopAnswer,
  TraceAnswer,
  VxlanFdb,
  VxlanLinkRow,
} from '../contract/api.js';
import type { CaptureFilter } from '../contract/capture.js';
import type { TracePacket, WatchFilter } from '../contract/mailbox.js';
import type { Prefix } from '../contract/plan.js';
import {
  onlyKeys,
  readBody,
  readBytes,
  readCapture,
  readFilter,
  readFlag,
  readNumber,
  readPacket,
  readPrefix,
  readWatch,
} from './api-request.js';
import type { Sink } from './capture.js';
import type { FlowFilter } from './flows.js';
import { Refused } from './refused.js';

export { Refused } from './refused.js';

const HEADER_BYTES = 8192;
/** Ten years: longer than that is for ever. */
const MAX_BLOCK_SECONDS = 315_360_000;
const CONNECTIONS = 64;
const REQUEST_MS = 10_000;
/** Longest silence of a reader in the middle of an answer. */
const IDLE_MS = 30_000;
const FLOWS_A_SLICE = 2048;

/** What it asks about forwards and blocks. All that change something throw Refused when it cannot be. */
export interface ChangesAsked {
  forwards(): ForwardRow[];
  addForward(forward: unknown, temporary: boolean): Promise<ChangeAnswer>;
  removeForward(name: string): Promise<ChangeAnswer>;
  blocks(): BlockRow[];
  addBlock(address: Prefix, seconds: number, temporary: boolean): Promise<ChangeAnswer>;
  removeBlock(address: Prefix): Promise<ChangeAnswer>;
}

/** Export and import. */
export interface StateAsked {
  /** Longest file, in bytes. */
  readonly limit: number;
  export(): Iterable<Uint8Array>;
  import(file: Uint8Array): Promise<ImportAnswer>;
}

/** What the API asks of the daemon. */
export interface Daemon {
  readonly changes: ChangesAsked;
  readonly state: StateAsked;
  readonly captures: { start(filter: CaptureFilter, sink: Sink): Promise<() => Promise<void>> };
  readonly top: { look(): TopAnswer };
  /** What would become of such a packet. */
  trace(packet: TracePacket): Promise<TraceAnswer>;
  /** Calls `take` for each of the next `count` packets that the filter names, until the returned function is called. */
  watch(filter: WatchFilter, count: number, take: (answer: SeenAnswer) => void): () => void;
  status(): Status;
  flows(filter: FlowFilter): Iterable<Flow>;
  endFlows(flows: readonly { index: number; generation: number }[]): Promise<number>;
  rules(): RuleRow[];
  links(): Promise<(LinkRow | VxlanLinkRow)[]>;
  /** `link` undefined: of all VXLAN links. Throws Refused where there is none of that name. */
  fdb(link: string | undefined): Promise<VxlanFdb[]>;
  metrics(): Promise<{ contentType: string; text: string }>;
  config(): ConfigAnswer;
  /** Throws Refused when the new config is not taken. */
  reload(): Promise<ReloadAnswer>;
  /** Returns at once; the daemon ends after the answer is out. */
  stop(keep: boolean): void;
}

type Handler = (daemon: Daemon, request: IncomingMessage, response: ServerResponse, query: URLSearchParams) => unknown;

const ROUTES: Readonly<Record<string, Readonly<Record<string, Handler>>>> = {
  '/status': { GET: (daemon, _, response) => sendJson(response, 200, daemon.status()) },
  '/rules': { GET: (daemon, _, response) => sendJson(response, 200, daemon.rules()) },
  '/links': { GET: async (daemon, _, response) => sendJson(response, 200, await daemon.links()) },
  '/links/fdb': {
    GET: async (daemon, _, response, query) =>
      sendJson(response, 200, await daemon.fdb(query.get('link') ?? undefined)),
  },
  '/config': { GET: (daemon, _, response) => sendJson(response, 200, daemon.config()) },
  '/metrics': { GET: sendMetrics },
  '/flows': { GET: sendFlows, DELETE: endFlows },
  '/forwards': {
    GET: (daemon, _, response) => sendJson(response, 200, daemon.changes.forwards()),
    POST: addForward,
    DELETE: removeForward,
  },
  '/blocks': {
    GET: (daemon, _, response) => sendJson(response, 200, daemon.changes.blocks()),
    POST: addBlock,
    DELETE: removeBlock,
  },
  '/capture': { GET: capture },
  '/top': { GET: (daemon, _, response) => sendJson(response, 200, daemon.top.look()) },
  '/trace': {
    GET: async (daemon, _, response, query) => sendJson(response, 200, await daemon.trace(readPacket(query))),
  },
  '/trace/live': { GET: watch },
  '/state': { GET: exportState, POST: importState },
  '/reload': { POST: async (daemon, _, response) => sendJson(response, 200, await daemon.reload()) },
  '/stop': { POST: stop },
};

const METRICS_ONLY: typeof ROUTES = { '/metrics': { GET: sendMetrics } };

/** Listens on the unix socket `path`, replacing a stale one. Only the owner of the runtime directory may call it. */
export async function listenSocket(daemon: Daemon, path: string): Promise<() => Promise<void>> {
  const server = serve(daemon, ROUTES);
  const draft = `${path}.new`;
  rmSync(draft, { force: true });
  await listen(server, { path: draft }, path);
  chmodSync(draft, 0o660);
  renameSync(draft, path);
  return async () => {
    rmSync(path, { force: true });
    await close(server);
  };
}

/** Serves GET /metrics on TCP. */
export async function listenMetrics(daemon: Daemon, host: string, port: number): Promise<() => Promise<void>> {
  const server = serve(daemon, METRICS_ONLY);
  await listen(server, { host, port }, `metrics.listen ${host}:${port}`);
  return () => close(server);
}

function serve(daemon: Daemon, routes: typeof ROUTES): Server {
  const server = createServer(
    { maxHeaderSize: HEADER_BYTES, requestTimeout: REQUEST_MS, headersTimeout: REQUEST_MS, keepAliveTimeout: 1000 },
    (request, response) => {
      handle(daemon, routes, request, response).catch((error: unknown) => fail(response, error));
    },
  );
  server.maxConnections = CONNECTIONS;
  server.timeout = IDLE_MS;
  return server;
}

async function handle(
  daemon: Daemon,
  routes: typeof ROUTES,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const target = request.url ?? '/';
  const mark = target.indexOf('?');
  const path = mark < 0 ? target : target.slice(0, mark);
  const methods = Object.hasOwn(routes, path) ? routes[path]! : undefined;
  if (!methods)
    throw new Refused(404, `no such thing here: ${path.slice(0, 80)} (there are ${Object.keys(routes).join(', ')})`);
  const method = request.method === 'HEAD' ? 'GET' : (request.method ?? 'GET');
  const handler = Object.hasOwn(methods, method) ? methods[method]! : undefined;
  if (!handler) {
    response.setHeader('allow', Object.keys(methods).join(', '));
    throw new Refused(405, `${path} takes ${Object.keys(methods).join(' and ')}, not ${method}`);
  }
  await handler(daemon, request, response, new URLSearchParams(mark < 0 ? '' : target.slice(mark + 1)));
}

function sendJson(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(`${JSON.stringify(value)}\n`);
}

function fail(response: ServerResponse, error: unknown): void {
  if (response.headersSent) {
    // Half an answer is out: cutting the connection is the only way left to say that it is not whole.
    response.destroy();
    return;
  }
  const refused = error instanceof Refused ? error : null;
  const answer: ErrorAnswer = {
    error: error instanceof Error ? error.message : String(error),
    ...(refused && refused.errors.length > 0 ? { errors: refused.errors } : {}),
  };
  response.setHeader('connection', 'close');
  sendJson(response, refused?.status ?? 500, answer);
}

async function sendMetrics(daemon: Daemon, _request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { contentType, text } = await daemon.metrics();
  response.writeHead(200, { 'content-type': contentType });
  response.end(text);
}

async function sendFlows(
  daemon: Daemon,
  _request: IncomingMessage,
  response: ServerResponse,
  query: URLSearchParams,
): Promise<void> {
  const filter = readFilter(query);
  const limit = readNumber(query, 'limit', 0, 2 ** 31 - 1) ?? Number.POSITIVE_INFINITY;
  response.writeHead(200, { 'content-type': 'application/json' });
  let lines: string[] = [];
  let sent = 0;
  for (const flow of limit > 0 ? daemon.flows(filter) : []) {
    lines.push(`${sent++ === 0 ? '[' : ',\n'}${JSON.stringify(flow)}`);
    if (sent >= limit) break;
    if (lines.length < FLOWS_A_SLICE) continue;
    const room = response.write(lines.join(''));
    lines = [];
    if (response.destroyed) return;
    await (room ? new Promise(setImmediate) : Promise.race([once(response, 'drain'), once(response, 'close')]));
  }
  response.end(`${lines.join('')}${sent === 0 ? '[]' : ']'}\n`);
}

async function endFlows(
  daemon: Daemon,
  _request: IncomingMessage,
  response: ServerResponse,
  query: URLSearchParams,
): Promise<void> {
  const filter = readFilter(query);
  if (Object.keys(filter).length === 0) {
    throw new Refused(400, 'which flows? Give at least one of proto, src, dst, sport, dport');
  }
  const limit = readNumber(query, 'limit', 0, 2 ** 31 - 1) ?? Number.POSITIVE_INFINITY;
  const flows: { index: number; generation: number }[] = [];
  for (const { index, generation } of daemon.flows(filter)) {
    if (flows.length >= limit) break;
    flows.push({ index, generation });
  }
  sendJson(response, 200, { ended: flows.length === 0 ? 0 : await daemon.endFlows(flows) });
}

async function exportState(daemon: Daemon, _request: IncomingMessage, response: ServerResponse): Promise<void> {
  const pieces = daemon.state.export();
  response.writeHead(200, { 'content-type': 'application/octet-stream' });
  for (const piece of pieces) {
    const room = response.write(piece);
    if (response.destroyed) return;
    await (room ? new Promise(setImmediate) : Promise.race([once(response, 'drain'), once(response, 'close')]));
  }
  response.end();
}

async function importState(daemon: Daemon, request: IncomingMessage, response: ServerResponse): Promise<void> {
  sendJson(response, 200, await daemon.state.import(await readBytes(request, daemon.state.limit)));
}

async function capture(
  daemon: Daemon,
  request: IncomingMessage,
  response: ServerResponse,
  query: URLSearchParams,
): Promise<void> {
  const filter = readCapture(query);
  response.setHeader('content-type', 'application/octet-stream');
  const stop = await daemon.captures.start(filter, response);
  // Silence is no reason to hang up.
  request.socket.setTimeout(0);
  response.flushHeaders();
  response.once('close', () => void stop());
}

async function watch(
  daemon: Daemon,
  request: IncomingMessage,
  response: ServerResponse,
  query: URLSearchParams,
): Promise<void> {
  const { filter, count } = readWatch(query);
  let left = count;
  const stop = daemon.watch(filter, count, (answer) => {
    // Each worker may see as many.
    if (left-- > 0) response.write(`${JSON.stringify(answer)}\n`);
    if (left === 0) response.end();
  });
  response.once('close', stop);
  request.socket.setTimeout(0);
  response.setHeader('content-type', 'application/x-ndjson');
  response.flushHeaders();
}

async function addForward(daemon: Daemon, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = await readBody(request);
  onlyKeys(body, ['forward', 'temporary']);
  const { forward } = body;
  if (typeof forward !== 'string' && (typeof forward !== 'object' || forward === null))
    throw new Refused(400, 'forward: a text like "2222:172.22.161.10:22/tcp", or a map with `to`');
  sendJson(response, 200, await daemon.changes.addForward(forward, readFlag(body, 'temporary')));
}

async function removeForward(
  daemon: Daemon,
  _request: IncomingMessage,
  response: ServerResponse,
  query: URLSearchParams,
): Promise<void> {
  const name = query.get('name');
  if (name === null) throw new Refused(400, 'which forward? Give its name');
  sendJson(response, 200, await daemon.changes.removeForward(name));
}

async function addBlock(daemon: Daemon, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = await readBody(request);
  onlyKeys(body, ['address', 'seconds', 'temporary']);
  const { address, seconds = 0 } = body;
  if (typeof address !== 'string') throw new Refused(400, 'address: an IPv4 address or prefix');
  if (!Number.isInteger(seconds) || (seconds as number) < 0 || (seconds as number) > MAX_BLOCK_SECONDS)
    throw new Refused(400, `seconds: 1 to ${MAX_BLOCK_SECONDS}, or 0 for no end`);
  const prefix = readPrefix(new URLSearchParams({ address }), 'address')!;
  sendJson(response, 200, await daemon.changes.addBlock(prefix, seconds as number, readFlag(body, 'temporary')));
}

async function removeBlock(
  daemon: Daemon,
  _request: IncomingMessage,
  response: ServerResponse,
  query: URLSearchParams,
): Promise<void> {
  const prefix = readPrefix(query, 'address');
  if (prefix === undefined) throw new Refused(400, 'which address?');
  sendJson(response, 200, await daemon.changes.removeBlock(prefix));
}

async function stop(daemon: Daemon, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = await readBody(request);
  const keep = readFlag(body, 'keep');
  response.setHeader('connection', 'close');
  response.once('close', () => daemon.stop(keep));
  sendJson(response, 202, {});
}

async function listen(
  server: Server,
  where: { path: string } | { host: string; port: number },
  what: string,
): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const why =
        error.code === 'EADDRINUSE'
          ? 'somebody else listens there'
          : error.code === 'EADDRNOTAVAIL'
            ? 'this host does not have the address'
            : error.message;
      reject(new Error(`${what}: cannot listen: ${why}`, { cause: error }));
    });
    server.listen(where, resolve);
  });
  server.removeAllListeners('error');
  // accept() may fail under pressure (EMFILE): the next one may work.
  server.on('error', () => {});
}

async function close(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  // Whoever still reads gets a moment, then the line is cut.
  setTimeout(() => server.closeAllConnections(), 500).unref();
  await closed;
}
