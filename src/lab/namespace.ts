/**
 * Network namespaces and the processes in them: the ground that demo, tests and bench stand on.
 *
 * Theory of operation. A `Lab` owns namespaces, processes and one temporary folder, and nothing else on the machine is
 * touched: interfaces are made inside the namespaces and die with them. Every command enters by `nsenter --net=` and not by
 * `ip netns exec`, because the latter mounts a fresh /sys, which an unprivileged user namespace may not do.
 *
 * Leaving nothing behind: names carry the pid (`tungate-PID-N-role`). A lab is taken down by `close()`, by the end of the
 * process (uncaught errors included) and by SIGINT, SIGTERM and SIGHUP. SIGKILL cannot be answered, so each new lab first
 * removes the namespaces of labs whose process is dead. The teardown is synchronous: it must work inside an 'exit' handler.
 */
import { type ChildProcess, execFile, type SpawnOptions, spawn, spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PREFIX = 'tungate';
const NETNS_DIR = '/run/netns';

// Node reads the certificates that this names at every start, which takes longer than all the rest of the start. Nothing in a
// lab speaks TLS.
const { NODE_EXTRA_CA_CERTS: _, ...inherited } = process.env;

/** Debian keeps ip, tc and sysctl in /usr/sbin, which is not on an ordinary user's PATH. */
export const LAB_ENV = { ...inherited, PATH: `${inherited.PATH ?? ''}:/usr/sbin:/sbin:/usr/bin:/bin`, LC_ALL: 'C' };

/**
 * Seconds that anything may take which is expected to come. Only there to stop a hang: a machine may be slow, and busy with others.
 * Whoever expects that nothing comes names his own, short, time.
 */
export const PATIENCE = 60;

export interface RunOptions {
  /** Time limit, seconds; PATIENCE unless told. */
  readonly seconds?: number;
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export interface RunResult {
  /** Exit code, or −1 when it was ended by a signal or the time limit. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command to its end. Never throws for an exit code: the caller judges it. Throws when it cannot be started. */
export function run(argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const [file, ...args] = argv;
  return new Promise((resolve, reject) => {
    const child = execFile(
      file!,
      args,
      {
        timeout: (options.seconds ?? PATIENCE) * 1000,
        killSignal: 'SIGKILL',
        maxBuffer: 64 * 1024 * 1024,
        env: { ...LAB_ENV, ...options.env },
      },
      (error, stdout, stderr) => {
        const code = error ? (error as { code?: unknown }).code : 0;
        if (typeof code === 'string') reject(new Error(`${file}: ${error!.message}`, { cause: error }));
        else resolve({ code: typeof code === 'number' ? code : -1, stdout, stderr });
      },
    );
    child.stdin?.on('error', () => {}); // it may end without reading: its exit code says the rest
    child.stdin?.end(options.input ?? '');
  });
}

function mustSync(argv: readonly string[], input = ''): void {
  const [file, ...args] = argv;
  const result = spawnSync(file!, args, { input, env: LAB_ENV, encoding: 'utf8', timeout: PATIENCE * 1000 });
  if (result.error) throw new Error(`${file} cannot be run: ${result.error.message}`);
  if (result.status !== 0)
    throw new Error(`${argv.join(' ')} failed (${result.status}): ${result.stderr.trim()}${input && `\n${input}`}`);
}

/** A process that goes on while the lab works; its output is kept and can be waited for. */
export class Process {
  stdout = '';
  stderr = '';
  readonly ended: Promise<number>;
  /** Exit code, −1 for a signal; undefined while it runs. */
  code: number | undefined;
  readonly #watchers = new Set<() => void>();

  constructor(
    readonly child: ChildProcess,
    readonly title: string,
  ) {
    const changed = () => {
      for (const watcher of this.#watchers) watcher();
    };
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text;
      changed();
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text;
      changed();
    });
    this.ended = new Promise((resolve) => {
      const finish = (code: number) => {
        this.code ??= code;
        resolve(this.code);
        changed();
      };
      child.once('error', (error) => {
        this.stderr += `${title}: ${error.message}\n`;
        finish(-1);
      });
      child.once('close', (code) => finish(code ?? -1)); // close, not exit: the last output is in
    });
  }

  /** Resolves once `pattern` has been printed on either stream; rejects when the process ends first or time runs out. */
  waitFor(pattern: RegExp, seconds = PATIENCE): Promise<string> {
    return new Promise((resolve, reject) => {
      const settle = (act: () => void) => {
        clearTimeout(timer);
        this.#watchers.delete(look);
        act();
      };
      const look = () => {
        const match = pattern.exec(this.stdout) ?? pattern.exec(this.stderr);
        if (match) settle(() => resolve(match[0]));
        else if (this.code !== undefined)
          settle(() => reject(new Error(`${this.title} ended with ${this.code}\n${this.tail()}`)));
      };
      const timer = setTimeout(() => {
        settle(() => reject(new Error(`${this.title} did not print ${pattern} within ${seconds} s\n${this.tail()}`)));
      }, seconds * 1000);
      this.#watchers.add(look);
      look();
    });
  }

  /** Signals it and waits; after `seconds` it is killed. Returns the exit code. */
  async stop(signal: NodeJS.Signals = 'SIGTERM', seconds = PATIENCE): Promise<number> {
    if (this.code === undefined) {
      this.child.kill(signal);
      const timer = setTimeout(() => this.child.kill('SIGKILL'), seconds * 1000);
      await this.ended;
      clearTimeout(timer);
    }
    return this.code!;
  }

  /** What it printed last, for error messages. */
  tail(): string {
    return `${this.stdout.slice(-2000)}${this.stderr.slice(-4000)}`.trimEnd();
  }
}

export class Namespace {
  constructor(
    readonly lab: Lab,
    /** Short name: router, client-a… */
    readonly role: string,
    /** Name under /run/netns. */
    readonly name: string,
  ) {}

  /** The command line that runs `argv` in here. */
  enter(argv: readonly string[]): string[] {
    return ['nsenter', `--net=${join(NETNS_DIR, this.name)}`, '--', ...argv];
  }

  run(argv: readonly string[], options?: RunOptions): Promise<RunResult> {
    return run(this.enter(argv), options);
  }

  /** Like run, but an exit code other than 0 is an error. Returns stdout. */
  async must(argv: readonly string[], options?: RunOptions): Promise<string> {
    const result = await this.run(argv, options);
    if (result.code !== 0)
      throw new Error(
        `${this.role}: ${argv.join(' ')} failed (${result.code}): ${result.stderr.trim() || result.stdout.trim()}`,
      );
    return result.stdout;
  }

  spawn(argv: readonly string[], options: SpawnOptions = {}): Process {
    return this.lab.spawn(this.enter(argv), `${this.role}: ${argv.join(' ').split('\n')[0]!.slice(0, 80)}`, options);
  }

  /** iproute2 lines as one batch: `link set eth0 up`, … */
  ip(...lines: string[]): void {
    mustSync(this.enter(['ip', '-batch', '-']), `${lines.join('\n')}\n`);
  }

  /** Sets kernel settings: 'net.ipv4.ip_forward=1'. */
  sysctl(...settings: string[]): void {
    mustSync(this.enter(['sysctl', '-q', '-w', ...settings]));
  }

  /** The same where a kernel may lack the setting or forbid it; false = it was not set. */
  trySysctl(...settings: string[]): boolean {
    const [file, ...args] = this.enter(['sysctl', '-q', '-w', ...settings]);
    return spawnSync(file!, args, { env: LAB_ENV }).status === 0;
  }
}

/** A namespace, made and furnished by one shell: a lab has half a dozen, and a test run a hundred labs. */
const MAKE = `
ip netns add "$1" && exec nsenter --net="$2" -- sh -c '
ip link set lo up || exit
exec 2>/dev/null
cd /proc/sys/net
# Not every kernel allows cubic in a namespace; reno always is.
echo cubic >ipv4/tcp_congestion_control || echo reno >ipv4/tcp_congestion_control
# Addresses of IPv6 are there at once or not at all: a state that settles seconds later cannot be compared.
for which in all default; do echo 0 >ipv6/conf/$which/accept_dad; echo 0 >ipv6/conf/$which/router_solicitations; done
exit 0'`;

const open = new Set<Lab>();
let handlersSet = false;
let labs = 0;

export class Lab {
  /** Temporary folder of this lab, on tmpfs where there is one. */
  readonly dir: string;
  readonly #id = `${PREFIX}-${process.pid}-${labs++}`;
  readonly #namespaces: Namespace[] = [];
  readonly #processes = new Set<Process>();

  constructor() {
    needTools(['ip', 'nsenter', 'sysctl']);
    setHandlers();
    sweep();
    open.add(this);
    this.dir = mkdtempSync(join(sharedMemory() ?? tmpdir(), `${PREFIX}-lab-${process.pid}-`));
  }

  /** A new namespace with `lo` up and cubic as congestion control (a machine's default may be one that some peers cannot bear). */
  namespace(role: string): Namespace {
    const name = `${this.#id}-${role}`;
    mustSync(['sh', '-c', MAKE, 'sh', name, join(NETNS_DIR, name)]);
    const made = new Namespace(this, role, name);
    this.#namespaces.push(made);
    return made;
  }

  spawn(argv: readonly string[], title: string, options: SpawnOptions = {}): Process {
    const [file, ...args] = argv;
    const child = spawn(file!, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      ...options,
      env: { ...LAB_ENV, ...options.env },
    });
    const made = new Process(child, title);
    this.#processes.add(made);
    void made.ended.then(() => this.#processes.delete(made));
    return made;
  }

  /** Ends what runs (politely), then removes everything. */
  async close(): Promise<void> {
    if (!open.has(this)) return;
    await Promise.all([...this.#processes].map((each) => each.stop('SIGTERM', 5)));
    this.closeNow();
  }

  /** Removes everything at once; for 'exit' handlers. */
  closeNow(): void {
    if (!open.delete(this)) return;
    for (const each of this.#processes) each.child.kill('SIGKILL');
    removeNamespaces(this.#namespaces.map(({ name }) => name));
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** Ends the processes that are still inside (a daemon's children too: the namespaces were ours alone), then unmounts them. */
function removeNamespaces(names: readonly string[]): void {
  const inodes = new Set(names.map((name) => inode(join(NETNS_DIR, name))));
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    const inside = inode(`/proc/${pid}/ns/net`);
    if (inside === undefined || !inodes.has(inside) || Number(pid) === process.pid) continue;
    try {
      process.kill(Number(pid), 'SIGKILL');
    } catch {
      // it ended by itself meanwhile
    }
  }
  const lines = names.map((name) => `netns del ${name}\n`).join('');
  spawnSync('ip', ['-force', '-batch', '-'], { env: LAB_ENV, input: lines });
}

function inode(file: string): number | undefined {
  try {
    return statSync(file).ino;
  } catch {
    return undefined; // gone, or another user's
  }
}

/** Removes what labs left whose process was killed with SIGKILL. */
function sweep(): void {
  const names = existsSync(NETNS_DIR) ? readdirSync(NETNS_DIR) : [];
  const dead = names.filter((name) => {
    const pid = new RegExp(`^${PREFIX}-(\\d+)-\\d+-`).exec(name)?.[1];
    return pid && !existsSync(`/proc/${pid}`);
  });
  if (dead.length > 0) removeNamespaces(dead);
  for (const root of new Set([sharedMemory() ?? tmpdir(), tmpdir()])) {
    for (const name of readdirSync(root)) {
      const pid = new RegExp(`^${PREFIX}-lab-(\\d+)-`).exec(name)?.[1];
      if (pid && !existsSync(`/proc/${pid}`)) rmSync(join(root, name), { recursive: true, force: true });
    }
  }
}

function setHandlers(): void {
  if (handlersSet) return;
  handlersSet = true;
  process.on('exit', () => {
    for (const lab of open) lab.closeNow();
  });
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const) {
    process.on(signal, () => process.exit(code)); // 'exit' does the work
  }
}

/** /dev/shm when this user may write there: the flow table belongs on tmpfs. */
function sharedMemory(): string | undefined {
  try {
    accessSync('/dev/shm', constants.W_OK);
    return '/dev/shm';
  } catch {
    return undefined;
  }
}

/** Throws, naming what is missing: a lab that cannot judge must fail, never pass quietly. */
export function needTools(tools: readonly string[]): void {
  const missing = tools.filter((tool) => !LAB_ENV.PATH.split(':').some((dir) => existsSync(join(dir, tool))));
  if (missing.length > 0)
    throw new Error(
      `missing program${missing.length > 1 ? 's' : ''}: ${missing.join(', ')} (run "npm run setup", which installs or names the packages)`,
    );
}
