import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { native } from '../../src/native.js';
import { inNamespace } from '../in-namespace.js';

inNamespace('a full tmpfs', import.meta.url, ['--mount'], () => {
  const mount = mkdtempSync(join(tmpdir(), 'tungate-full-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', mount]);
  after(() => {
    execFileSync('umount', ['--lazy', mount]); // the mapped file keeps it busy
    rmSync(mount, { recursive: true });
  });

  test('ENOSPC is thrown before mapping, and the file that was made is gone', () => {
    const path = join(mount, 'flows');
    assert.throws(() => native.mapFile(path, 2 * 1024 * 1024), {
      code: 'ENOSPC',
      syscall: 'fallocate',
      message: /no room/,
    });
    assert.equal(existsSync(path), false);
    assert.equal(native.mapFile(path, 512 * 1024).created, true);
  });

  test('a file that was there stays when it cannot grow', () => {
    const path = join(mount, 'kept');
    writeFileSync(path, 'content');
    assert.throws(() => native.mapFile(path, 2 * 1024 * 1024), { code: 'ENOSPC' });
    assert.equal(readFileSync(path, 'utf8'), 'content');
  });
});
