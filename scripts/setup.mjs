// Makes a checkout ready: npm packages, system programs, the addon, dist/. Each step is skipped when there is nothing to do.
//
//   node scripts/setup.mjs            everything that building, demo, tests and bench need
//   node scripts/setup.mjs demo       only what the demo needs
//
// Runs before node_modules exists: only node: modules may be imported here and in the scripts that import this file.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** Where programs are looked for: Debian keeps ip and tc in /usr/sbin; build/tools holds what was unpacked, not installed. */
const TOOLS = join(root, 'build', 'tools');
export const PATH = [
  `${TOOLS}/usr/bin`,
  `${TOOLS}/usr/sbin`,
  process.env.PATH,
  '/usr/sbin',
  '/sbin',
  '/usr/bin',
  '/bin',
].join(':');

/** Program → Debian package, by what needs it. */
const BUILD = { 'g++': 'g++', make: 'make', python3: 'python3' };
const DEMO = {
  ip: 'iproute2',
  sysctl: 'procps',
  nsenter: 'util-linux',
  unshare: 'util-linux',
  ping: 'iputils-ping',
  traceroute: 'traceroute',
  iperf3: 'iperf3',
};
const BENCH = { ...DEMO, nft: 'nftables' };
const TEST = {
  ...BENCH,
  ethtool: 'ethtool',
  setpriv: 'util-linux',
  'systemd-analyze': 'systemd',
  tc: 'iproute2',
  tcpdump: 'tcpdump',
  tshark: 'tshark',
  script: 'bsdutils',
  ss: 'iproute2',
  curl: 'curl',
  git: 'git',
};
/** What the bench measures beside tungate and the kernel; the tests do without. */
const PEERS = { slirp4netns: 'slirp4netns', pasta: 'passt', ss: 'iproute2' };
const NEEDS = {
  build: BUILD,
  demo: { ...BUILD, ...DEMO },
  bench: { ...BUILD, ...BENCH, ...PEERS },
  test: { ...BUILD, ...TEST },
};

export function has(program) {
  return PATH.split(':').some((dir) => dir && existsSync(join(dir, program)));
}

function say(text) {
  console.error(`setup: ${text}`);
}

/** A problem that the user can solve: one line, no stack. */
export function fail(text, code = 1) {
  console.error(`setup: ${text}`);
  process.exit(code);
}

export function step(argv, options = {}) {
  const [file, ...args] = argv;
  const result = spawnSync(file, args, { cwd: root, stdio: 'inherit', env: { ...process.env, PATH }, ...options });
  if (result.error) fail(`${file} cannot be run: ${result.error.message}`);
  if (result.status !== 0) fail(`"${argv.join(' ')}" failed`, result.status ?? 1);
}

// -- the steps, in order --

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19))
    fail(`Node ${process.versions.node} is too old: 20.19 or newer is needed`);
}

export function systemPackages(purpose) {
  const missing = Object.entries(NEEDS[purpose]).filter(([program]) => !has(program));
  if (missing.length === 0) return;
  const packages = [...new Set(missing.map(([, name]) => name))];
  const programs = missing.map(([program]) => program).join(', ');
  const install = ['apt-get', 'install', '-y', '--no-install-recommends', ...packages];
  if (process.getuid() !== 0 || !has('apt-get')) {
    fail(`missing: ${programs}. On Debian or Ubuntu, type: sudo ${install.join(' ')}`);
  }
  say(`missing: ${programs}; installing ${packages.join(' ')}`);
  // A wedged debconf question would hang a CI without stdin.
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const quiet = { stdio: ['ignore', 'ignore', 'inherit'], env };
  // The package lists of a fresh image are empty or old: refresh only when the first try fails.
  if (spawnSync(install[0], install.slice(1), { ...quiet, stdio: 'ignore' }).status !== 0) {
    step(['apt-get', 'update'], quiet);
    step(install, quiet);
  }
  const still = missing.map(([program]) => program).filter((program) => !has(program));
  if (still.length > 0) fail(`still missing after the installation: ${still.join(', ')}`);
}

/**
 * Judges that Debian ships inside packages whose installation would start a server on this machine: coturn and nginx for the
 * NAT tests, prometheus for its promtool. They are fetched and unpacked into build/tools, which starts nothing and needs no root.
 */
const UNPACKED = {
  promtool: { name: 'prometheus', why: 'the tests judge /metrics with it' },
  prometheus: { name: 'prometheus', why: 'the tests watch a router with it' },
  turnserver: { name: 'coturn', why: 'the tests judge mapping and filtering with it' },
  nginx: { name: 'nginx', why: 'the tests judge a thousand connections with it' },
  wrk: { name: 'wrk', why: 'the tests judge a thousand connections with it' },
  vsftpd: { name: 'vsftpd', why: 'the tests judge the FTP helper with it' },
  'wireguard-go': { name: 'wireguard-go', why: 'the tests judge site links with it' },
  wg: { name: 'wireguard-tools', why: 'the tests configure site links with it' },
};

/** Those of them that the bench needs, and what it alone measures. */
const UNPACKED_FOR_BENCH = ['nginx', 'wrk', 'wireguard-go', 'wg'];
const BENCH_ONLY = Object.fromEntries(
  Object.entries({ openvpn: 'openvpn', nebula: 'nebula', edge: 'n2n', tincd: 'tinc' }).map(([program, name]) => [
    program,
    { name, why: 'the bench measures site links beside it' },
  ]),
);

function unpacked(purpose) {
  const wanted = (program) => purpose === 'test' || UNPACKED_FOR_BENCH.includes(program) || program in BENCH_ONLY;
  const all = purpose === 'bench' ? { ...UNPACKED, ...BENCH_ONLY } : UNPACKED;
  const missing = Object.entries(all).filter(([program]) => wanted(program) && !has(program));
  if (missing.length === 0) return;
  const hint = missing.map(([program, { name, why }]) => `${program} (${why}; Debian's package ${name})`).join(', ');
  if (!has('apt-get') || !has('dpkg-deb')) fail(`missing: ${hint}`);
  const names = [...new Set(missing.map(([, { name }]) => name))];
  say(`unpacking ${names.join(', ')} into build/tools`);
  const dir = mkdtempSync(join(tmpdir(), 'tungate-setup-'));
  try {
    // With the libraries that this machine lacks; nothing is installed, so the lock of dpkg is not needed.
    const options = ['-o', 'Debug::NoLocking=1', '-o', `Dir::Cache::archives=${dir}`];
    const argv = ['install', '--download-only', '-y', '-q', '--no-install-recommends', ...options, ...names];
    const fetch = () => spawnSync('apt-get', argv, { stdio: 'ignore' }).status === 0;
    if (!fetch()) {
      if (process.getuid() === 0) spawnSync('apt-get', ['update'], { stdio: 'ignore' });
      if (!fetch()) fail(`"apt-get install --download-only ${names.join(' ')}" failed; missing: ${hint}`);
    }
    mkdirSync(TOOLS, { recursive: true });
    const debs = readdirSync(dir).filter((name) => name.endsWith('.deb'));
    for (const deb of debs) step(['dpkg-deb', '-x', join(dir, deb), TOOLS]);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

function npmPackages() {
  const lock = join(root, 'package-lock.json');
  const installed = join(root, 'node_modules', '.package-lock.json'); // npm writes it last
  if (existsSync(installed) && statSync(installed).mtimeMs >= statSync(lock).mtimeMs) return;
  say('npm ci');
  step(['npm', 'ci', '--no-audit', '--no-fund', '--loglevel=error'], { stdio: ['ignore', 'ignore', 'inherit'] });
}

export function build() {
  step([process.execPath, 'scripts/build-native.mjs']);
  forgetDeletedSources();
  // The binary itself, not npx: half a second less.
  step([join(root, 'node_modules', '.bin', 'tsc')]);
}

/** tsc never deletes: a test whose source is gone would be run from dist/ for ever. */
function forgetDeletedSources() {
  const dist = join(root, 'dist');
  if (!existsSync(dist)) return;
  for (const file of readdirSync(dist, { recursive: true })) {
    const source = /^(src|test|bench)\/.*\.js$/.test(file) && join(root, file.replace(/\.js$/, '.ts'));
    if (source && !existsSync(source)) {
      rmSync(join(dist, file));
      rmSync(join(dist, `${file}.map`), { force: true });
    }
  }
}

/** purpose: build, demo, bench or test. */
export function setup(purpose) {
  checkNode();
  systemPackages(purpose);
  npmPackages();
  if (purpose === 'test' || purpose === 'bench') unpacked(purpose);
  build();
}

/** Runs a built program and ends this one with its exit code; signals reach both (same process group). */
export function handOver(argv, env = {}) {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => {}); // the child cleans up and ends
  const [file, ...args] = argv;
  const result = spawnSync(file, args, { cwd: root, stdio: 'inherit', env: { ...process.env, PATH, ...env } });
  if (result.error) fail(`${file} cannot be run: ${result.error.message}`);
  process.exit(result.status ?? 1);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const purpose = process.argv[2] ?? 'test';
  if (!(purpose in NEEDS)) fail(`unknown purpose "${purpose}"; known: ${Object.keys(NEEDS).join(', ')}`, 2);
  setup(purpose);
  say('ready');
}
