import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { config, eventually, INTERNET, LAN, P, raise, type Stage } from './stage.js';
import { judge } from './tools.js';

/** The STUN server's second address: RFC 5780 tells filtering apart by answers from four endpoints. */
const SECOND = '198.51.100.11';

/** One inside address for each behaviour, so that one config holds them all and the judge looks at all of them at once. */
const INSIDE = {
  cone: '172.22.161.40',
  strict: '172.22.161.41',
  symmetric: '172.22.161.42',
  byProto: '172.22.161.43',
  other: '172.22.161.44',
} as const;

const RULES = `nat:
  - { from: [${INSIDE.cone}], proto: udp, mapping: endpoint-independent, filtering: endpoint-independent }
  - { from: [${INSIDE.strict}], filtering: address-and-port-dependent }
  - { from: [${INSIDE.symmetric}], mapping: endpoint-dependent }
  - { from: [${INSIDE.byProto}], proto: tcp, filtering: endpoint-independent }
`;

describe("NAT behaviour as coturn's natdiscovery sees it (RFC 5780)", { concurrency: true }, () => {
  let stage: Stage;
  before(async () => {
    stage = await raise(config(RULES));
    const { a, one, lab } = stage;
    a.ns.ip(...Object.values(INSIDE).map((address) => `addr add ${address}/24 dev eth0`));
    one.ns.ip(`addr add ${SECOND}/24 dev eth0`);
    const files = ['--pidfile', `${lab.dir}/turn.pid`, '-b', `${lab.dir}/turn.db`, '-l', 'stdout'];
    const listen = ['-L', INTERNET.one, '-L', SECOND, '-p', '3478', '--alt-listening-port=3479'];
    one.ns.spawn(judge('turnserver', '-n', '-S', '-z', '--no-cli', '--no-tls', '--no-dtls', ...listen, ...files));
    await eventually('coturn listens on its four endpoints', async () => {
      const sockets = await one.ns.must(['ss', '-Hlun', 'sport = :3478 or sport = :3479']);
      return [INTERNET.one, SECOND].every((each) => [3478, 3479].every((port) => sockets.includes(`${each}:${port}`)));
    });
  });
  after(() => stage?.lab.close());

  async function discover(...options: string[]): Promise<string> {
    const { stdout, stderr } = await stage.a.ns.run(judge('turnutils_natdiscovery', ...options, INTERNET.one), {
      seconds: 30,
    });
    assert.match(stdout, new RegExp(`UDP reflexive addr: ${P.replaceAll('.', '\\.')}:2\\d{4}\\b`), stdout + stderr);
    return stdout;
  }

  for (const [what, from, seen] of [
    ['default', LAN.a, 'Endpoint Independent Mapping'],
    ['full cone by rule', INSIDE.cone, 'Endpoint Independent Mapping'],
    ['address-and-port-dependent filtering', INSIDE.strict, 'Endpoint Independent Mapping'],
    ['mapping: endpoint-dependent', INSIDE.symmetric, 'Address and Port Dependent Mapping'],
  ] as const)
    test(`REQ-1 ${what}: ${seen}`, async () => {
      assert.match(await discover('-m', '-L', from), new RegExp(`NAT with ${seen}!`));
    });

  for (const [what, from, seen] of [
    ['default', LAN.a, 'Address Dependent Filtering'],
    ['full cone by rule', INSIDE.cone, 'Endpoint Independent Filtering'],
    ['filtering: address-and-port-dependent', INSIDE.strict, 'Address and Port Dependent Filtering'],
    ['mapping: endpoint-dependent', INSIDE.symmetric, 'Address and Port Dependent Filtering'],
    ['a rule for tcp says nothing of udp', INSIDE.byProto, 'Address Dependent Filtering'],
  ] as const)
    test(`REQ-9 ${what}: ${seen}`, async () => {
      assert.match(await discover('-f', '-L', from), new RegExp(`NAT with ${seen}!`));
    });

  test('REQ-10 hairpin of a dynamic mapping, also to oneself', async () => {
    assert.match(await discover('-H', '-L', LAN.a), /Received a request \(maybe a successful hairpinning\)/);
  });

  test('REQ-3 two inside hosts with one source port have two outside ports', async () => {
    const seen = await discover('-c', '-L', INSIDE.other, '-A', INSIDE.cone, '-l', '21001');
    const outside = [...seen.matchAll(/reflexive addr: (\S+)/g)].map((match) => match[1]);
    assert.equal(outside.length, 2, seen);
    assert.equal(outside[0], `${P}:21001`);
    assert.notEqual(outside[1], outside[0]);
  });
});
