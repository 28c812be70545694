/** `watch: true`: every way in which a config comes to be another is noticed, once; nothing else is. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ConfigWatch } from '../../src/control/watch.js';

test('a config that changes is noticed once, however it is written', async () => {
  const base = mkdtempSync(join(tmpdir(), 'tungate-watch-'));
  const dir = join(base, 'etc');
  mkdirSync(dir);
  const main = join(dir, 'tungate.yaml');
  const overlays = join(dir, 'conf.d');
  writeFileSync(main, 'a');
  let seen = 0;
  let expected = 0;
  const watch = new ConfigWatch(main, async () => {
    seen++;
  });
  const step = async (what: string, change: () => unknown, more = 1) => {
    await change();
    expected += more;
    const late = Date.now() + (more > 0 ? 5000 : 700);
    while (Date.now() < late && (more === 0 || seen < expected)) await sleep(20);
    assert.equal(seen, expected, what);
  };
  try {
    await step('written in place, in pieces', async () => {
      writeFileSync(main, '');
      await sleep(50);
      writeFileSync(main, 'b');
    });
    await step('replaced by rename', () => {
      writeFileSync(`${main}.new`, 'c');
      renameSync(`${main}.new`, main);
    });
    await step('conf.d is made, with a file', () => {
      mkdirSync(overlays);
      writeFileSync(join(overlays, 'x.yaml'), 'x');
    });
    await step('a file in it changes', () => writeFileSync(join(overlays, 'x.yaml'), 'y'));
    await step(
      'foreign files, backups and touches',
      () => {
        writeFileSync(join(overlays, 'x.yaml~'), 'z');
        writeFileSync(join(dir, 'other'), 'z');
        utimesSync(main, 1, 1);
      },
      0,
    );
    await step('conf.d goes away', () => rmSync(overlays, { recursive: true }));
    await step('the folder is swapped for another', () => {
      mkdirSync(join(base, 'etc2'));
      writeFileSync(join(base, 'etc2', 'tungate.yaml'), 'd');
      renameSync(dir, join(base, 'old'));
      renameSync(join(base, 'etc2'), dir);
    });
    await step('the file is a link that is swapped', () => {
      writeFileSync(join(base, 'real'), 'e');
      symlinkSync(join(base, 'real'), `${main}.new`);
      renameSync(`${main}.new`, main);
    });
    await step(
      'what somebody else has loaded already',
      () => {
        writeFileSync(main, 'f');
        watch.known();
      },
      0,
    );
    watch.close();
    await step('closed', () => writeFileSync(main, 'g'), 0);
  } finally {
    watch.close();
    rmSync(base, { recursive: true });
  }
});
