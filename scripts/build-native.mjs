// Builds the addon with node-gyp. Nothing is downloaded where Node's own headers are installed beside it.
//
//   node scripts/build-native.mjs            build/Release/tungate.node, unless it is newer than its sources
//   node scripts/build-native.mjs --force    the same, always
//   node scripts/build-native.mjs --install  the same, unless a prebuilt addon fits (npm's install script)
//   node scripts/build-native.mjs --asan     build/asan/build/Release/tungate.node with AddressSanitizer and UBSan
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const require = createRequire(import.meta.url);
const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const asan = process.argv.includes('--asan');
const force = process.argv.includes('--force');
const built = join(root, 'build', 'Release', 'tungate.node');
const stamp = join(root, 'build', 'tungate.stamp');
// node-gyp-build finds it there when TUNGATE_PREBUILD names build/asan (absolute).
const builtAsan = join(root, 'build', 'asan', 'build', 'Release', 'tungate.node');

function fail(text) {
  console.error(`build-native: ${text}`);
  process.exit(1);
}

/** What else a build depends on beside its sources. N-API is stable, so Node's version is not in it. */
function identity() {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  return `${process.platform}-${process.arch} ${version}\n`;
}

function fresh() {
  if (!existsSync(built) || !existsSync(stamp) || readFileSync(stamp, 'utf8') !== identity()) return false;
  const made = statSync(built).mtimeMs;
  // Not the folder of fuzz targets beside them: they are no part of the addon, so it would stay older for ever.
  const names = readdirSync(join(root, 'native')).filter((file) => /\.(cc|h)$/.test(file));
  const sources = names.map((file) => join(root, 'native', file));
  return [...sources, join(root, 'binding.gyp')].every((file) => statSync(file).mtimeMs < made);
}

/** A package from the registry may bring addons in prebuilds/; there is one for us when node-gyp-build names it. */
function prebuilt() {
  try {
    return require('node-gyp-build').resolve(root).startsWith(join(root, 'prebuilds'));
  } catch {
    return false;
  }
}

function requireTools() {
  const found = (command) => spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0;
  const missing = [];
  if (!found(process.env.CXX || 'g++') && !found('c++')) missing.push('g++');
  if (!found('make')) missing.push('make');
  if (!found(process.env.PYTHON || 'python3')) missing.push('python3');
  if (missing.length > 0) {
    fail(
      `${missing.join(', ')} missing: the addon is C++. On Debian or Ubuntu: apt-get install -y ${missing.join(' ')}`,
    );
  }
}

/** `--nodedir=PREFIX` when the headers of this very Node are installed, else nothing: node-gyp fetches them. */
function headers() {
  const prefix = join(dirname(process.execPath), '..');
  const file = join(prefix, 'include', 'node', 'node_version.h');
  if (!existsSync(file)) return [];
  const text = readFileSync(file, 'utf8');
  const major = /#define NODE_MAJOR_VERSION (\d+)/.exec(text)?.[1];
  return major === process.versions.node.split('.')[0] ? [`--nodedir=${prefix}`] : [];
}

/** The project's own node-gyp, or npm's when this is an install without development packages. */
function gypTool() {
  try {
    return join(dirname(require.resolve('node-gyp/package.json')), 'bin', 'node-gyp.js');
  } catch {
    return process.env.npm_config_node_gyp ?? fail('node-gyp is not installed: run "npm ci" first');
  }
}

function gyp(...args) {
  const result = spawnSync(process.execPath, [gypTool(), ...args, ...headers()], { cwd: root, encoding: 'utf8' });
  if (result.status !== 0) {
    process.stderr.write(`${result.stdout}${result.stderr}`);
    fail(`the build failed (node-gyp ${args.join(' ')}): see above`);
  }
}

if (process.platform !== 'linux') fail(`tungate runs on Linux only (this is ${process.platform})`);
if (!asan && !force && fresh()) process.exit(0);
if (process.argv.includes('--install') && prebuilt()) process.exit(0);
requireTools();
if (asan) {
  gyp('configure', 'build', '--debug', '--jobs=2');
  mkdirSync(dirname(builtAsan), { recursive: true });
  copyFileSync(join(root, 'build', 'Debug', 'tungate.node'), builtAsan);
  console.log(`build-native: made build/asan; run tests on it with
  LD_PRELOAD="$(g++ -print-file-name=libasan.so)" ASAN_OPTIONS=detect_leaks=0 TUNGATE_PREBUILD="$PWD/build/asan" node --test …`);
} else {
  gyp('configure', 'build', '--release', '--jobs=2');
  writeFileSync(stamp, identity());
  console.log('build-native: made build/Release/tungate.node');
}
