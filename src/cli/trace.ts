/** `tungate trace`: what becomes of the next packet of an address, or what would become of one, stage by stage. */
import type { SeenAnswer, TraceAnswer } from '../contract/api.js';
import { call, callStream } from '../control/client.js';
import { CliError, colours, Exit, type Options, pathsOf, print, printJson, text } from './verb.js';

const LIVE_OPTIONS = ['count', 'dst', 'proto', 'seconds'];
const WAIT_SECONDS = 30;

export async function run(options: Options, args: readonly string[]): Promise<number | undefined> {
  const [src, dst, proto = 'tcp'] = args;
  if (src === undefined || args.length > 3)
    throw new CliError(Exit.USAGE, 'trace what? An address, or SRC[:PORT] DST[:PORT] [PROTO]', [
      '(tungate trace --help)',
    ]);
  if (dst === undefined) return live(src, options);
  const odd = LIVE_OPTIONS.find((key) => options[key] !== undefined);
  if (odd !== undefined)
    throw new CliError(
      Exit.USAGE,
      `--${odd} is for live packets (trace ADDRESS); here source and destination are given`,
    );
  const [from, to] = [end(src), end(dst)];
  const query = new URLSearchParams({ proto, src: from.address, dst: to.address });
  if (from.port !== undefined) query.set('sport', from.port);
  // A client's port that nobody named; of no meaning to any rule.
  else if (proto === 'tcp' || proto === 'udp' || proto === 'icmp') query.set('sport', '54321');
  if (to.port !== undefined) query.set('dport', to.port);
  const answer = await call<TraceAnswer>(pathsOf(options).socket, 'GET', `/trace?${query}`);
  if (options.json) printJson(answer);
  else show(answer);
  return Exit.OK;
}

/** The next packets that really come. */
async function live(whose: string, options: Options): Promise<number> {
  const { address, port } = end(whose);
  const seconds = Number(text(options, 'seconds') ?? WAIT_SECONDS);
  if (!(seconds > 0 && seconds <= 86_400)) throw new CliError(Exit.USAGE, '--seconds: more than 0, at most 86400');
  const query = new URLSearchParams({ address, count: text(options, 'count') ?? '1' });
  const [other, proto] = [text(options, 'dst'), text(options, 'proto')];
  if (port !== undefined) query.set('port', port);
  if (other !== undefined) query.set('other', other);
  if (proto !== undefined) query.set('proto', proto);
  const enough = new AbortController();
  const begin = performance.now();
  let waited = String(seconds);
  process.once('SIGINT', () => {
    waited = ((performance.now() - begin) / 1000).toFixed(1);
    enough.abort();
  });
  setTimeout(() => enough.abort(), seconds * 1000).unref();
  let rest = '';
  let seen = 0;
  await callStream(
    pathsOf(options).socket,
    `/trace/live?${query}`,
    (bytes) => {
      const lines = (rest + bytes.toString('utf8')).split('\n');
      rest = lines.pop()!;
      for (const line of lines) {
        const answer = JSON.parse(line) as SeenAnswer;
        if (options.json) printJson(answer);
        else {
          if (seen > 0) print('');
          print(`${answer.at.slice(11, 23)}  ${answer.bytes} bytes`);
          show(answer);
        }
        seen++;
      }
    },
    enough.signal,
  );
  if (seen === 0) {
    const from = [`from or to ${whose}`, ...(other ? [`and ${other}`] : []), ...(proto ? [`(${proto})`] : [])].join(
      ' ',
    );
    throw new CliError(Exit.FAILED, `no packet ${from} has reached the router in ${waited} s`);
  }
  return Exit.OK;
}

function show({ steps, fate, verdict, sentence }: TraceAnswer): void {
  const c = colours(process.stdout);
  for (const { stage, text } of steps) print(`  ${c.dim(stage.padEnd(8))} ${text}`);
  const colour = fate === 'drop' ? c.red : c.green;
  print(`${colour(`${fate}: ${verdict}`)}  ${sentence}`);
}

function end(text: string): { address: string; port?: string } {
  const colon = text.indexOf(':');
  return colon < 0 ? { address: text } : { address: text.slice(0, colon), port: text.slice(colon + 1) };
}
