import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Status } from '../../src/contract/api.js';
import { type Namespace, PATIENCE, type Process } from '../../src/lab/index.js';
import { addressOf, Capture, eventually, INTERNET, LAN, P, pause, portOf, raise, type Stage } from './stage.js';

/**
 * Three public addresses of the three kinds: P is the host's own, ON_WIRE nobody's on the uplink's wire (ARP must be answered),
 * ROUTED is one that the provider routes to P.
 */
const ON_WIRE = '203.0.113.20';
const ROUTED = '198.18.7.1';
const PUBLIC = [P, ON_WIRE, ROUTED];
/** Leaves from ROUTED by rule. */
const BY_RULE = '172.22.161.50';
/** Leaves from ON_WIRE by rule, which an `all` forward gives to another host. */
const BESIDE = '172.22.161.90';
/** What the provider reaches the LAN by without translation. */
const UNTRANSLATED = '192.0.2.0/24';

const CONFIG = `uplink: { interface: vmbr0, address: [${PUBLIC.join(', ')}], ports: "20000-29999" }
lans: [{ interface: vmbr1, subnet: ${LAN.subnet} }]
forwards:
  - { address: ${P}, ports: 4430, to: "${LAN.a}:10000" }
  - { address: ${ON_WIRE}, ports: 4430, to: "${LAN.b}:8000" }
  - { address: ${ROUTED}, ports: 4430, to: "${LAN.a}:9999" }
  - { address: ${ON_WIRE}, to: ${LAN.b}, proto: all, from: [198.51.100.0/24] }
nat:
  - { from: [${BY_RULE}], address: ${ROUTED} }
  - { from: [${BESIDE}], address: ${ON_WIRE} }
  - { to: [${UNTRANSLATED}], translate: false }
`;

/**
 * Raw IP protocol without ports: echoes what it gets; or sends and prints what comes back, with patience again and again, without
 * (a fraction of a second) once.
 */
const RAW = `
import socket, sys
proto, role = int(sys.argv[1]), sys.argv[2]
sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, proto)
if role == 'serve':
    print('ready', flush=True)
    while True:
        packet, peer = sock.recvfrom(65536)
        print('from', peer[0], flush=True)
        sock.sendto(b'answer ' + packet[20:], peer)
else:
    if len(sys.argv) > 6: sock.bind((sys.argv[6], 0))
    patience, said = float(sys.argv[5]), 'timeout'
    for _ in range(max(1, int(patience))):
        sock.settimeout(min(1, patience))
        sock.sendto(sys.argv[4].encode(), (sys.argv[3], 0))
        try:
            packet, peer = sock.recvfrom(65536)
            said = peer[0] + ' ' + packet[20:].decode()
            break
        except TimeoutError:
            pass
    print(said)
`;
const GRE = 47;
const ESP = 50;

describe('several public addresses, no translation, protocols without ports', () => {
  let stage: Stage;
  before(async () => {
    stage = await raise(CONFIG);
    const { a, inet } = stage;
    inet.ip(`route add ${ROUTED}/32 via ${P}`, `route add ${LAN.subnet} via ${P}`);
    const more = Array.from({ length: 24 }, (_, i) => `addr add 172.22.161.${50 + i}/24 dev eth0`);
    a.ns.ip(...more, `addr add ${BESIDE}/24 dev eth0`);
  });
  after(() => stage?.lab.close());

  test('REQ-2 all that an inside host sends leaves from one address; many hosts use all addresses', async () => {
    const used = new Set<string>();
    for (let i = 1; i < 24; i++) {
      const from = `172.22.161.${50 + i}`;
      const seen = await Promise.all([
        ...Array.from({ length: 4 }, () => stage.a.askUdp({ to: INTERNET.one, port: 7, from })),
        ...Array.from({ length: 4 }, () => stage.a.askTcp({ to: INTERNET.one, port: 7, from })),
      ]);
      const addresses = new Set(seen.map((each) => addressOf(each.peer)));
      assert.equal(addresses.size, 1, `${from} was seen as ${[...addresses]}`);
      used.add([...addresses][0]!);
    }
    assert.deepEqual([...used].toSorted(), PUBLIC.toSorted());
  });

  test('REQ-2 pool by address: a rule says which address some hosts leave from', async () => {
    for (const proto of ['tcp', 'udp'] as const)
      assert.equal(addressOf((await stage.a.ask(proto, { to: INTERNET.one, port: 7, from: BY_RULE })).peer), ROUTED);
    const { stdout } = await stage.a.ns.run([
      'ping',
      '-n',
      '-c',
      '1',
      '-W',
      String(PATIENCE),
      '-I',
      BY_RULE,
      INTERNET.one,
    ]);
    assert.match(stdout, / 1 received/);
  });

  for (const [address, host, local] of [
    [P, 'client-a', `${LAN.a}:10000`],
    [ON_WIRE, 'client-b', `${LAN.b}:8000`],
    [ROUTED, 'client-a', `${LAN.a}:9999`],
  ] as const) {
    test(`forward per address: ${address}:4430 reaches its own target, from outside`, async () => {
      const answer = await stage.one.askTcp({ to: address, port: 4430 });
      assert.deepEqual([answer.host, answer.local, answer.peer], [host, local, answer.from]);
    });

    test(`REQ-10 forward per address: ${address}:4430 by hairpin, the receiver sees a public address`, async () => {
      for (const from of [stage.a, stage.b]) {
        const answer = await from.askTcp({ to: address, port: 4430 });
        assert.deepEqual([answer.host, answer.local], [host, local]);
        assert.ok(PUBLIC.includes(addressOf(answer.peer)), answer.peer);
      }
    });
  }

  test('REQ-10 a dynamic mapping of one address is reached by hairpin from a host that leaves by another', async () => {
    const left = await stage.a.bind(0, BY_RULE);
    await left.send(INTERNET.one, 7, 'who am I');
    const outside = (JSON.parse((await left.next()).text) as { peer: string }).peer;
    assert.equal(addressOf(outside), ROUTED);
    const right = await stage.b.bind();
    await right.send(ROUTED, portOf(outside), 'hello');
    assert.ok(PUBLIC.includes(addressOf((await left.next()).peer)));
    await Promise.all([left.close(), right.close()]);
  });

  test('an address on the wire is answered by ARP, and nothing of the host listens there', async () => {
    await stage.inet.must(['ip', 'neigh', 'flush', 'dev', 'wan']);
    assert.equal((await stage.one.askTcp({ to: ON_WIRE, port: 4430 })).host, 'client-b');
    assert.match(await stage.inet.must(['ip', 'neigh', 'show', 'dev', 'wan']), /203\.0\.113\.20 lladdr/);
    assert.equal(await stage.two.tryAsk('tcp', { to: ROUTED, port: 22, seconds: 1 }), 'timeout');
    assert.equal((await stage.one.askTcp({ to: P, port: 22 })).host, 'router');
  });

  test('REQ-34 no-translate list: those destinations see the inside address itself, both ways', async () => {
    for (const proto of ['tcp', 'udp'] as const) {
      const answer = await stage.a.ask(proto, { to: INTERNET.two, port: 7 });
      assert.equal(answer.peer, answer.from, proto);
    }
    const { stdout } = await stage.a.ns.run([
      'ping',
      '-n',
      '-c',
      '2',
      '-i',
      '0.2',
      '-W',
      String(PATIENCE),
      INTERNET.two,
    ]);
    assert.match(stdout, / 2 received/);
  });

  test('REQ-66 the no-translate list lets nobody in: what was not asked for from inside goes nowhere', async () => {
    const capture = await Capture.start(
      stage.router.ns,
      'vmbr1',
      `src host ${INTERNET.two} and tcp[tcpflags] = tcp-syn`,
    );
    assert.notEqual(await stage.two.tryAsk('tcp', { to: LAN.a, port: 10_007, seconds: 1 }), 'client-a');
    assert.deepEqual(await capture.stop(), []);
  });

  const serve = async (ns: Namespace, proto: number): Promise<Process> => {
    const server = ns.spawn(['python3', '-c', RAW, String(proto), 'serve']);
    await server.waitFor(/ready/);
    return server;
  };
  const send = async (ns: Namespace, proto: number, to: string, text: string, seconds = PATIENCE, ...from: string[]) =>
    (
      await ns.must(['python3', '-c', RAW, String(proto), 'send', to, text, String(seconds), ...from], {
        seconds: 2 * PATIENCE,
      })
    ).trim();

  for (const [name, proto] of [
    ['GRE', GRE],
    ['ESP', ESP],
  ] as const) {
    test(`REQ-40 ${name} by an \`all\` forward, begun outside: one to one, both ways`, async () => {
      const server = await serve(stage.b.ns, proto);
      assert.equal(await send(stage.one.ns, proto, ON_WIRE, 'hello'), `${ON_WIRE} answer hello`);
      assert.match(server.stdout, new RegExp(`from ${INTERNET.one}`));
      await server.stop();
    });

    test(`REQ-40 ${name} begun by the forward's target leaves from its address; another host's goes nowhere and is counted`, async () => {
      const server = await serve(stage.one.ns, proto);
      assert.equal(await send(stage.b.ns, proto, INTERNET.one, 'hello'), `${INTERNET.one} answer hello`);
      assert.match(server.stdout, new RegExp(`from ${ON_WIRE}`));
      const count = async () =>
        (await stage.daemon.json<Status>('status')).drops.find(({ reason }) => reason === 'protocol')?.packets ?? 0;
      const before = await count();
      assert.equal(addressOf((await stage.a.askUdp({ to: INTERNET.one, port: 7, from: BESIDE })).peer), ON_WIRE);
      for (const from of [LAN.a, BESIDE])
        assert.equal(await send(stage.a.ns, proto, INTERNET.one, 'me too', 0.5, from), 'timeout');
      await eventually('both are counted', async () => (await count()) - before >= 2);
      assert.equal((await count()) - before, 2);
      assert.doesNotMatch(server.stdout, new RegExp(`from (?!${ON_WIRE})`), 'nothing of theirs has come');
      await server.stop();
    });
  }

  test('an `all` forward obeys `from`, and carries ping, TCP and UDP ports that nothing else has', async () => {
    assert.match(
      (await stage.one.ns.run(['ping', '-n', '-c', '1', '-W', String(PATIENCE), ON_WIRE])).stdout,
      / 1 received/,
    );
    assert.equal((await stage.one.askTcp({ to: ON_WIRE, port: 22 })).host, 'client-b');
    assert.equal((await stage.one.askUdp({ to: ON_WIRE, port: 8042 })).host, 'client-b');
    assert.equal(await stage.two.tryAsk('tcp', { to: ON_WIRE, port: 22, seconds: 0.5 }), 'timeout');
    const server = await serve(stage.b.ns, GRE);
    assert.equal(await send(stage.two.ns, GRE, ON_WIRE, 'stranger', 0.5), 'timeout');
    await pause(50);
    assert.doesNotMatch(server.stdout, /from/);
    await server.stop();
  });
});
