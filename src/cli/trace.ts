/** `tungate trace SRC[:PORT] DST[:PORT] [PROTO]`: what would become of such a packet, stage by stage. */
import type { TraceAnswer } from '../contract/api.js';
import { call } from '../control/client.js';
import { CliError, colours, Exit, type Options, pathsOf, print, printJson } from './verb.js';

export async function run(options: Options, args: readonly string[]): Promise<undefined> {
  const [src, dst, proto = 'tcp'] = args;
  if (src === undefined || dst === undefined || args.length > 3)
    throw new CliError(Exit.USAGE, 'trace which packet? SRC[:PORT] DST[:PORT] [PROTO]', ['(tungate trace --help)']);
  const [from, to] = [end(src), end(dst)];
  const query = new URLSearchParams({ proto, src: from.address, dst: to.address });
  if (from.port !== undefined) query.set('sport', from.port);
  // A client's port that nobody named; of no meaning to any rule.
  else if (proto === 'tcp' || proto === 'udp' || proto === 'icmp') query.set('sport', '54321');
  if (to.port !== undefined) query.set('dport', to.port);
  const answer = await call<TraceAnswer>(pathsOf(options).socket, 'GET', `/trace?${query}`);
  if (options.json) {
    printJson(answer);
    return;
  }
  const c = colours(process.stdout);
  for (const { stage, text } of answer.steps) print(`  ${c.dim(stage.padEnd(8))} ${text}`);
  const colour = answer.fate === 'drop' ? c.red : c.green;
  print(`${colour(`${answer.fate}: ${answer.verdict}`)}  ${answer.sentence}`);
}

function end(text: string): { address: string; port?: string } {
  const colon = text.indexOf(':');
  return colon < 0 ? { address: text } : { address: text.slice(0, colon), port: text.slice(colon + 1) };
}
