import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ACK, ipv4, macOf, RST, SYN, sendRaw, tcp, udp } from './packet.js';
import { assertWorks, Capture, config, FORWARDS, INTERNET, P, pause, raise, type Stage } from './stage.js';

/**
 * Answers that only the host's kernel would give: RST, or an ICMP error of its own. By their TTL they were made on the
 * router: a client's RST, which is forwarded, has lost one.
 */
const KERNEL_ANSWERS = `src host ${P} and ip[8] = 64 and (tcp[tcpflags] & tcp-rst != 0 or icmp[0] = 3)`;
/** A port of the pool without a mapping, and a forwarded one that stays claimed in every reload below. */
const PORTS = [25_000, 30_042];

function strays(): Uint8Array[] {
  return PORTS.flatMap((port) => [
    ...[ACK, SYN | ACK, RST | ACK].map((flags) =>
      ipv4({ src: INTERNET.two, dst: P, proto: 6, payload: tcp(INTERNET.two, 6000 + flags, P, port, flags) }),
    ),
  ]).concat(
    ipv4({ src: INTERNET.two, dst: P, proto: 6, payload: tcp(INTERNET.two, 6000, P, PORTS[0]!, SYN) }),
    ipv4({ src: INTERNET.two, dst: P, proto: 17, payload: udp(INTERNET.two, 6000, P, PORTS[0]!, 'stray') }),
  );
}

describe("REQ-67 the host's kernel never answers on a claimed port", () => {
  let stage: Stage;
  let router: string;
  before(async () => {
    stage = await raise();
    router = await macOf(stage.router.ns, 'vmbr0');
  });
  after(() => stage?.lab.close());

  /** Sends strays while `act` goes on; gives what the kernel answered. */
  async function during(act: () => Promise<void>): Promise<string[]> {
    const capture = await Capture.start(stage.inet, 'wan', KERNEL_ANSWERS);
    let going = true;
    const sending = (async () => {
      while (going) await sendRaw(stage.inet, 'wan', router, Array.from({ length: 40 }, strays).flat());
    })();
    await act();
    going = false;
    await sending;
    return capture.stop();
  }

  test('the comparison is able to see one: a port that is not claimed is answered with RST', async () => {
    const capture = await Capture.start(stage.inet, 'wan', KERNEL_ANSWERS);
    const payload = tcp(INTERNET.two, 6000, P, 15_000, SYN);
    await sendRaw(stage.inet, 'wan', router, [ipv4({ src: INTERNET.two, dst: P, proto: 6, payload })]);
    assert.equal((await capture.stop()).length, 1);
  });

  test('stray segments and datagrams while it runs', async () => {
    assert.deepEqual(await during(() => pause(500)), []);
  });

  test('during reloads', async () => {
    const seen = await during(async () => {
      for (let round = 0; round < 4; round++) {
        const forwards = round % 2 ? FORWARDS : FORWARDS.slice(1);
        assert.equal((await stage.daemon.reload(config('', forwards))).code, 0);
      }
    });
    assert.deepEqual(seen, []);
  });

  test('after SIGKILL, and during the start that follows', async () => {
    const seen = await during(async () => {
      await stage.daemon.kill();
      await pause(300);
      await stage.daemon.up();
    });
    assert.deepEqual(seen, []);
    await assertWorks(stage);
  });

  test('during a hand-over (`tungate stop --keep`, then start)', async () => {
    const seen = await during(async () => {
      assert.equal((await stage.daemon.cli('stop', '--keep')).code, 0);
      await stage.daemon.process.ended;
      await stage.daemon.up();
    });
    assert.deepEqual(seen, []);
    await assertWorks(stage);
  });
});
