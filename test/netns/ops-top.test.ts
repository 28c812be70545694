/** `tungate top` on a terminal: a pty of script(1), with stty(1) as witness that it is left as it was. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { needTools } from '../../src/lab/index.js';
import { eventually, INTERNET, raise, type Stage } from './stage.js';

const CLI = fileURLToPath(new URL('../../src/cli.js', import.meta.url));
const ESCAPE = String.fromCharCode(27);
const ENTER = `${ESCAPE}[?1049h`;
const LEAVE = `${ESCAPE}[?1049l`;

interface Seen {
  /** What was drawn, one a redraw, without colours. */
  readonly frames: readonly string[][];
  readonly code: number;
  /** `stty -g` before and after. */
  readonly settings: readonly string[];
}

describe('top on a terminal', () => {
  let stage: Stage;
  before(async () => {
    needTools(['script', 'stty']);
    stage = await raise();
  });
  after(() => stage?.lab.close());

  /** Runs it on a terminal of this size, types `keys` after some redraws (or lets `act` end it). */
  async function onTerminal(columns: number, rows: number, keys: string, act?: () => Promise<unknown>): Promise<Seen> {
    const top = `${process.execPath} ${CLI} top --runtime-dir ${stage.daemon.runtimeDir}`;
    const script = `stty cols ${columns} rows ${rows}; echo "[$(stty -g)]"; ${top}; echo "code $?"; echo "[$(stty -g)]"`;
    const terminal = stage.router.ns.spawn(['script', '-q', '-c', script, '/dev/null'], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const redraws = () => terminal.stdout.split(`${ESCAPE}[H`).length - 1;
    await eventually('three redraws', async () => redraws() >= 3, 20);
    if (act) await act();
    else terminal.child.stdin!.write(keys);
    await eventually('the end', async () => /code \d+.*\]/s.test(terminal.stdout), 20);
    terminal.child.stdin!.end();
    await terminal.ended;
    const [head = '', rest = ''] = terminal.stdout.split(ENTER);
    const [screen = '', tail = ''] = rest.split(LEAVE);
    const frames = screen
      .split(`${ESCAPE}[H${ESCAPE}[J`)
      .slice(1)
      .map((frame) => frame.replaceAll(new RegExp(`${ESCAPE}\\[[0-9;?]*[a-z]`, 'gu'), '').split('\r\n'));
    return {
      frames,
      code: Number(/code (\d+)/.exec(tail)?.[1]),
      settings: [...`${head}${tail}`.matchAll(/\[([0-9a-f:]+)\]/g)].map((match) => match[1]!),
    };
  }

  for (const [name, keys] of [
    ['q', 'q'],
    ['Ctrl-C', '\u0003'],
    ['Escape', ESCAPE],
  ] as const) {
    test(`it redraws until ${name}, ends with 0 and leaves the terminal as it was`, async () => {
      const ping = stage.a.ns.spawn(['ping', '-q', '-n', '-i', '0.01', INTERNET.one]);
      const { frames, code, settings } = await onTerminal(100, 30, keys);
      await ping.stop('SIGINT');
      assert.equal(code, 0);
      assert.equal(settings.length, 2);
      assert.equal(settings[0], settings[1]);
      const last = frames.at(-1)!.join('\n');
      assert.match(last, /^received .*\nsent .*\ndropped .* \d+ flows\n/);
      assert.match(last, /INSIDE HOST +FLOWS +OUT +IN\n172\.22\.161\.170 +\d+ /);
      assert.match(last, /FORWARD +WHAT +IN +OUT\n/);
    });
  }

  test('on a narrow and low terminal nothing wraps and nothing scrolls', async () => {
    const { frames, code } = await onTerminal(24, 8, 'q');
    assert.equal(code, 0);
    for (const frame of frames) {
      assert.ok(frame.length <= 8, `${frame.length} lines`);
      for (const line of frame) assert.ok(line.length <= 24, line);
    }
  });

  test('a router that ends meanwhile: the terminal is left as it was, and the reason is told', async () => {
    const { code, settings } = await onTerminal(80, 24, '', () => stage.daemon.stop());
    assert.equal(code, 3);
    assert.equal(settings[0], settings[1]);
  });
});
