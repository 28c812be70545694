import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Status } from '../../src/contract/api.js';
import { type Host, PATIENCE } from '../../src/lab/index.js';
import { ACK, fragment, ipv4, macOf, sendRaw, tcp, udp } from './packet.js';
import { addressOf, assertWorks, Capture, eventually, INTERNET, P, portOf, raise, type Stage } from './stage.js';

/** Every byte of 0…251 in turn: a piece in the wrong place shows. */
function pattern(bytes: number): string {
  return Buffer.from(Uint8Array.from({ length: bytes }, (_, i) => i % 251)).toString('latin1');
}

describe('REQ-15 large datagrams and hostile fragments', () => {
  let stage: Stage;
  let wan: string;
  before(async () => {
    stage = await raise();
    wan = await macOf(stage.router.ns, 'vmbr0');
    // Room for bursts of 45 fragments, also on a small machine.
    for (const { ns } of [stage.a, stage.b, stage.one]) ns.trySysctl('net.ipv4.ipfrag_high_thresh=16777216');
  });
  after(() => stage?.lab.close());

  async function dropped(reason: string): Promise<number> {
    const { drops } = await stage.daemon.json<Status>('status');
    return drops.find((drop) => drop.reason === reason)?.packets ?? 0;
  }

  for (const bytes of [8 * 1024, 65_507])
    for (const [way, from, to, port, local] of [
      ['out through SNAT and back', 'a', 'one', 8000, 8000],
      ['in through a forward and back', 'one', 'b', 30_060, 8060],
      ['by hairpin and back', 'a', 'b', 30_061, 8061],
    ] as const)
      test(`${bytes} bytes of UDP ${way}`, async () => {
        const [sender, receiver]: [Host, Host] = [stage[from], stage[to]];
        const left = await sender.bind();
        const right = await receiver.bind(local);
        const text = pattern(bytes);
        await left.send(to === 'one' ? INTERNET.one : P, port, text);
        const there = await right.next();
        assert.ok(there.text === text, `${there.bytes} bytes came, another content`);
        assert.equal(addressOf(there.peer), from === 'a' ? P : INTERNET.one);
        await right.send(addressOf(there.peer), portOf(there.peer), text);
        const back = await left.next();
        assert.ok(back.text === text, `${back.bytes} bytes came back, another content`);
        assert.equal(back.peer, `${to === 'one' ? INTERNET.one : P}:${port}`);
        await Promise.all([left.close(), right.close()]);
      });

  /** A raw datagram of 64 KB from host-1 to client-b's forward, its fragments as `arrange` wants them; what client-b hears. */
  async function sent(
    id: number,
    arrange: (pieces: Uint8Array[]) => Uint8Array[],
    seconds = PATIENCE,
  ): Promise<string> {
    const right = await stage.b.bind(8062);
    try {
      const text = pattern(60_000);
      const payload = udp(INTERNET.one, 5000, P, 30_062, text);
      const pieces = fragment({ src: INTERNET.one, dst: P, proto: 17, id, payload }, 1480);
      await sendRaw(stage.inet, 'wan', wan, arrange(pieces));
      return (await right.next(seconds)).text === text ? 'intact' : 'damaged';
    } catch (error) {
      return (error as Error).message;
    } finally {
      await right.close();
    }
  }

  for (const [order, arrange] of [
    ['backwards', (pieces) => pieces.toReversed()],
    [
      'every second one first, the first one last',
      (pieces) => [...pieces.filter((_, i) => i % 2 === 1), ...pieces.filter((_, i) => i % 2 === 0).toReversed()],
    ],
    [
      'the first one, then every second one',
      (pieces) => [...pieces.filter((_, i) => i % 2 === 0), ...pieces.filter((_, i) => i % 2 === 1)],
    ],
    ['each one twice', (pieces) => pieces.flatMap((piece) => [piece, piece])],
    ['all of it twice, the second time backwards', (pieces) => [...pieces, ...pieces.toReversed()]],
  ] as [string, (pieces: Uint8Array[]) => Uint8Array[]][])
    test(`60,000 bytes in 41 fragments, ${order}: intact`, async () => {
      assert.equal(await sent(2000 + order.length, arrange), 'intact');
    });

  test('fragments that overlap: dropped and counted, the datagram arrives as its first pieces say or not at all', async () => {
    const before = await dropped('fragment-invalid');
    const evil = (id: number, offset: number, bytes: number) =>
      ipv4({
        src: INTERNET.one,
        dst: P,
        proto: 17,
        id,
        fragmentOffset: offset,
        moreFragments: true,
        payload: new Uint8Array(bytes).fill(0xee),
      });
    const overFirst = await sent(2100, ([first, ...rest]) => [first!, evil(2100, 8, 1472), ...rest], 1);
    const overSecond = await sent(
      2101,
      ([first, ...rest]) => [first!, ...rest.slice(0, 3), evil(2101, 1488, 800), ...rest.slice(3)],
      1,
    );
    const newFirst = await sent(2102, ([first, ...rest]) => [first!, evil(2102, 0, 16), ...rest], 1);
    for (const became of [overFirst, overSecond, newFirst]) assert.match(became, /^(intact|timeout)$/);
    await eventually('all three are counted', async () => (await dropped('fragment-invalid')) - before >= 3);
  });

  test('tiny first fragments (RFC 1858), and those that would run past 65,535 bytes: dropped and counted', async () => {
    const before = await dropped('fragment-invalid');
    const capture = await Capture.start(stage.b.ns, 'eth0', `src host ${INTERNET.one} or src host ${P}`);
    const common = { src: INTERNET.one, dst: P, id: 2200 };
    const segment = tcp(INTERNET.one, 5000, P, 30_000, ACK);
    await sendRaw(stage.inet, 'wan', wan, [
      ipv4({ ...common, proto: 6, moreFragments: true, payload: segment.subarray(0, 8) }),
      ipv4({ ...common, proto: 6, moreFragments: true, payload: segment.subarray(0, 16) }),
      ipv4({ ...common, proto: 6, fragmentOffset: 8, payload: segment.subarray(8) }),
      ipv4({ ...common, proto: 17, fragmentOffset: 65_528, payload: new Uint8Array(64) }),
      ipv4({ ...common, proto: 17, moreFragments: true, payload: new Uint8Array(0) }),
    ]);
    await eventually('all are counted', async () => (await dropped('fragment-invalid')) - before === 5);
    assert.deepEqual(await capture.stop(), []);
  });

  test('a flood of 65,000 fragments whose first never comes: a download beside it is intact, large datagrams pass', async () => {
    const flood = Array.from({ length: 65_000 }, (_, i) =>
      ipv4({
        src: INTERNET.two,
        dst: P,
        proto: 17,
        id: i,
        fragmentOffset: 1480,
        moreFragments: i % 2 === 0,
        payload: new Uint8Array(64),
      }),
    );
    const flooding = sendRaw(stage.inet, 'wan', wan, flood);
    const got = await stage.a.download(`http://${INTERNET.one}:8080/${64 << 20}`);
    assert.ok(got.intact);
    await flooding;
    assert.ok((await dropped('fragment-limit')) > 10_000, 'the flood did arrive');
    await assertWorks(stage); // what is left of the flood in the queues has been seen to
    assert.equal(await sent(2300, (pieces) => pieces), 'intact');
    const answer = await stage.a.askUdp({ to: INTERNET.one, port: 7 }, pattern(5000).replaceAll('"', "'"));
    assert.equal(addressOf(answer.peer), P);
    const { workers } = await stage.daemon.json<Status>('status');
    assert.ok(workers.every(({ state, restarts }) => state === 'ready' && restarts === 0));
  });

  test('fragments from a LAN with a source of another LAN go nowhere', async () => {
    const before = await dropped('foreign-source');
    const outside = await Capture.start(stage.inet, 'wan', 'ip[6:2] & 0x1fff != 0');
    const payload = udp('10.66.0.1', 5000, INTERNET.one, 8001, pattern(4000));
    const pieces = fragment({ src: '10.66.0.1', dst: INTERNET.one, proto: 17, id: 2400, payload }, 1480);
    await sendRaw(stage.a.ns, 'eth0', await macOf(stage.router.ns, 'vmbr1'), pieces);
    await eventually('it is counted', async () => (await dropped('foreign-source')) - before >= 1);
    assert.deepEqual(await outside.stop(), []);
  });
});
