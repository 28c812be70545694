/** REQ-60 through our own NAT: a WireGuard host on the LAN, and a peer on the internet that only ever sees P. wireguard-go and wg(8) are the judges. */
import assert from 'node:assert/strict';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { endpoint, type Implementation, INSIDE, Site, tungateWg, until } from '../../src/lab/index.js';
import { addressOf, config, INTERNET, P, portOf, raise, type Stage } from './stage.js';
import { judge } from './tools.js';

const CLI = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'src', 'cli.js');
const ours = tungateWg(CLI);
const theirs: Implementation = (name) => judge('wireguard-go', '-f', name);

for (const [title, first, second] of [
  ['tungate behind the NAT, wireguard-go outside', ours, theirs],
  ['wireguard-go behind the NAT, tungate outside', theirs, ours],
] as const)
  describe(title, () => {
    let stage: Stage;
    let inside: Site;
    let outside: Site;

    before(async () => {
      stage = await raise();
      const site = (letter: 'a' | 'b', host: 'a' | 'one') =>
        new Site(stage.lab, stage[host].ns, `tn${process.pid}${letter}`, [`${INSIDE[letter]}/24`], judge('wg'));
      inside = site('a', 'a');
      outside = site('b', 'one');
      await Promise.all([inside.start(first), outside.start(second)]);
      await outside.peer(inside, undefined);
      await inside.peer(outside, endpoint(INTERNET.one));
    });
    after(() => stage?.lab.close());

    const reached = async (): Promise<boolean> =>
      (await stage.a.ns.run(['ping', '-c', '1', '-W', '1', INSIDE.b])).code === 0;

    test('REQ-60 handshake and TCP both ways; outside it is P with a port of the pool', async () => {
      await until(reached, `${INSIDE.b} answers`);
      const seen = await outside.show('endpoints');
      assert.equal(addressOf(seen), P);
      assert.ok(portOf(seen) >= 20_000 && portOf(seen) <= 29_999, seen);
      assert.equal((await stage.a.askTcp({ to: INSIDE.b, port: 7 })).peer.split(':')[0], INSIDE.a);
      assert.equal((await stage.one.askTcp({ to: INSIDE.a, port: 9999 })).host, 'client-a');
    });

    test('REQ-58 its mapping ends and the next one has another port: the peer follows, the connection in it goes on', async () => {
      const connection = await stage.a.connect({ to: INSIDE.b, port: 7 });
      await connection.say('before');
      const before = await outside.show('endpoints');
      // A pool that does not hold the old port.
      const pool = portOf(before) < 25_000 ? '25000-29999' : '20000-24999';
      const text = config().replace('"20000-29999"', `"${pool}"`);
      assert.equal((await stage.daemon.reload(text)).code, 0);
      assert.equal((await stage.daemon.cli('flows', 'delete', '-p', 'udp')).code, 0);
      await until(async () => (await reached()) && (await outside.show('endpoints')) !== before, 'the peer follows');
      assert.equal(addressOf(await outside.show('endpoints')), P);
      assert.equal((await connection.say('after')).text, 'after');
    });
  });
