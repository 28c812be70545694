/**
 * REQ-61, at size: while the forwards are edited over and over, nobody else notices.
 *
 *   client-a ── a TCP and a UDP stream from host-1, 10,000 UDP flows to host-1, pings
 *   host-1   ── a connection in by a forward that stays, another by one that is edited in the end
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Flow, ReloadAnswer, Status } from '../../src/contract/api.js';
import { call } from '../../src/control/client.js';
import { config, eventually, INTERNET, LAN, P, raise, type Stage } from './stage.js';
import { openFlows, Ticker } from './ticker.js';

const FORWARDS = 100;
const ROUNDS = 100;
const FLOWS = 10_000;

/** A hundred forwards, each to another port in each round, and one that stays. */
function forwards(round: number): string[] {
  const lines = Array.from(
    { length: FORWARDS },
    (_, i) =>
      `{ name: f${i}, ports: ${11_000 + i}, to: "${LAN.b}:${40_000 + ((i + round) % 1000)}", proto: [tcp, udp] }`,
  );
  return [...lines, `"10000-10999:${LAN.a}:10000-10999/tcp"`];
}

const identity = ({ index, generation, original }: Flow) =>
  `${index} ${generation} ${original.sport} ${original.dport}`;

describe('reload', () => {
  let stage: Stage;
  let socket: string;
  before(async () => {
    stage = await raise(config('', forwards(0)));
    socket = join(stage.daemon.runtimeDir, 'default', 'api.sock');
  });
  after(() => stage?.lab.close());

  const udpFlows = async () => {
    const flows = await call<Flow[]>(socket, 'GET', `/flows?proto=udp&src=${LAN.a}&dst=${INTERNET.one}`);
    return new Set(flows.filter(({ original }) => original.dport! >= 30_000).map(identity));
  };
  const dropped = async () => {
    const { drops } = await call<Status>(socket, 'GET', '/status');
    return drops.filter(({ reason }) => reason !== 'no-mapping');
  };

  test(`REQ-61 ${FORWARDS} forwards edited ${ROUNDS} times beside ${FLOWS} flows: no packet lost, no state lost`, async (t) => {
    // A burst may lose a few on a busy machine.
    for (let tries = 0; tries < 5 && (await udpFlows()).size < FLOWS; tries++)
      await openFlows(stage.a, INTERNET.one, FLOWS);
    const tcp = await Ticker.start('tcp', stage.a, stage.one, 9001, 1);
    const udp = await Ticker.start('udp', stage.a, stage.one, 9002, 1);
    const ping = stage.a.ns.spawn(['ping', '-q', '-n', '-i', '0.01', '-W', '2', INTERNET.one]);
    const inward = await stage.one.connect({ to: P, port: 10_007 });
    await inward.say('before');
    const before = await udpFlows();
    assert.equal(before.size, FLOWS);
    const dropsBefore = await dropped();

    const times: number[] = [];
    for (let round = 1; round <= ROUNDS; round++) {
      stage.daemon.configure(config('', forwards(round)));
      const start = performance.now();
      const { flows, difference } = await call<ReloadAnswer>(socket, 'POST', '/reload');
      times.push(performance.now() - start);
      assert.equal(flows.ended, 0, `round ${round}`);
      assert.ok(flows.stayed >= FLOWS && flows.moved === 0, `round ${round}: ${JSON.stringify(flows)}`);
      assert.equal(difference, `forwards changed: f0, f1, f2 and ${FORWARDS - 3} more`);
    }
    times.sort((a, b) => a - b);
    await inward.say('after');
    const heard = { tcp: await tcp.stop(), udp: await udp.stop() };
    await ping.stop('SIGINT');

    t.diagnostic(
      `a reload takes ${times[ROUNDS / 2]!.toFixed(0)} ms, at most ${times.at(-1)!.toFixed(0)} ms; longest silence ` +
        `${heard.udp.longestGap} ms of UDP, ${heard.tcp.longestGap} ms of TCP; ${heard.udp.count} datagrams`,
    );
    assert.deepEqual([heard.udp.lost, heard.udp.error, heard.tcp.lost, heard.tcp.error], [0, '', 0, '']);
    assert.match(ping.stdout, / 0% packet loss/);
    assert.deepEqual(await udpFlows(), before, 'the same rows, none made anew');
    assert.deepEqual(await dropped(), dropsBefore);
  });

  test('watch: an edited file is reloaded by itself; flows whose answer changed end at once, an error changes nothing', async () => {
    // By hand once more, so that it is watched from here on.
    assert.equal((await stage.daemon.reload(config('watch: true\n', forwards(ROUNDS)))).code, 0);
    const kept = await stage.one.connect({ to: P, port: 10_007 });
    await kept.say('one');
    stage.daemon.configure(config('watch: true\n', [`"10000-10999:${LAN.a}:10000-10999/tcp"`, `"8042:${LAN.b}/udp"`]));
    await stage.daemon.process.waitFor(/forwards added: 8042\/udp; forwards removed: f0, f1, f2 and 97 more/);
    assert.equal((await stage.one.askUdp({ to: P, port: 8042 })).host, 'client-b');
    await kept.say('two');

    stage.daemon.configure(config('watch: true\n', [`"10000-10999:${LAN.a}:10000-10999/tcp"`, `"8042:10.0.0.1/udp"`]));
    await stage.daemon.process.waitFor(
      /reload refused, the old config stays: .*tungate\.yaml:6:\d+: forwards\[1\]\.to: target 10\.0\.0\.1 is in no LAN/,
    );
    assert.equal((await stage.one.askUdp({ to: P, port: 8042 })).host, 'client-b');
    assert.match((await call<Status>(socket, 'GET', '/status')).config.lastErrors[0]!, /target 10\.0\.0\.1/);

    stage.daemon.configure(config('watch: true\n', [`"10000-10999:${LAN.b}:10000-10999/tcp"`]));
    await stage.daemon.process.waitFor(
      /forwards changed: 10000-10999\/tcp.*flows: \d+ stayed, 0 moved, [1-9]\d* ended/,
    );
    await assert.rejects(kept.say('three', 1), /timeout|closed|ECONNRESET/);
    await eventually(
      'the error is over',
      async () => (await call<Status>(socket, 'GET', '/status')).config.lastErrors.length === 0,
    );
  });
});
