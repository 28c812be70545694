// Healthy: the daemon says "ready" and every worker moves packets. Needs nothing but Node. Exit 0 or 1, the reason on stderr.
import { request } from 'node:http';
import { join } from 'node:path';

const socketPath = join(process.env.TUNGATE_RUNTIME_DIR || '/run/tungate', 'default', 'api.sock');

function end(code, text) {
  if (text) console.error(text);
  process.exit(code);
}

request({ socketPath, path: '/status', timeout: 3000 }, async (response) => {
  let text = '';
  for await (const part of response) text += part;
  const { phase, workers } = JSON.parse(text);
  const idle = workers.filter(({ state }) => state !== 'ready');
  if (phase !== 'ready') end(1, `the router is ${phase}`);
  if (idle.length > 0) end(1, idle.map(({ index, state }) => `worker ${index} is ${state}`).join(', '));
  end(0);
})
  .on('timeout', () => end(1, `${socketPath}: no answer within 3 s`))
  .on('error', (error) => end(1, `${socketPath}: ${error.message}`))
  .end();
