import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readTunDrops } from '../../src/control/proc.js';

test('drops at the TUN: its transmit drops are ours to read, its receive drops ours that were refused', () => {
  const dir = mkdtempSync(join(tmpdir(), 'tungate-proc-'));
  const file = join(dir, 'dev');
  try {
    writeFileSync(
      file,
      `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    9    0     0          0         0      100       1    0    9    0     0       0          0
tungate0: 18446744073709551615 20 1 3 4 5 6 7 80 9 10 11 12 13 14 15
`,
    );
    assert.deepEqual(readTunDrops('tungate0', file), { queue: 11, write: 3 });
    assert.deepEqual(readTunDrops('lo', file), { queue: 9, write: 9 });
    assert.deepEqual(readTunDrops('tungate', file), { queue: 0, write: 0 });
  } finally {
    rmSync(dir, { recursive: true });
  }
});
