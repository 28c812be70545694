/**
 * A router in bad days: the faults of faults.ts strike one and the same running router, one after the other. Connections that
 * were open go on, new ones work, and a capture on the uplink's wire sees no private address, whatever happens. ip_forward
 * is 1: the kernel would route what is not steered. Most of the time is waiting, so two routers bear their share beside one another:
 * one the faults under which packets flow, the other those that interrupt.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { FAULTS, upAsPuppet } from './faults.js';
import { Capture, eventually, INTERNET, LAN, P, pause, prepare, type Stage, works } from './stage.js';

describe('faults survived', { concurrency: true }, () => {
  describe('packets flow meanwhile', { concurrency: 1 }, () => survives(true));
  describe('packets wait or are lost', { concurrency: 1 }, () => survives(false));
});

function survives(flowing: boolean): void {
  let stage: Stage;
  let leaks: Capture;

  before(async () => {
    stage = await prepare();
    stage.router.ns.sysctl('net.ipv4.ip_forward=1');
    await upAsPuppet(stage);
    leaks = await Capture.start(stage.inet, 'wan', `src net ${LAN.subnet}`);
  });
  after(() => stage?.lab.close());

  /** Connections of each kind, open before the fault. */
  async function connections() {
    const open = [
      await stage.a.connect({ to: INTERNET.one, port: 7 }),
      await stage.one.connect({ to: P, port: 10_007 }),
      await stage.b.connect({ to: P, port: 10_007 }),
    ];
    for (const each of open) await each.say('before');
    return open;
  }

  for (const fault of FAULTS.filter((each) => (each.flowing ?? false) === flowing)) {
    test(fault.name, async () => {
      const { a, daemon } = stage;
      const open = await connections();
      const from = daemon.process.stderr.length;
      const seen = leaks.lines.length;
      const ping = fault.flowing
        ? a.ns.spawn([
            'ping',
            '-n',
            '-i',
            '0.02',
            '-W',
            '5',
            '-c',
            String(Math.round((fault.seconds ?? 1) * 45)),
            INTERNET.one,
          ])
        : undefined;
      await fault.strike(stage);
      await pause((fault.seconds ?? 0) * 1000);
      await fault.heal?.(stage);
      const healed = performance.now();
      await eventually(`new flows work after: ${fault.name}`, () => works(stage), 30);
      console.log(`# ${fault.name}: new flows work ${Math.round(performance.now() - healed)} ms later`);
      if (ping) {
        await ping.ended;
        assert.match(ping.stdout, / 0% packet loss/, 'packets flowed meanwhile');
      }
      for (const [i, each] of open.entries()) {
        if (!fault.endsFlows) assert.equal((await each.say('after', 25)).text, 'after', `connection ${i}`);
        await each.hangUp(true);
      }
      if (fault.says) {
        const said = () => daemon.process.stderr.slice(fault.name.includes('started again') ? 0 : from);
        await eventually(`the log says ${fault.says}`, async () => fault.says!.test(said()));
      }
      await eventually('no problem is left', async () => {
        const { problems, workers } = await daemon.json<{ problems: string[]; workers: { state: string }[] }>('status');
        return problems.length === 0 && workers.every(({ state }) => state === 'ready');
      });
      const leaked = leaks.lines.slice(seen);
      assert.deepEqual(leaked.slice(0, 3), [], `${leaked.length} private packets on the wire`);
    });
  }

  if (!flowing)
    test("while a LAN's filters are gone no packet leaves untranslated", async () => {
      const { a, router } = stage;
      const seen = leaks.lines.length;
      const ping = a.ns.spawn(['ping', '-q', '-n', '-i', '0.005', '-c', '400', INTERNET.two]);
      await pause(300);
      await router.ns.must(['tc', 'qdisc', 'del', 'dev', 'vmbr1', 'clsact']);
      await ping.ended;
      assert.deepEqual(leaks.lines.slice(seen), []);
    });

  test('SIGTERM ends it as on the first day', async () => {
    assert.equal(await stage.daemon.stop(), 0);
  });
}
