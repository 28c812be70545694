import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { Flow, SeenAnswer, Status, TopAnswer } from '../../src/contract/api.js';
import type { TracePacket, WatchFilter } from '../../src/contract/mailbox.js';
import { type Daemon, listenMetrics, listenSocket, Refused } from '../../src/control/api.js';
import { ApiError, call, callText, NotAllowed, NotRunning } from '../../src/control/client.js';
import type { FlowFilter } from '../../src/control/flows.js';

const FLOW: Flow = {
  index: 0,
  generation: 1,
  proto: 6,
  protocol: 'tcp',
  state: 'ESTABLISHED',
  timeout: 10,
  original: { src: '172.22.161.20', dst: '192.0.2.1', sport: 1, dport: 2 },
  reply: { src: '192.0.2.1', dst: '203.0.113.10', sport: 2, dport: 1 },
  bytes: { original: 1, reply: 2 },
  replied: true,
  assured: true,
  hairpin: false,
  rule: 1,
};

/** What the API is in front of: notes what it is asked, and answers as told. */
class Answers implements Daemon {
  asked: unknown[] = [];
  readonly changes = {
    forwards: () => [],
    addForward: (...asked: unknown[]) => this.#note('addForward', asked),
    removeForward: (...asked: unknown[]) => this.#note('removeForward', asked),
    blocks: () => [],
    addBlock: (...asked: unknown[]) => this.#note('addBlock', asked),
    removeBlock: (...asked: unknown[]) => this.#note('removeBlock', asked),
  };
  readonly captures = { start: async () => async () => {} };
  readonly links = async () => [];
  readonly fdb = async () => [];
  readonly top = { look: () => ({ seconds: 1 }) as TopAnswer };
  async trace(packet: TracePacket) {
    this.asked = [packet];
    return { verdict: 'forward', fate: 'send', sentence: '', steps: [] };
  }
  watch(filter: WatchFilter, count: number, take: (answer: SeenAnswer) => void) {
    this.asked = [filter, count];
    const answer = { at: '', bytes: 20, verdict: 'forward', fate: 'send', sentence: '', steps: [] };
    // One more than was asked for, as a second worker would.
    for (let i = 0; i <= count; i++) setImmediate(take, answer);
    return () => this.asked.push('stopped');
  }
  readonly state = {
    limit: 5000,
    export: () => [Buffer.from('one'), Buffer.from('two')],
    import: async (file: Uint8Array) => ({
      mappings: { taken: 0, refused: [] },
      flows: { taken: file.length, refused: [] },
    }),
  };
  async #note(what: string, asked: unknown[]) {
    this.asked = [what, ...asked];
    return { ...(await this.reload()), files: ['f'] };
  }
  flowCount = 3;
  seen: FlowFilter[] = [];
  ended: number[] = [];
  stopped: boolean[] = [];
  reloadError: Error | null = null;
  given = 0;

  status(): Status {
    return { phase: 'ready' } as Status;
  }
  *flows(filter: FlowFilter): Generator<Flow> {
    this.seen.push(filter);
    for (let index = 0; index < this.flowCount; index++, this.given++) yield { ...FLOW, index };
  }
  async endFlows(flows: readonly { index: number }[]): Promise<number> {
    this.ended = flows.map(({ index }) => index);
    return flows.length;
  }
  rules() {
    return [];
  }
  async metrics() {
    return { contentType: 'text/plain; version=0.0.4', text: 'tungate_flows 1\n' };
  }
  config() {
    return { file: 'f', generation: 1, config: {} };
  }
  async reload() {
    if (this.reloadError) throw this.reloadError;
    return { generation: 2, changed: true, difference: 'x', flows: { stayed: 1, moved: 0, ended: 0 }, problems: [] };
  }
  stop(keep: boolean): void {
    this.stopped.push(keep);
  }
}

const dir = mkdtempSync(join(tmpdir(), 'tungate-api-'));
const socket = join(dir, 'api.sock');
let daemon = new Answers();
let close = async () => {};

/** The same server for all tests, a fresh daemon behind it for each. */
const front: Daemon = {
  get changes() {
    return daemon.changes;
  },
  get state() {
    return daemon.state;
  },
  get captures() {
    return daemon.captures;
  },
  get top() {
    return daemon.top;
  },
  trace: (packet) => daemon.trace(packet),
  watch: (filter, count, take) => daemon.watch(filter, count, take),
  status: () => daemon.status(),
  flows: (filter) => daemon.flows(filter),
  endFlows: (flows) => daemon.endFlows(flows),
  links: () => daemon.links(),
  fdb: () => daemon.fdb(),
  rules: () => daemon.rules(),
  metrics: () => daemon.metrics(),
  config: () => daemon.config(),
  reload: () => daemon.reload(),
  stop: (keep) => daemon.stop(keep),
};

const refused = (status: number, message: RegExp) => (error: unknown) => {
  assert.ok(error instanceof ApiError, String(error));
  assert.equal(error.status, status);
  assert.match(error.message, message);
  return true;
};

describe('API on the unix socket', () => {
  before(async () => {
    writeFileSync(socket, 'left by a crash');
    close = await listenSocket(front, socket);
  });
  after(async () => {
    await close();
    rmSync(dir, { recursive: true });
  });
  beforeEach(() => {
    daemon = new Answers();
  });

  test('the socket is 0660 from its first moment, and replaces a stale one', () => {
    assert.equal(statSync(socket).mode & 0o777, 0o660);
    assert.ok(statSync(socket).isSocket());
  });

  test('GET /status, /rules, /config, /metrics', async () => {
    assert.equal((await call<Status>(socket, 'GET', '/status')).phase, 'ready');
    assert.deepEqual(await call(socket, 'GET', '/rules'), []);
    assert.equal((await call<{ file: string }>(socket, 'GET', '/config')).file, 'f');
    assert.match(await callText(socket, 'GET', '/metrics'), /tungate_flows 1/);
  });

  test('forwards and blocks: what is asked reaches the daemon as it is; what is wrong is refused with what is allowed', async () => {
    await call(socket, 'POST', '/forwards', { forward: '2222:172.22.161.10:22', temporary: true });
    assert.deepEqual(daemon.asked, ['addForward', '2222:172.22.161.10:22', true]);
    await call(socket, 'POST', '/forwards', { forward: { to: '172.22.161.10' } });
    assert.deepEqual(daemon.asked, ['addForward', { to: '172.22.161.10' }, false]);
    await call(socket, 'DELETE', '/forwards?name=a%2Fb');
    assert.deepEqual(daemon.asked, ['removeForward', 'a/b']);
    await call(socket, 'POST', '/blocks', { address: '192.0.2.0/24', seconds: 60 });
    assert.deepEqual(daemon.asked, ['addBlock', { prefix: 0xc0000200 | 0, mask: -256 }, 60, false]);
    await call(socket, 'DELETE', '/blocks?address=192.0.2.1');
    assert.deepEqual(daemon.asked, ['removeBlock', { prefix: 0xc0000201 | 0, mask: -1 }]);
    for (const [path, body, message] of [
      ['/forwards', {}, /^forward: a text like/],
      ['/forwards', { forward: 7 }, /^forward: a text like/],
      ['/forwards', { forward: 'x', temporay: true }, /unknown key "temporay" \(allowed: forward, temporary\)/],
      ['/forwards', { forward: 'x', temporary: 'yes' }, /^temporary: true or false/],
      ['/blocks', { address: '192.0.2.1/24' }, /did you mean 192\.0\.2\.0\/24/],
      ['/blocks', { address: '192.0.2.1', seconds: -1 }, /^seconds: 1 to/],
    ] as const)
      await assert.rejects(call(socket, 'POST', path, body), refused(400, message));
    await assert.rejects(call(socket, 'DELETE', '/forwards'), refused(400, /which forward/));
  });

  test('the export comes as bytes, the import is bounded', async () => {
    assert.equal(await callText(socket, 'GET', '/state'), 'onetwo');
    const { flows } = await call<{ flows: { taken: number } }>(socket, 'POST', '/state', new Uint8Array(5000));
    assert.equal(flows.taken, 5000);
    await assert.rejects(call(socket, 'POST', '/state', new Uint8Array(5001)), refused(413, /longer than 5000/));
  });

  test('GET /flows is JSON with one flow a line, whatever their number', async () => {
    for (const count of [0, 1, 3, 5000]) {
      daemon.flowCount = count;
      const text = await callText(socket, 'GET', '/flows');
      const flows = JSON.parse(text) as Flow[];
      assert.equal(flows.length, count);
      assert.deepEqual(flows.at(-1)?.index, count > 0 ? count - 1 : undefined);
      assert.equal(text.trimEnd().split('\n').length, Math.max(1, count));
    }
  });

  test('GET /flows hands filters on, as the plan writes addresses', async () => {
    await call(socket, 'GET', '/flows?proto=udp&src=172.22.161.0/24&dst=192.0.2.1&sport=5&dport=65535');
    assert.deepEqual(daemon.seen, [
      {
        proto: 17,
        src: { prefix: 0xac16_a100 | 0, mask: 0xffff_ff00 | 0 },
        dst: { prefix: 0xc000_0201 | 0, mask: -1 },
        sport: 5,
        dport: 65_535,
      },
    ]);
  });

  test('GET /flows?limit= reads no further than asked', async () => {
    daemon.flowCount = 100_000;
    assert.equal((await call<Flow[]>(socket, 'GET', '/flows?limit=7')).length, 7);
    assert.equal((await call<Flow[]>(socket, 'GET', '/flows?limit=0')).length, 0);
    assert.ok(daemon.given < 10);
  });

  test('a reader that leaves in the middle stops the reading', async () => {
    daemon.flowCount = 2_000_000;
    await new Promise<void>((resolve, reject) => {
      const asking = request({ socketPath: socket, path: '/flows' }, (response) => {
        response.once('data', () => {
          response.destroy();
          resolve();
        });
      });
      asking.on('error', reject);
      asking.end();
    });
    let before = -1;
    for (const late = Date.now() + 5000; daemon.given !== before && Date.now() < late; ) {
      before = daemon.given;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert.ok(daemon.given < 1_000_000, `${daemon.given} flows were read for nobody`);
  });

  for (const [query, message] of [
    ['proto=tpc', /proto "tpc": a name/],
    ['src=010.1.1.1', /src: "010\.1\.1\.1" has a number with a leading zero/],
    ['dst=1.2.3', /dst: "1\.2\.3" is not an IPv4 address/],
    ['sport=65536', /sport "65536": a number, 0 to 65535/],
    ['limit=-1', /limit "-1"/],
    ['port=1', /unknown filter "port"/],
  ] as const) {
    test(`GET /flows?${query} is refused with the reason`, () =>
      assert.rejects(call(socket, 'GET', `/flows?${query}`), refused(400, message)));
  }

  test('DELETE /flows ends those that match, and never all by mistake', async () => {
    assert.deepEqual(await call(socket, 'DELETE', '/flows?proto=tcp'), { ended: 3 });
    assert.deepEqual(daemon.ended, [0, 1, 2]);
    await assert.rejects(call(socket, 'DELETE', '/flows'), refused(400, /which flows/));
  });

  test('POST /reload answers what became of the flows, or every error', async () => {
    assert.deepEqual(await call(socket, 'POST', '/reload'), await daemon.reload());
    daemon.reloadError = new Refused(422, 'the config has errors', ['f:1:2: a: wrong', 'f:3:4: b: wrong']);
    await assert.rejects(call(socket, 'POST', '/reload'), (error: unknown) => {
      assert.ok(error instanceof ApiError);
      assert.deepEqual([error.status, error.exit, error.errors], [422, 2, ['f:1:2: a: wrong', 'f:3:4: b: wrong']]);
      return true;
    });
  });

  test('an error nobody thought of is 500 with its message', () => {
    daemon.reloadError = new Error('the kernel is on fire');
    return assert.rejects(call(socket, 'POST', '/reload'), refused(500, /kernel is on fire/));
  });

  test('POST /stop answers first; keep is false unless it is asked for', async () => {
    await call(socket, 'POST', '/stop');
    await call(socket, 'POST', '/stop', { keep: true });
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.deepEqual(daemon.stopped, [false, true]);
    await assert.rejects(call(socket, 'POST', '/stop', { keep: 'yes' }), refused(400, /keep: true or false/));
    await assert.rejects(call(socket, 'POST', '/stop', [1]), refused(400, /not an object/));
    assert.equal(daemon.stopped.length, 2);
  });

  test('unknown paths and methods are refused with what there is', async () => {
    await assert.rejects(call(socket, 'GET', '/'), refused(404, /\/status/));
    await assert.rejects(call(socket, 'GET', '/constructor'), refused(404, /no such thing/));
    await assert.rejects(call(socket, 'POST', '/status'), refused(405, /takes GET, not POST/));
    await assert.rejects(call(socket, 'GET', '/stop'), refused(405, /takes POST/));
  });

  test('a body that is too long, or no JSON, is refused', async () => {
    await assert.rejects(call(socket, 'POST', '/stop', { x: 'y'.repeat(10_000) }), refused(413, /longer than 4096/));
    const answer = await raw(
      socket,
      'POST /stop HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\n{a}',
    );
    assert.match(answer, /^HTTP\/1\.1 400 /);
    assert.equal(daemon.stopped.length, 0);
  });

  test('REQ-64 noise on the socket hurts nobody', async () => {
    for (const noise of [
      '\0\xff'.repeat(50_000),
      'GET '.padEnd(100_000, 'a'),
      `GET / HTTP/1.1\r\n${'A: b\r\n'.repeat(5000)}\r\n`,
    ]) {
      await raw(socket, noise);
    }
    assert.equal((await call<Status>(socket, 'GET', '/status')).phase, 'ready');
  });

  test('nobody there: NotRunning, exit 3; not for us: NotAllowed, exit 77', async () => {
    await assert.rejects(call(join(dir, 'none.sock'), 'GET', '/status'), (error: unknown) => {
      assert.ok(error instanceof NotRunning);
      assert.equal(error.exit, 3);
      assert.match(error.message, /tungate up/);
      return true;
    });
    assert.equal(new NotAllowed('').exit, 77);
  });
});

test('the TCP listener gives metrics and nothing else', async () => {
  const server = await listenMetrics(front, '127.0.0.1', 0).catch((error: unknown) => error);
  assert.ok(typeof server === 'function', String(server));
  await server();
  const port = 20_000 + (process.pid % 10_000);
  const end = await listenMetrics(front, '127.0.0.1', port);
  try {
    assert.match(await (await fetch(`http://127.0.0.1:${port}/metrics`)).text(), /tungate_flows/);
    assert.equal((await fetch(`http://127.0.0.1:${port}/metrics`, { method: 'HEAD' })).status, 200);
    for (const [method, path] of [
      ['GET', '/status'],
      ['POST', '/stop'],
      ['GET', '/flows'],
      ['POST', '/metrics'],
    ] as const) {
      const answer = await fetch(`http://127.0.0.1:${port}${path}`, { method });
      assert.ok(answer.status === 404 || answer.status === 405, `${method} ${path}: ${answer.status}`);
    }
    await assert.rejects(
      listenMetrics(front, '127.0.0.1', port),
      /metrics\.listen 127\.0\.0\.1:\d+: cannot listen: somebody else/,
    );
    await assert.rejects(listenMetrics(front, '192.0.2.1', port), /this host does not have the address/);
  } finally {
    await end();
  }
  assert.equal(daemon.stopped.length, 0);
});

/** Sends bytes and returns what comes back until the other side closes. */
function raw(path: string, bytes: string): Promise<string> {
  return new Promise((resolve) => {
    const line = connect(path);
    let answer = '';
    line.setTimeout(5000, () => line.destroy());
    line.on('data', (chunk) => {
      answer += chunk.toString('latin1');
    });
    line.on('error', () => {});
    line.on('close', () => resolve(answer));
    line.write(Buffer.from(bytes, 'latin1'));
  });
}
