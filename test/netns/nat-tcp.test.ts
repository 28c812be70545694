import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import type { Flow, Status } from '../../src/contract/api.js';
import { PATIENCE } from '../../src/lab/index.js';
import { ACK, FIN, ipv4, macOf, RST, SYN, sendRaw, tcp } from './packet.js';
import {
  addressOf,
  assertWorks,
  config,
  eventually,
  INTERNET,
  LAN,
  P,
  pause,
  portOf,
  raise,
  type Stage,
} from './stage.js';
import { judge } from './tools.js';

/** The same 5-tuple again and again, at once: closed by RST, by our FIN after the server's, as fast as it goes. */
const REUSE = `
import errno, socket, struct, sys, time
to, port, local, how = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
for round in range(100):
    sock = socket.socket()
    sock.settimeout(60)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if how == 'reset':
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    sock.bind(('0.0.0.0', local))
    while sock.connect_ex((to, port)) == errno.EADDRNOTAVAIL: time.sleep(0.001)  # our FIN is not acknowledged yet
    if how == 'reset':
        sock.sendall(b'%d\\n' % round)
        assert b'"%d"' % round in sock.recv(4096)
    else:
        sock.sendall(b'GET /small HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n')
        while sock.recv(4096): pass  # to the server's FIN: it closes first, and has the TIME_WAIT
    sock.close()
print('100 rounds')
`;

/** An idle connection with keepalive probes every second. */
const KEEPALIVE = `
import socket, sys
sock = socket.create_connection((sys.argv[1], int(sys.argv[2])), 60)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL): sock.setsockopt(socket.IPPROTO_TCP, option, 1)
sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)
print('port', sock.getsockname()[1], flush=True)
sys.stdin.readline()
sock.sendall(b'still there\\n')
print(sock.recv(4096).decode())
`;

/** Listens on the port that it has an outgoing connection from; a stranger's connection to the mapping ends there or not. */
const CONE = `
import socket, sys
def reusable():
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((sys.argv[1], int(sys.argv[2])))
    return sock
out = reusable()
out.connect((sys.argv[3], 7))
out.sendall(b'hello\\n')
seen = out.recv(4096).decode()
inward = reusable()
inward.listen()
inward.settimeout(60)
print(seen, flush=True)  # not before it listens: the stranger comes at once
print('from', '%s:%d' % inward.accept()[1], flush=True)
`;

/** Ports of the pool: more than wrk's connections at once, fewer than they are in the end. */
const POOL = 2000;

const CONE_ADDRESS = '172.22.161.40';

function nginx(dir: string, port: number): string {
  const file = `${dir}/nginx-${port}.conf`;
  writeFileSync(
    file,
    `daemon off; master_process off; pid ${dir}/nginx-${port}.pid; error_log stderr;
events { worker_connections 8192; }
http {
  access_log off; keepalive_requests 1000000;
  client_body_temp_path ${dir}/body; proxy_temp_path ${dir}/proxy; fastcgi_temp_path ${dir}/fastcgi;
  uwsgi_temp_path ${dir}/uwsgi; scgi_temp_path ${dir}/scgi;
  server { listen ${port} backlog=4096; location / { return 200 "ok\\n"; } }
}
`,
  );
  return file;
}

describe('TCP as real programs see it', () => {
  let stage: Stage;
  let wan: string;
  before(async () => {
    stage = await raise(
      config(
        `nat:\n  - { from: [${CONE_ADDRESS}], proto: tcp, filtering: endpoint-independent }\nlimits: { per_host: 0 }\n`,
      ).replace('20000-29999', `20000-${20_000 + POOL - 1}`),
    );
    const { a, b, one, lab, router } = stage;
    a.ns.ip(`addr add ${CONE_ADDRESS}/24 dev eth0`);
    wan = await macOf(router.ns, 'vmbr0');
    for (const [host, port] of [
      [one, 8000],
      [a, 10_800],
    ] as const) {
      const server = host.ns.spawn(judge('nginx', '-c', nginx(lab.dir, port), '-p', lab.dir, '-e', 'stderr'));
      await eventually(`nginx listens on ${port}`, async () => {
        assert.equal(server.code, undefined, server.tail());
        return (await host.ns.must(['ss', '-Hltn', `sport = :${port}`])) !== '';
      });
    }
    for (const ns of [a.ns, b.ns, one.ns]) ns.sysctl('net.core.somaxconn=4096', 'net.ipv4.tcp_max_syn_backlog=4096');
  });
  after(() => stage?.lab.close());

  async function drops(): Promise<string> {
    return JSON.stringify((await stage.daemon.json<Status>('status')).drops.map((each) => [each.reason, each.packets]));
  }

  async function flowOf(outsidePort: number): Promise<Flow | undefined> {
    const flows = await stage.daemon.json<Flow[]>('flows', '-p', 'tcp');
    return flows.find(({ reply }) => reply.dst === P && reply.dport === outsidePort);
  }

  for (const [how, from, url] of [
    ['out through SNAT', 'a', `http://${INTERNET.one}:8000/`],
    ['in through a forward', 'one', `http://${P}:10800/`],
    ['by hairpin', 'b', `http://${P}:10800/`],
  ] as const) {
    test(`REQ-16 nginx and wrk: 1,000 connections at once ${how}, not one error`, async () => {
      const { stdout, stderr } = await stage[from].ns.run(
        judge('wrk', '-t', '2', '-c', '1000', '-d', '2', '--timeout', '60', url),
        { seconds: 120 },
      );
      assert.match(stdout, /requests in/, stderr);
      assert.doesNotMatch(stdout, /Socket errors|Non-2xx/, stdout + (await drops()));
    });

    test(`REQ-12 nginx and wrk: a connection for each request ${how}, more of them than the pool has ports, not one error`, async () => {
      // On a busy machine two seconds may not be enough for as many; so once more, and again.
      let requests = 0;
      for (let round = 0; round < 10 && requests <= POOL; round++) {
        const { stdout, stderr } = await stage[from].ns.run(
          judge('wrk', '-t', '2', '-c', '100', '-d', '2', '--timeout', '60', '-H', 'Connection: close', url),
          { seconds: 120 },
        );
        assert.doesNotMatch(stdout, /Socket errors|Non-2xx/, stdout + (await drops()));
        const more = Number(/(\d+) requests in/.exec(stdout)?.[1]);
        assert.ok(more > 0, `${stdout}${stderr}`);
        requests += more;
      }
      assert.ok(requests > POOL, `${requests} connections`);
    });
  }

  for (const [how, port] of [
    ['reset', 7],
    ['fin', 8000],
  ] as const)
    test(`REQ-20 the same 5-tuple closed (${how}) and opened again at once, a hundred times`, async () => {
      const said = await stage.b.ns.must(['python3', '-c', REUSE, INTERNET.one, String(port), '20456', how], {
        seconds: 120,
      });
      assert.equal(said.trim(), '100 rounds');
    });

  test('REQ-20 RST and FIN outside the window end nothing and refresh nothing; the right RST ends the flow', async () => {
    const connection = await stage.a.connect({ to: INTERNET.one, port: 7 });
    const seen = portOf((await connection.say('before')).peer);
    const blind = (...kinds: number[]) =>
      [0x1000_0000, 0x5000_0000, 0x9000_0000, 0xd000_0000].flatMap((seq) =>
        kinds.map((flags) => {
          const payload = tcp(INTERNET.one, 7, P, seen, flags, seq, 0x2222_2222);
          return ipv4({ src: INTERNET.one, dst: P, proto: 6, payload });
        }),
      );
    // The client answers what it does not like to a FIN or SYN, which is traffic; to a RST it says nothing.
    await pause(2100);
    await sendRaw(stage.inet, 'wan', wan, blind(RST, RST | ACK));
    await pause(100);
    const idle = await flowOf(seen);
    assert.equal(idle?.state, 'ESTABLISHED');
    assert.ok(idle.timeout < 7439, `${idle.timeout} s left: a RST kept it alive`);
    await sendRaw(stage.inet, 'wan', wan, blind(FIN | ACK, SYN, SYN | ACK));
    await pause(100);
    assert.equal((await flowOf(seen))?.state, 'ESTABLISHED');
    assert.equal((await connection.say('after')).text, 'after');
    await connection.hangUp(true);
    await eventually('the flow is closed', async () => (await flowOf(seen))?.state !== 'ESTABLISHED');
    const closed = await flowOf(seen);
    assert.equal(closed?.state, 'CLOSE');
    assert.ok(closed.timeout > 200 && closed.timeout <= 240, `kept ${closed.timeout} s, RFC 7857 wants 240`);
  });

  test('REQ-19 keepalive probes on an idle connection are answered and keep the flow', async () => {
    const program = stage.a.ns.spawn(['python3', '-c', KEEPALIVE, INTERNET.one, '7'], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const local = Number((await program.waitFor(/port \d+/)).slice(5));
    await pause(3500);
    // Without probes what is left only shrinks.
    await eventually('a probe has just been answered', async () => {
      const flows = await stage.daemon.json<Flow[]>('flows', '-p', 'tcp', '--sport', String(local), '--dport', '7');
      assert.equal(flows.length, 1, JSON.stringify(flows));
      return flows[0]!.timeout >= 7438;
    });
    program.child.stdin!.end('\n');
    assert.equal(await program.ended, 0, program.tail());
    assert.match(program.stdout, /still there/);
  });

  for (const [what, address, enters] of [
    ['endpoint-independent by rule: a third host may connect', CONE_ADDRESS, true],
    ['address-dependent (default): a third host gets no answer', LAN.a, false],
  ] as const)
    test(`REQ-9 TCP filtering ${what}`, async () => {
      const program = stage.a.ns.spawn(['python3', '-c', CONE, address, '20900', INTERNET.one]);
      const outside = JSON.parse(await program.waitFor(/^\{.*\}$/m)) as { peer: string };
      const third = stage.two.tryAsk('tcp', { to: P, port: portOf(outside.peer), seconds: enters ? PATIENCE : 2 });
      if (enters) assert.equal(addressOf((await program.waitFor(/from \S+/)).slice(5)), INTERNET.two);
      else assert.equal(await third, 'timeout');
      await program.stop();
      await third;
    });

  test('REQ-12 half-open floods from inside and outside: others are unaffected, every half-open flow is counted', async () => {
    const connection = await stage.a.connect({ to: INTERNET.one, port: 7 });
    const inward = await stage.one.connect({ to: P, port: 10_007 });
    const lan = await macOf(stage.router.ns, 'vmbr1');
    const outside = Array.from({ length: 20_000 }, (_, i) => {
      const src = `198.18.${(i >>> 8) & 255}.${i & 255}`;
      return ipv4({ src, dst: P, proto: 6, payload: tcp(src, 1024 + i, P, 10_007, SYN, i, 0) });
    });
    const inside = Array.from({ length: 1500 }, (_, i) => {
      const dst = `198.19.${(i >>> 8) & 255}.${i & 255}`;
      return ipv4({ src: LAN.b, dst, proto: 6, payload: tcp(LAN.b, 40_000 + i, dst, 80, SYN, i, 0) });
    });
    const floods = [sendRaw(stage.inet, 'wan', wan, outside), sendRaw(stage.b.ns, 'eth0', lan, inside)];
    for (let i = 0; i < 20; i++) {
      assert.equal((await connection.say(`during ${i}`)).text, `during ${i}`);
      assert.equal((await inward.say(`during ${i}`)).text, `during ${i}`);
    }
    await Promise.all(floods);
    await assertWorks(stage);
    const { flows } = await stage.daemon.json<Status>('status');
    assert.ok(flows.live > 5000, `${flows.live} flows: the flood did arrive`);
    assert.ok(flows.live < flows.limit);
    await Promise.all([connection.hangUp(), inward.hangUp()]);
  });

  test('REQ-12 a flood that fills the table gives way: live connections go on, new ones come to be, the table stays in its bounds', async () => {
    assert.equal(await stage.daemon.stop(), 0);
    stage.daemon.configure(config('limits: { flows: 1024 }\n'));
    await stage.daemon.up();
    const connection = await stage.a.connect({ to: INTERNET.one, port: 7 });
    await connection.say('before');
    const flood = Array.from({ length: 5000 }, (_, i) => {
      const src = `198.18.${(i >>> 8) & 255}.${i & 255}`;
      return ipv4({ src, dst: P, proto: 6, payload: tcp(src, 2048, P, 10_007, SYN, i, 0) });
    });
    await sendRaw(stage.inet, 'wan', wan, flood);
    for (let i = 0; i < 5; i++) assert.equal((await connection.say(`full ${i}`)).text, `full ${i}`);
    const { flows, drops } = await stage.daemon.json<Status>('status');
    assert.ok(flows.live <= 1024 && flows.live > 1000, `${flows.live} flows`);
    assert.equal(drops.find(({ reason }) => reason === 'table-full')?.packets ?? 0, 0);
    await assertWorks(stage);
    await connection.hangUp();
  });
});
