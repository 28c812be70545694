/** Programs that setup unpacked into build/tools without installing them find their libraries there. */
import { arch } from 'node:os';
import { fileURLToPath } from 'node:url';

const TRIPLET = `${arch() === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`;

export const UNPACKED = {
  LD_LIBRARY_PATH: ['usr/lib', 'lib']
    .map((dir) => fileURLToPath(new URL(`../../../build/tools/${dir}/${TRIPLET}`, import.meta.url)))
    .join(':'),
};
