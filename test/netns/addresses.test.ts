import assert from 'node:assert/strict';
import { after, afterEach, describe, test } from 'node:test';
import { addressOf, diffState, INTERNET, kernelState, LAN, P, prepare, type Stage } from './stage.js';

const ON_WIRE = '203.0.113.50';
const ROUTED = '198.18.5.5';

function withAddress(address: string): string {
  return `uplink: { interface: vmbr0, address: ${address}, ports: "20000-29999,60000-65535" }
lans:
  - { interface: vmbr1, subnet: ${LAN.subnet} }
forwards:
  - "10000-10999:${LAN.a}:10000-10999/tcp"
  - { name: game, ports: 30000-30099, to: "${LAN.b}:8000-8099", proto: [tcp, udp] }
`;
}

describe('P may be the host its own, one on the wire, or one that is routed to the host', () => {
  let stage: Stage | undefined;
  afterEach(() => stage?.lab.close());
  after(() => stage?.lab.close());

  async function everything({ a, b, one, router }: Stage, address: string): Promise<void> {
    assert.equal(addressOf((await a.askTcp({ to: INTERNET.one, port: 7 })).peer), address, 'SNAT');
    assert.equal(addressOf((await a.askUdp({ to: INTERNET.two, port: 7 })).peer), address, 'SNAT, UDP');
    const inwards = await one.askTcp({ to: address, port: 10_007 });
    assert.deepEqual([inwards.host, inwards.peer], ['client-a', inwards.from], 'forward');
    assert.equal((await one.askUdp({ to: address, port: 30_042 })).host, 'client-b', 'forward, UDP');
    const hairpin = await b.askTcp({ to: address, port: 10_000 });
    assert.deepEqual([hairpin.host, addressOf(hairpin.peer)], ['client-a', address], 'hairpin');
    assert.equal((await router.askTcp({ to: address, port: 10_007 })).host, 'client-a', 'from the host itself');
    const { stdout } = await a.ns.run(['ping', '-n', '-c', '2', '-i', '0.2', '-W', '2', INTERNET.one]);
    assert.match(stdout, / 2 received/);
  }

  for (const [what, address, arrange] of [
    ["the host's own, written out", P, () => {}],
    ['on the wire, not the host its own: ARP is answered', ON_WIRE, () => {}],
    ['routed to the host', ROUTED, ({ inet }: Stage) => inet.ip(`route add ${ROUTED}/32 via ${P}`)],
  ] as const)
    test(what, async () => {
      stage = await prepare(withAddress(address));
      arrange(stage);
      const before = await kernelState(stage.router.ns);
      await stage.daemon.up();
      await everything(stage, address);
      // The host keeps its own address for itself, whatever P is.
      assert.equal(await stage.one.tryAsk('tcp', { to: P, port: 22 }), 'router');
      assert.match((await stage.router.askTcp({ to: INTERNET.one, port: 7 })).peer, new RegExp(`^${P}:`));
      assert.equal(await stage.daemon.stop(), 0);
      assert.deepEqual(diffState(before, await kernelState(stage.router.ns)), []);
    });

  test('a dedicated P answers nothing for the host: its services are not found there', async () => {
    stage = await prepare(withAddress(ON_WIRE));
    await stage.daemon.up();
    assert.equal(await stage.one.tryAsk('tcp', { to: ON_WIRE, port: 22, seconds: 1 }), 'timeout');
  });

  test('REQ-2 a list of addresses: all mappings of one client use one of them', async () => {
    stage = await prepare(withAddress(`[auto, ${ON_WIRE}]`));
    await stage.daemon.up();
    const peers = [];
    for (let i = 0; i < 20; i++) peers.push(addressOf((await stage.a.askUdp({ to: INTERNET.one, port: 7 })).peer));
    assert.equal(new Set(peers).size, 1);
    for (const address of [P, ON_WIRE])
      assert.equal((await stage.one.askTcp({ to: address, port: 10_007 })).host, 'client-a');
  });

  test('the pool reaches up to port 65535', async () => {
    stage = await prepare(withAddress('auto').replace('20000-29999,60000-65535', '65534-65535'));
    await stage.daemon.up();
    const peers = [];
    for (const localPort of [40_000, 40_001]) {
      peers.push((await stage.a.askUdp({ to: INTERNET.one, port: 7, localPort })).peer);
    }
    assert.deepEqual(peers.sort(), [`${P}:65534`, `${P}:65535`]);
    // REQ-12: the third is refused, the first two are not evicted.
    assert.equal(
      await stage.a.tryAsk('udp', { to: INTERNET.one, port: 7, localPort: 40_002, seconds: 0.5 }),
      'timeout',
    );
    assert.equal(await stage.a.tryAsk('udp', { to: INTERNET.one, port: 7, localPort: 40_000 }), 'host-1');
  });
});
