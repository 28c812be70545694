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
import type { ConfigAnswer, ErrorAnswer, Flow, ReloadAnswer, RuleRow, Status } from '../contract/api.js';
import type { Prefix } from '../contract/plan.js';
import { parsePrefix } from './address.js';
import { type FlowFilter, protocolNumber } from './flows.js';

const BODY_BYTES = 4096;
const HEADER_BYTES = 8192;
const CONNECTIONS = 64;
const REQUEST_MS = 10_000;
/** Longest silence of a reader in the middle of an answer. */
const IDLE_MS = 30_000;
const FLOWS_A_SLICE = 2048;

/** What the API asks of the daemon. */
export interface Daemon {
  status(): Status;
  flows(filter: FlowFilter): Iterable<Flow>;
  endFlows(flows: readonly { index: number; generation: number }[]): Promise<number>;
  rules(): RuleRow[];
  metrics(): Promise<{ contentType: string; text: string }>;
  config(): ConfigAnswer;
  /** Throws Refused when the new config is not taken. */
  reload(): Promise<ReloadAnswer>;
  /** Returns at once; the daemon ends after the answer is out. */
  stop(keep: boolean): void;
}

/** The request is understood and refused: `status` and `errors` go to the client. */
export class Refused extends Error {
  readonly status: number;
  readonly errors: readonly string[];
  constructor(status: number, message: string, errors: readonly string[] = []) {
    super(message);
    this.status = status;
    this.errors = errors;
  }
}

type Handler = (daemon: Daemon, request: IncomingMessage, response: ServerResponse, query: URLSearchParams) => unknown;

const ROUTES: Readonly<Record<string, Readonly<Record<string, Handler>>>> = {
  '/status': { GET: (daemon, _, response) => sendJson(response, 200, daemon.status()) },
  '/rules': { GET: (daemon, _, response) => sendJson(response, 200, daemon.rules()) },
  '/config': { GET: (daemon, _, response) => sendJson(response, 200, daemon.config()) },
  '/metrics': { GET: sendMetrics },
  '/flows': { GET: sendFlows, DELETE: endFlows },
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
  const flows = Array.from(daemon.flows(filter), ({ index, generation }) => ({ index, generation }));
  sendJson(response, 200, { ended: flows.length === 0 ? 0 : await daemon.endFlows(flows) });
}

async function stop(daemon: Daemon, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = await readBody(request);
  const keep = 'keep' in body ? body.keep : false;
  if (typeof keep !== 'boolean') throw new Refused(400, 'keep: true or false');
  response.setHeader('connection', 'close');
  response.once('close', () => daemon.stop(keep));
  sendJson(response, 202, {});
}

async function readBody(request: IncomingMessage): Promise<Record<string, unknown>> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES) throw new Refused(413, `the body is longer than ${BODY_BYTES} bytes`);
    chunks.push(chunk);
  }
  if (bytes === 0) return {};
  let value: unknown;
  try {
    value = JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch {
    throw new Refused(400, 'the body is not JSON');
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    throw new Refused(400, 'the body is not an object');
  return value as Record<string, unknown>;
}

function readFilter(query: URLSearchParams): FlowFilter {
  for (const key of query.keys()) {
    if (!['proto', 'src', 'dst', 'sport', 'dport', 'limit'].includes(key))
      throw new Refused(400, `unknown filter "${key}"`);
  }
  const proto = query.get('proto');
  const number = proto === null ? undefined : protocolNumber(proto);
  if (proto !== null && number === undefined)
    throw new Refused(400, `proto "${proto}": a name (tcp, udp, icmp, gre…) or 0-255`);
  const sport = readNumber(query, 'sport', 0, 65_535);
  const dport = readNumber(query, 'dport', 0, 65_535);
  const src = readPrefix(query, 'src');
  const dst = readPrefix(query, 'dst');
  return {
    ...(number !== undefined && { proto: number }),
    ...(src && { src }),
    ...(dst && { dst }),
    ...(sport !== undefined && { sport }),
    ...(dport !== undefined && { dport }),
  };
}

function readPrefix(query: URLSearchParams, key: string): Prefix | undefined {
  const text = query.get(key);
  if (text === null) return undefined;
  try {
    return parsePrefix(text);
  } catch (error) {
    throw new Refused(400, `${key}: ${(error as Error).message}`);
  }
}

function readNumber(query: URLSearchParams, key: string, least: number, most: number): number | undefined {
  const text = query.get(key);
  if (text === null) return undefined;
  const value = /^\d{1,10}$/.test(text) ? Number(text) : -1;
  if (value < least || value > most) throw new Refused(400, `${key} "${text}": a number, ${least} to ${most}`);
  return value;
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
