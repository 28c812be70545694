// npm run fuzz:native: libFuzzer with AddressSanitizer and UBSan on the code of the addon that handles packet bytes.
//
//   npm run fuzz:native -- --seconds N     seconds for each target (default 60); needs clang and its runtime
//
// The targets are native/fuzz/*.cc; each links one header of native/ without Node. What they have learned is kept in
// build/fuzz-native/TARGET and is where the next run begins; a failing input is written there too.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { root, step } from './setup.mjs';

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '60' } } });
const out = join(root, 'build', 'fuzz-native');
const flags = ['-std=c++17', '-O1', '-g', '-Wall', '-Wextra', '-fno-omit-frame-pointer', '-fno-sanitize-recover=all'];

/** clang without its runtime compiles and does not link; so the first target is the test. */
function compiler() {
  const clang = process.env.CLANGXX ?? 'clang++';
  const probe = 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }';
  const argv = ['-x', 'c++', '-fsanitize=fuzzer,address,undefined', '-', '-o', '/dev/null'];
  if (spawnSync(clang, argv, { input: probe, stdio: ['pipe', 'ignore', 'ignore'] }).status === 0) return clang;
  console.error(
    'fuzz:native: clang++ with libFuzzer is missing. On Debian: apt-get install -y clang "libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev"',
  );
  process.exit(1);
}

const seconds = Number(values.seconds);
if (!(seconds > 0)) {
  console.error(`fuzz:native: --seconds must be a number above 0, not "${values.seconds}"`);
  process.exit(2);
}
const clang = compiler();
for (const file of readdirSync(join(root, 'native', 'fuzz')).filter((name) => name.endsWith('.cc'))) {
  const name = basename(file, '.cc');
  const corpus = join(out, name);
  mkdirSync(corpus, { recursive: true });
  const program = join(out, `${name}.fuzz`);
  step([clang, ...flags, '-fsanitize=fuzzer,address,undefined', join(root, 'native', 'fuzz', file), '-o', program]);
  console.log(`fuzz:native: ${name}, ${seconds} s`);
  step(
    [
      program,
      `-max_total_time=${seconds}`,
      '-max_len=4096',
      '-timeout=10',
      '-print_final_stats=1',
      `-artifact_prefix=${corpus}-`,
      corpus,
    ],
    {
      stdio: ['ignore', 'inherit', 'inherit'],
    },
  );
}
console.log('fuzz:native: nothing found');
