/**
 * Programs that we did not write, as judges: found on the PATH or where setup unpacked them (build/tools), with the
 * libraries that came with them.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LAB_ENV } from '../../src/lab/index.js';

const TOOLS = fileURLToPath(new URL('../../../build/tools', import.meta.url));
const DIRS = [...LAB_ENV.PATH.split(':'), join(TOOLS, 'usr/bin'), join(TOOLS, 'usr/sbin')];
const LIBRARIES = ['x86_64-linux-gnu', 'aarch64-linux-gnu'].map((triplet) => join(TOOLS, 'usr/lib', triplet));

/** The command line for `program`, which fails, naming the remedy, when it is not there. */
export function judge(program: string, ...args: string[]): string[] {
  const dir = DIRS.find((each) => existsSync(join(each, program)));
  if (dir === undefined) throw new Error(`${program} is missing; "npm run setup" fetches it`);
  return ['env', `LD_LIBRARY_PATH=${LIBRARIES.join(':')}`, join(dir, program), ...args];
}
