/** Programs that setup unpacked into build/tools without installing them find their libraries there. */
import { arch } from 'node:os';
import { fileURLToPath } from 'node:url';

const TRIPLET = `${arch() === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`;

export const UNPACKED = {
  LD_LIBRARY_PATH: fileURLToPath(new URL(`../../../build/tools/usr/lib/${TRIPLET}`, import.meta.url)),
};
