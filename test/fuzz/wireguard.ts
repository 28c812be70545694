/**
 * npm run fuzz -- --target wireguard [--packets 5000000] [--seed 1]: altered WireGuard messages of every type, judged one by one. Prints what became of them as one
 * JSON line. A failure names the message and the seed.
 */
import { parseArgs } from 'node:util';
import { fuzzMessages } from '../link/wireguard/fuzz-messages.js';

const { values } = parseArgs({
  options: {
    target: { type: 'string' },
    packets: { type: 'string', default: '5000000' },
    seed: { type: 'string', default: '1' },
  },
});
const [messages, seed] = [Number(values.packets), Number(values.seed)];
const start = performance.now();
const counts = fuzzMessages(messages, seed, (done) => {
  if (done % (1 << 20) === 0)
    console.error(`${done} of ${messages}, ${Math.round((performance.now() - start) / 1000)} s`);
});
console.log(
  JSON.stringify({
    target: 'wireguard',
    messages,
    seed,
    seconds: Math.round((performance.now() - start) / 1000),
    ...counts,
  }),
);
