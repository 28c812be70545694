import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ACK, ipv4, macOf, SYN, sendRaw, tcp, udp } from './packet.js';
import { assertWorks, Capture, config, INTERNET, LAN, P, pause, prepare, repeat, type Stage } from './stage.js';

describe("REQ-66 nothing from the uplink's wire reaches a LAN address directly", () => {
  let stage: Stage;
  before(async () => {
    stage = await prepare();
    // A neighbour on the provider's wire that knows where the LAN is.
    stage.inet.ip(`route add ${LAN.subnet} via ${P}`);
  });
  after(() => stage?.lab.close());

  test('the witness is able to see one: without the router, a kernel with ip_forward=1 lets them in', async () => {
    stage.router.ns.sysctl('net.ipv4.ip_forward=1');
    assert.equal(await stage.one.tryAsk('tcp', { to: LAN.a, port: 10_007, seconds: 2 }), 'client-a');
  });

  for (const forward of [0, 1])
    test(`ip_forward=${forward}`, async () => {
      stage.router.ns.sysctl(`net.ipv4.ip_forward=${forward}`);
      await stage.daemon.up();
      // The address of a client that has flows, and one that has none; a port that is forwarded, and one that is not.
      await assertWorks(stage);
      await pause(300); // the last ACK of what has just worked goes to client-a by right
      const arrived = await Capture.start(stage.a.ns, 'eth0', `dst host ${LAN.a} and not arp`);
      const onBridge = await Capture.start(stage.router.ns, 'vmbr1', `dst net ${LAN.subnet} and not arp`);
      const router = await macOf(stage.router.ns, 'vmbr0');
      const packet = (dst: string, proto: number, payload: Uint8Array) =>
        ipv4({ src: INTERNET.two, dst, proto, payload });
      await sendRaw(stage.inet, 'wan', router, [
        packet(LAN.a, 6, tcp(INTERNET.two, 5555, LAN.a, 10_007, SYN)),
        packet(LAN.a, 6, tcp(INTERNET.two, 5555, LAN.a, 22, SYN)),
        packet(LAN.a, 6, tcp(INTERNET.two, 5555, LAN.a, 22, ACK)),
        packet(LAN.a, 17, udp(INTERNET.two, 5555, LAN.a, 10_007, 'direct')),
        packet(LAN.b, 17, udp(INTERNET.two, 5555, LAN.b, 8042, 'direct')),
        packet(LAN.a, 1, new Uint8Array([8, 0, 0xf7, 0xff, 0, 0, 0, 0])),
        packet('172.22.161.255', 17, udp(INTERNET.two, 5555, '172.22.161.255', 8042, 'broadcast')),
        // A LAN source from outside: spoofed.
        ipv4({ src: LAN.b, dst: P, proto: 17, payload: udp(LAN.b, 5555, P, 30_042, 'spoofed') }),
        ipv4({ src: LAN.b, dst: P, proto: 6, payload: tcp(LAN.b, 5555, P, 10_007, SYN) }),
      ]);
      const { stdout } = await stage.one.ns.run(['ping', '-n', '-c', '1', '-W', '1', LAN.a]);
      assert.match(stdout, / 0 received/);
      assert.equal(await stage.one.tryAsk('tcp', { to: LAN.a, port: 10_007, seconds: 0.5 }), 'timeout');
      assert.deepEqual(await arrived.stop(), []);
      assert.deepEqual(await onBridge.stop(), []);
      await assertWorks(stage);
      assert.equal(await stage.daemon.stop(), 0);
    });

  test('ip_forward=1, through reloads that let LAN hosts speak untranslated and not, crash, start and hand-over', async () => {
    stage.router.ns.sysctl('net.ipv4.ip_forward=1');
    const open = config(`nat:\n  - { to: [${INTERNET.one}/32], translate: false }\n`);
    stage.daemon.configure(open);
    await stage.daemon.up();
    const router = await macOf(stage.router.ns, 'vmbr0');
    const strays = [INTERNET.one, INTERNET.two].flatMap((src) => [
      ipv4({ src, dst: LAN.a, proto: 6, payload: tcp(src, 5555, LAN.a, 10_007, SYN) }),
      ipv4({ src, dst: LAN.b, proto: 17, payload: udp(src, 5555, LAN.b, 8042, 'direct') }),
    ]);
    const many = Array.from({ length: 200 }, () => strays).flat();
    const arrived = await Capture.start(stage.router.ns, 'vmbr1', `tcp dst port 10007 or udp dst port 8042`);
    const sending = repeat(() => sendRaw(stage.inet, 'wan', router, many), 0);
    for (let round = 0; round < 4; round++) {
      assert.equal((await stage.daemon.reload(round % 2 ? open : config())).code, 0);
      await pause(100);
    }
    await stage.daemon.kill();
    await pause(300);
    await stage.daemon.up();
    assert.equal((await stage.daemon.cli('stop', '--keep')).code, 0);
    await stage.daemon.process.ended;
    await stage.daemon.up();
    assert.deepEqual(await arrived.stop(), []);
    await sending.stop();
    stage.daemon.configure(config());
    assert.equal(await stage.daemon.stop(), 0);
  });

  test('what is not for P is not sent back out of the uplink (ip_forward=0)', async () => {
    stage.router.ns.sysctl('net.ipv4.ip_forward=0');
    await stage.daemon.up();
    const back = await Capture.start(stage.inet, 'wan', `ip and ether src ${await macOf(stage.router.ns, 'vmbr0')}`);
    const router = await macOf(stage.router.ns, 'vmbr0');
    const dst = INTERNET.one;
    await sendRaw(stage.inet, 'wan', router, [
      ipv4({ src: INTERNET.two, dst, proto: 17, payload: udp(INTERNET.two, 5555, dst, 7, 'transit') }),
      ipv4({ src: INTERNET.two, dst, proto: 6, payload: tcp(INTERNET.two, 5555, dst, 7, SYN) }),
    ]);
    assert.deepEqual(await back.stop(), []);
  });
});
