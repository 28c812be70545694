/** Checksums: the whole sum, in the addon and in TypeScript, and the adjustment that a translated header costs. */

import { native } from '../../src/native.js';
import { adjust, checksum, delta32 } from '../../src/wire/checksum.js';
import type { Micro } from '../lib/micro.js';

type Sum = (bytes: Uint8Array, off: number, len: number, initial: number) => number;

function whole(bytes: number, where: string, sumOf: Sum): Micro {
  return {
    name: `wire/checksum ${bytes} bytes, ${where}`,
    unit: 'sum',
    prepare() {
      const data = Uint8Array.from({ length: bytes + 16 }, (_, n) => (n * 151) & 0xff);
      let sum = 0;
      return () => {
        for (let i = 0; i < 256; i++) sum = sumOf(data, 0, bytes, sum & 0xff);
        return 256;
      };
    },
  };
}

const incremental: Micro = {
  name: 'wire/checksum adjusted',
  unit: 'header',
  prepare() {
    let field = 0x1234;
    return () => {
      for (let i = 0; i < 1024; i++) field = adjust(field, delta32(i << 8, field ^ 0x0a0a0a0a)) | 0;
      return 1024;
    };
  },
};

export const micros: readonly Micro[] = [
  ...[64, 1500].flatMap((bytes) => [whole(bytes, 'addon', native.checksum), whole(bytes, 'TypeScript', checksum)]),
  incremental,
];
