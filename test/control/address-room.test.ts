import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAddress } from '../../src/control/address.js';
import { addressesWithoutRoom } from '../../src/control/address-room.js';
import { parseConfig } from '../../src/control/index.js';

const base = parseAddress('203.0.113.1');
const numbers = (from: number, count: number) => Array.from({ length: count }, (_, n) => base + from + n);

test('REQ-2 a reload to addresses that have no room beside those whose ports live is refused, with its place', () => {
  const parsed = parseConfig(
    'uplink: { interface: eth0, address: 203.0.113.1 }\nlans: [{ interface: vmbr1, subnet: 172.22.161.0/24 }]',
    't.yaml',
  );
  assert.ok('config' in parsed);
  const room = (next: number[], used: number[]) =>
    addressesWithoutRoom(
      parsed.config,
      next.map((address) => ({ address, uplink: 0 })),
      used,
    );
  assert.deepEqual(room(numbers(0, 16), numbers(0, 16)), []);
  assert.deepEqual(room(numbers(0, 14), numbers(20, 2)), []);
  assert.deepEqual(room([], numbers(0, 16)), []);
  const [line, ...more] = room(numbers(0, 15), numbers(20, 2));
  assert.deepEqual(more, []);
  assert.match(
    line!,
    /^t\.yaml:1:9: 15 public addresses, and 203\.0\.113\.21, 203\.0\.113\.22 of before still have ports in use; together at most 16 have room\./,
  );
});
