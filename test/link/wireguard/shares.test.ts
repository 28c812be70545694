/** A fair share for each peer while the processor is full: the arithmetic, and who counts as whom. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Outcome } from '../../../src/link/wireguard/outcome.js';
import { Shares } from '../../../src/link/wireguard/shares.js';
import fc from '../../property.js';
import { packetOf, pair, World } from './sim.js';

const BUDGET = 512 * 1024;
/** A datagram that costs 2 KiB. */
const BYTES = 2048 - 256;

/** One turn: each peer in turns sends datagrams until it has sent its number. Returns what each got. */
function turn(shares: Shares, wants: readonly number[]): number[] {
  shares.begin();
  const got = wants.map(() => 0);
  for (let n = 0; n < Math.max(...wants); n++)
    wants.forEach((want, peer) => {
      if (n < want && shares.take(peer, BYTES)) got[peer]!++;
    });
  return got;
}

function pressed(): Shares {
  const shares = new Shares();
  shares.look(1024);
  return shares;
}

test('while the queue is short nothing is counted; the limits begin where it is half full, and end where it is nearly empty', () => {
  const shares = new Shares();
  shares.look(512);
  assert.equal(shares.pressed, false);
  shares.look(513);
  assert.equal(shares.pressed, true);
  shares.look(65);
  assert.equal(shares.pressed, true);
  shares.look(64);
  assert.equal(shares.pressed, false);
  assert.equal(shares.more, false);
});

test('a single sender has no limit, and a turn ends when its budget is used up', () => {
  const shares = pressed();
  assert.deepEqual(turn(shares, [100]), [100]);
  assert.ok(shares.more);
  assert.deepEqual(turn(shares, [1000]), [1000]);
  assert.ok(!shares.more);
  assert.deepEqual(turn(shares, [1000]), [1000]);
});

test('who wants less than the share gets all of it, the others equally much', () => {
  const shares = pressed();
  turn(shares, [10, 2000, 30, 4000]);
  const got = turn(shares, [10, 2000, 30, 4000]);
  assert.deepEqual([got[0], got[2]], [10, 30]);
  assert.equal(got[1], got[3]);
  assert.equal(got[1], Math.floor((BUDGET / 2048 - 40) / 2));
  // Who is new has the same level; what is gone is forgotten a turn later.
  assert.deepEqual(turn(shares, [0, 2000, 0, 0, 50]), [0, got[1], 0, 0, 50]);
  turn(shares, [0, 2000]);
  assert.deepEqual(turn(shares, [0, 2000]), [0, 2000]);
});

test('any wishes: nobody is refused while another gets more, and the budget is used', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(600), { minLength: 2, maxLength: 40 }), (wants) => {
      const shares = pressed();
      turn(shares, wants);
      const got = turn(shares, wants);
      const refused = got.filter((n, peer) => n < wants[peer]!);
      if (refused.length > 0) {
        const most = Math.max(...got);
        // Eight rounds of filling come near enough: within a tenth of the level.
        assert.ok(
          refused.every((n) => n >= most * 0.9 - 1),
          `${wants} got ${got}`,
        );
        const used = got.reduce((sum, n) => sum + n, 0) * 2048;
        assert.ok(used > BUDGET * 0.6 && used <= BUDGET + 2048 * got.length, `${used} bytes`);
      }
    }),
  );
});

test("a stranger who writes a peer's index into datagrams uses up the strangers' share, not the peer's", () => {
  const world = new World(3);
  const { a, b } = pair(world);
  a.keepSent = true;
  a.send([packetOf('10.0.0.1', '10.0.0.2', new Uint8Array(20))]);
  world.run(100);
  const { shares } = b.device;
  const say = () => {
    a.send([packetOf('10.0.0.1', '10.0.0.2', new Uint8Array(1000))]);
    const { bytes } = a.sent.at(-1)!;
    return { bytes, from: a.address };
  };
  world.weather = { loss: 1 };
  let passed = 0;
  let over = 0;
  for (let round = 0; round < 4; round++) {
    shares.look(1024);
    shares.begin();
    // 40 times 60 forgeries and 2 of the peer's: the forgeries alone are six times the budget.
    for (let n = 0; n < 40; n++) {
      const real = [say(), say()];
      const forged = Array.from({ length: 60 }, () => {
        const bytes = real[0]!.bytes.slice();
        bytes[bytes.length - 1]! ^= 1;
        return { bytes, from: '198.51.100.66:6' };
      });
      const outcomes = b.receive([...forged, ...real]);
      if (round === 0) continue;
      passed += outcomes.slice(60).filter((outcome) => outcome === Outcome.PASS).length;
      over += outcomes.slice(0, 60).filter((outcome) => outcome === Outcome.OVER_SHARE).length;
    }
  }
  assert.equal(passed, 3 * 80, 'all of the peer passes');
  assert.ok(over > 3 * 1200, `${over} forgeries were not worth a cipher`);
});
