import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { assertWorks, diffState, kernelState, LAN, prepare, type Stage } from './stage.js';

/** A host on which others have been at work: none of it may be lost or changed. */
async function strangersWork({ router }: Stage): Promise<void> {
  router.ns.sysctl(
    'net.ipv4.ip_forward=1',
    'net.ipv4.conf.all.rp_filter=1',
    'net.ipv4.conf.default.rp_filter=1',
    'net.ipv4.conf.vmbr0.rp_filter=2',
    'net.ipv4.ip_local_port_range=32768 61000',
    'net.ipv4.ip_local_reserved_ports=8080,35000-35010',
  );
  router.ns.ip(
    'rule add from 10.9.0.0/16 lookup 77 pref 500',
    'route add 10.9.0.0/16 dev vmbr1 table 77',
    `route add 10.50.0.0/16 via ${LAN.b}`,
  );
  await router.ns.must(['tc', 'qdisc', 'add', 'dev', 'vmbr0', 'clsact']);
  // A filter that counts and lets pass: needs no action module, which a kernel may lack.
  const filter = ['protocol', 'ip', 'prio', '10', 'u32', 'match', 'ip', 'dst', '203.0.113.77/32', 'flowid', '1:1'];
  await router.ns.must(['tc', 'filter', 'add', 'dev', 'vmbr0', 'ingress', ...filter]);
}

describe('REQ-63 the kernel is left as it was found', () => {
  // One host bears it all: what a life of the router leaves there is what the next comparison would show too.
  let stage: Stage;
  before(async () => {
    stage = await prepare();
  });
  after(() => stage?.lab.close());

  livesOn('a plain host', async () => {});
  killedAtTheStart();
  livesOn("a host with a stranger's filter, rules, sysctls and ip_forward=1", strangersWork);

  function livesOn(host: string, arrange: (stage: Stage) => Promise<void>): void {
    describe(host, () => {
      before(() => arrange(stage));

      test(`${host}: start and SIGTERM`, async () => {
        const before = await kernelState(stage.router.ns);
        await stage.daemon.up();
        await assertWorks(stage);
        assert.notDeepEqual(
          diffState(before, await kernelState(stage.router.ns)),
          [],
          'the comparison sees a running router',
        );
        assert.equal(await stage.daemon.stop(), 0);
        assert.deepEqual(diffState(before, await kernelState(stage.router.ns)), []);
      });

      test(`${host}: start and \`tungate stop\``, async () => {
        const before = await kernelState(stage.router.ns);
        await stage.daemon.up();
        assert.equal((await stage.daemon.cli('stop')).code, 0);
        assert.equal(await stage.daemon.process.ended, 0);
        assert.deepEqual(diffState(before, await kernelState(stage.router.ns)), []);
      });

      test(`${host}: SIGKILL and \`tungate clean\``, async () => {
        const before = await kernelState(stage.router.ns);
        await stage.daemon.up();
        await stage.daemon.kill();
        assert.equal((await stage.daemon.cli('clean')).code, 0);
        assert.deepEqual(diffState(before, await kernelState(stage.router.ns)), []);
      });

      test(`${host}: SIGKILL, start again, SIGTERM`, async () => {
        const before = await kernelState(stage.router.ns);
        await stage.daemon.up();
        await stage.daemon.kill();
        await stage.daemon.up();
        await assertWorks(stage);
        assert.equal(await stage.daemon.stop(), 0);
        assert.deepEqual(diffState(before, await kernelState(stage.router.ns)), []);
      });
    });
  }

  function killedAtTheStart(): void {
    test('SIGINT at any moment of the start', async () => {
      const before = await kernelState(stage.router.ns);
      for (const milliseconds of [50, 150, 250, 350, 450, 600, 800]) {
        stage.daemon.launch();
        await new Promise((resolve) => setTimeout(resolve, milliseconds));
        await stage.daemon.process.stop('SIGINT');
        assert.deepEqual(
          diffState(before, await kernelState(stage.router.ns)),
          [],
          `${milliseconds} ms after the start`,
        );
      }
    });

    test('SIGKILL at any moment of the start, then `tungate clean`', async () => {
      const before = await kernelState(stage.router.ns);
      for (const milliseconds of [100, 200, 300, 400, 500, 700]) {
        stage.daemon.launch();
        await new Promise((resolve) => setTimeout(resolve, milliseconds));
        await stage.daemon.kill();
        assert.equal((await stage.daemon.cli('clean')).code, 0);
        assert.deepEqual(
          diffState(before, await kernelState(stage.router.ns)),
          [],
          `${milliseconds} ms after the start`,
        );
      }
    });
  }
});
