/** `tungate top`: who is busy, once a second, until q or Ctrl-C. Plain ANSI on the alternate screen. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { TopAnswer } from '../contract/api.js';
import { call } from '../control/client.js';
import { CliError, Exit, type Options, pathsOf, printJson, short, table, text } from './verb.js';

const ALTERNATE = '\x1b[?1049h\x1b[?25l';
const BACK = '\x1b[?25h\x1b[?1049l';
const HOME = '\x1b[H\x1b[J';

export async function run(options: Options): Promise<undefined> {
  const { socket } = pathsOf(options);
  const every = text(options, 'interval') ?? '1';
  const wait = Number(every) * 1000;
  if (!(wait >= 1000 && wait <= 3_600_000)) throw new CliError(Exit.USAGE, `--interval ${every}: 1 to 3600 seconds`);
  let answer = await call<TopAnswer>(socket, 'GET', '/top');
  if (options.once === true || options.json === true || !process.stdout.isTTY) {
    // The first look has nothing to compare with.
    await sleep(wait);
    answer = await call<TopAnswer>(socket, 'GET', '/top');
    if (options.json) printJson(answer);
    else process.stdout.write(screen(answer, 20));
    return;
  }
  const { stdin, stdout } = process;
  let going = true;
  const stop = () => {
    going = false;
  };
  process.once('SIGINT', stop);
  process.once('SIGTERM', stop);
  stdin.setRawMode?.(true);
  stdin.on('data', (keys) => {
    // q, Ctrl-C (raw mode hands it over), Escape.
    if (['q', '\u0003', '\u001b'].includes(String(keys))) stop();
  });
  stdout.write(ALTERNATE);
  try {
    while (going) {
      stdout.write(`${HOME}${screen(answer, Math.max(4, Math.floor((stdout.rows - 8) / 2)))}`);
      for (let left = wait; going && left > 0; left -= 100) await sleep(100);
      if (going) answer = await call<TopAnswer>(socket, 'GET', '/top');
    }
  } finally {
    stdout.write(BACK);
    stdin.setRawMode?.(false);
    stdin.destroy();
  }
}

function screen({ flows, received, sent, dropped, hosts, forwards }: TopAnswer, lines: number): string {
  const bits = (bytes: number) => `${short(Math.round(bytes * 8))}bit/s`;
  const packets = (rate: number) => `${short(Math.round(rate))}/s`;
  const head =
    `received ${bits(received.bytes)}, ${packets(received.packets)} packets; sent ${bits(sent.bytes)}, ${packets(sent.packets)}; ` +
    `dropped ${packets(dropped)}; ${flows} flows\n\n`;
  const inside = table(
    ['INSIDE HOST', 'FLOWS', 'OUT', 'IN'],
    hosts.slice(0, lines).map((host) => [host.address, String(host.flows), bits(host.out), bits(host.in)]),
    [1, 2, 3],
  );
  const rules = table(
    ['FORWARD', 'WHAT', 'IN', 'OUT'],
    forwards.slice(0, lines).map((rule) => [rule.name, rule.what, bits(rule.in), bits(rule.out)]),
    [2, 3],
  );
  return `${head}${inside}\n${rules}`;
}
