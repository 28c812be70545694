/** Suite 3: new TCP connections, as many as go, and a thousand a second for a minute with ever new ports. */
import { writeFileSync } from 'node:fs';
import type { Process } from '../../src/lab/index.js';
import type { Bench, Suite } from '../lib/bench.js';
import { connect } from '../lib/load.js';
import { SERVER, SOURCES, type Stage } from '../lib/stage.js';
import { UNPACKED } from '../lib/tools.js';

const PORT = 8000;

/** A server in the stage's `server` that answers and closes; stop it at the end. */
export async function nginx({ lab, server }: Stage): Promise<Process> {
  const file = `${lab.dir}/nginx.conf`;
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${lab.dir}/${name};`,
  );
  writeFileSync(
    file,
    `daemon off; master_process off; pid ${lab.dir}/nginx.pid; error_log stderr;
events { worker_connections 16384; }
http {
  access_log off; keepalive_timeout 0; ${temporary.join(' ')}
  server { listen ${PORT} backlog=4096; location / { return 200 "ok\\n"; } }
}
`,
  );
  const started = server.spawn(['nginx', '-c', file, '-p', lab.dir, '-e', 'stderr'], { env: UNPACKED });
  for (let attempt = 0; attempt < 50; attempt++) {
    if ((await server.must(['ss', '-Hltn', `sport = :${PORT}`])).trim()) return started;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`nginx does not listen: ${started.tail()}`);
}

/** What wrk prints. Errors count against the requests: a connection that was refused is none. */
export function parseWrk(text: string): { readonly perSecond: number; readonly errors: number } {
  const perSecond = Number(/Requests\/sec:\s+([\d.]+)/.exec(text)?.[1]);
  const errors = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(text);
  if (!Number.isFinite(perSecond)) throw new Error(`wrk printed no result:\n${text}`);
  return { perSecond, errors: errors ? errors.slice(1).reduce((sum, each) => sum + Number(each), 0) : 0 };
}

export async function wrk(bench: Bench, seconds: number): Promise<Record<string, number>> {
  const url = `http://${SERVER}:${PORT}/`;
  const options = ['-t', '1', '-c', '64', '-d', String(seconds), '--timeout', '5', '-H', 'Connection: close'];
  const { result } = await bench.calm.measure(() =>
    bench.stage.client.must(['wrk', ...options, url], { seconds: seconds + 30, env: UNPACKED }),
  );
  const { perSecond, errors } = parseWrk(result);
  return { perSecond, errors };
}

export const suite: Suite = {
  name: 'connections',
  title: 'New TCP connections',
  method:
    'nginx and wrk with 64 connections at a time and `Connection: close`: each request is a connection of its own, from the first SYN to the last FIN. Then 1,000 new connections a second for 60 s from 20 inside addresses, no source port twice, through the default pool: how many were refused, reset or timed out.',
  metrics: {
    perSecond: { title: 'new connections', unit: '/s', better: 'more', plot: true },
    errors: { title: 'wrk errors', unit: '', better: 'less', compare: 'none' },
    failed: { title: 'failed of the sustained', unit: '', better: 'less', compare: 'none' },
    done: { title: 'completed of the sustained', unit: '', better: 'more', compare: 'none' },
    p99: { title: 'p99 until connected', unit: 'ms', better: 'less', compare: 'none' },
  },
  tools: ['nginx', 'wrk', 'ss'],
  async run(bench) {
    const server = await nginx(bench.stage);
    try {
      await bench.rounds(async (peer) => {
        await wrk(bench, 1); // warm-up
        bench.record(peer, 'as many as go', await wrk(bench, bench.options.seconds));
      });
      const seconds = bench.options.quick ? 3 : 60;
      const sustained = async () => {
        const from = { from: SOURCES.first, sources: SOURCES.count, sport: 10_000 };
        return connect(bench.stage.client, { ...from, to: SERVER, port: PORT, rate: 1000, seconds });
      };
      await bench.rounds(
        async (peer) => {
          const { begun, done, p99 } = await sustained();
          bench.record(peer, `1,000 a second for ${seconds} s`, { failed: begun - done, done, p99 });
        },
        { only: (peer) => peer.thorough, rounds: 1 },
      );
    } finally {
      await server.stop();
    }
  },
};
