/** `tungate top`: who is busy, once a second, until q or Ctrl-C. Plain ANSI on the alternate screen. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { TopAnswer } from '../contract/api.js';
import { call } from '../control/client.js';
import { CliError, Exit, type Options, pathsOf, printJson, short, table, text } from './verb.js';

const ESCAPE = '\x1b';
const ALTERNATE = '\x1b[?1049h\x1b[?25l';
const BACK = '\x1b[?25h\x1b[?1049l';
const HOME = '\x1b[H\x1b[J';
/** As a group, so that a split keeps them. */
const COLOUR = new RegExp(`(${ESCAPE}\\[[0-9;]*m)`);
/** Lines above the first table. */
const HEAD_LINES = 4;

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
  await watch(answer, () => call<TopAnswer>(socket, 'GET', '/top'), wait);
}

/** Redraws until q, Escape or Ctrl-C; then the terminal is as it was. */
async function watch(answer: TopAnswer, look: () => Promise<TopAnswer>, wait: number): Promise<void> {
  const { stdin, stdout } = process;
  let going = true;
  const stop = () => {
    going = false;
  };
  const draw = () => {
    const [columns, rows] = [stdout.columns || 80, stdout.rows || 24];
    const lines = screen(answer, Math.max(1, Math.floor((rows - HEAD_LINES - 3) / 2)));
    stdout.write(`${HOME}${clip(lines, columns, rows)}`);
  };
  process.once('SIGINT', stop);
  process.once('SIGTERM', stop);
  process.once('SIGHUP', stop);
  stdout.on('resize', draw);
  if (stdin.isTTY) stdin.setRawMode(true);
  stdin.on('data', (keys) => {
    // q, Ctrl-C (raw mode hands it over), Escape.
    if (['q', '\u0003', '\u001b'].includes(String(keys))) stop();
  });
  stdout.write(ALTERNATE);
  try {
    while (going) {
      draw();
      for (let left = wait; going && left > 0; left -= 100) await sleep(100);
      if (going) answer = await look();
    }
  } finally {
    stdout.off('resize', draw);
    stdout.write(BACK);
    if (stdin.isTTY) stdin.setRawMode(false);
    stdin.destroy();
  }
}

/** What fits: a line that is too long is cut, for a wrapped one would push the others off the screen. */
function clip(text: string, columns: number, rows: number): string {
  const lines = text.trimEnd().split('\n').slice(0, rows);
  return lines.map((line) => cut(line, columns)).join('\n');
}

/** The first `columns` letters, with all colours: what is between two of them takes no room. */
function cut(line: string, columns: number): string {
  let left = columns;
  const pieces = line.split(COLOUR).map((piece) => {
    if (piece.startsWith(ESCAPE)) return piece;
    const shown = piece.slice(0, left);
    left -= shown.length;
    return shown;
  });
  return pieces.join('');
}

function screen({ flows, received, sent, dropped, hosts, forwards }: TopAnswer, lines: number): string {
  const bits = (bytes: number) => `${short(Math.round(bytes * 8))}bit/s`;
  const packets = (rate: number) => `${short(Math.round(rate))}/s`;
  const head = [
    `received ${bits(received.bytes)}, ${packets(received.packets)} packets`,
    `sent     ${bits(sent.bytes)}, ${packets(sent.packets)} packets`,
    `dropped  ${packets(dropped)} packets; ${flows} flows`,
  ];
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
  return `${head.join('\n')}\n\n${inside}\n${rules}`;
}
