/** What the benches say of their measurements: medians, ratios, the search for a rate, the verdict on a regression. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { judge, scaled } from '../../bench/lib/judge.js';
import { Calm, parseCpuTimes } from '../../bench/lib/machine.js';
import { highestRate } from '../../bench/lib/search.js';
import { digits, median, ratio, spread } from '../../bench/lib/statistics.js';
import { parseWrk } from '../../bench/suites/connections.js';

test('the median of an even number of rounds is between the two in the middle, and order plays no part', () => {
  assert.equal(median([9, 1, 5]), 5);
  assert.equal(median([4, 1, 2, 100]), 3);
  assert.deepEqual(spread([3, 1, 2]), { median: 2, min: 1, max: 3, n: 3 });
  assert.ok(Number.isNaN(median([])));
});

test('a slow minute that hits both peers does not change their ratio', () => {
  // Two rounds of three ran at half speed: the medians are of different rounds, the ratios are all the same.
  assert.equal(ratio([8, 4, 4], [10, 5, 5]), 0.8);
  assert.equal(ratio([8, 4, 9], [10, 5, 10]), 0.8);
  assert.equal(ratio([4, 8], [10, 10, 5]), 0.6); // rounds that do not match: of the medians
});

test('figures are written with three digits that matter', () => {
  assert.deepEqual([0, 0.1234, 1.234, 12.34, 123.4, 1234.5, Number.NaN].map(digits), [
    ...['0', '0.123', '1.23', '12.3', '123', '1,235', '–'],
  ]);
});

/** A router that carries `limit` packets a second and loses what is above; the generator can send `most`. */
function router(limit: number, most: number) {
  const asked: number[] = [];
  const attempt = async (rate: number) => {
    asked.push(rate);
    const sent = rate === 0 ? most : Math.min(rate, most);
    return { sent, received: Math.min(sent, limit) };
  };
  return { asked, attempt };
}

test('the search for the highest rate comes within 5 % below it, in a bounded number of trials', async () => {
  for (const limit of [30_000, 311_000, 900_000]) {
    const { asked, attempt } = router(limit, 1_000_000);
    const found = await highestRate(attempt, { loss: 0.001, trials: 8 });
    assert.ok(found <= limit * 1.001 && found > limit * 0.95, `${found} of ${limit}`);
    assert.ok(asked.length <= 9, `${asked.length} trials`);
  }
});

test('a router that loses nothing at full speed is asked once; one that loses always has no rate', async () => {
  const quick = router(2_000_000, 1_000_000);
  assert.equal(await highestRate(quick.attempt, { loss: 0.001, trials: 8 }), 1_000_000);
  assert.deepEqual(quick.asked, [0]);
  const lossy = async (rate: number) => ({ sent: rate || 1000, received: (rate || 1000) * 0.9 });
  assert.equal(await highestRate(lossy, { loss: 0.001, trials: 5 }), 0);
});

test('an overloaded router that collapses (it carries less the more it is sent) is still searched from below', async () => {
  const attempt = async (rate: number) => {
    const sent = rate === 0 ? 1_000_000 : rate;
    return { sent, received: sent <= 400_000 ? sent : 100_000 };
  };
  const found = await highestRate(attempt, { loss: 0.001, trials: 8 });
  assert.ok(found > 300_000 && found <= 400_000, String(found));
});

test('slower is: by the median of the ratios, and not by one unlucky round', () => {
  assert.equal(judge('x', [100, 101, 99], [100, 100, 100], 1.1).slower, false);
  assert.equal(judge('x', [120, 121, 119], [100, 100, 100], 1.1).slower, true);
  assert.equal(judge('x', [100, 300, 99], [100, 100, 100], 1.1).slower, false);
  assert.equal(judge('x', [80, 80, 80], [100, 100, 100], 1.1).slower, false);
  assert.equal(judge('x', [95, 130, 130], [100, 100, 100], 1.1).slower, false); // its best reaches the middle of before
});

test('a baseline of another machine is scaled by what the calibration loop takes on both', () => {
  assert.equal(scaled(50, { now: 4, before: 2 }), 100);
});

test('/proc/stat: busy is what is neither idle, nor waiting, nor stolen', () => {
  const times = parseCpuTimes('cpu  100 0 200 1000 50 10 40 300 0 0\ncpu0 1 2 3\n');
  assert.deepEqual(times, { busy: 3.5, steal: 3, total: 17 });
});

test('what nobody disturbed is measured once', async () => {
  let calls = 0;
  const calm = new Calm(5, () => {});
  const { result } = await calm.measure(async () => ++calls);
  assert.ok(result <= 6 && calls === result, `${calls} calls`);
});

test('wrk: connections a second, and its errors where it had any', () => {
  const text = 'Running 1s test\n  Requests/sec:   5480.97\nTransfer/sec:      0.91MB\n';
  assert.deepEqual(parseWrk(text), { perSecond: 5480.97, errors: 0 });
  const troubled = `  Socket errors: connect 1, read 20, write 3, timeout 400\n${text}`;
  assert.deepEqual(parseWrk(troubled), { perSecond: 5480.97, errors: 424 });
  assert.throws(() => parseWrk('unable to connect'), /no result/);
});
