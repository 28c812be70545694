/**
 * `tungate wg NAME`: a WireGuard interface without a router, set up by wg(8) and wg-quick(8). Understands what wireguard-go does: -f, LOG_LEVEL
 * (silent, error, verbose), WG_TUN_FD, WG_PROCESS_FOREGROUND.
 */
import { inBackground, report, startInBackground } from '../wg/background.js';
import { CliError, Exit, type Options, talk } from './verb.js';

const LEVELS = ['silent', 'error', 'verbose'] as const;
type Level = (typeof LEVELS)[number];

export async function run(options: Options, args: readonly string[]): Promise<number> {
  const [name] = args;
  if (name === undefined || args.length > 1)
    throw new CliError(Exit.USAGE, 'which interface? For example: tungate wg wg0');
  if (!/^[A-Za-z0-9_=+.-]{1,15}$/.test(name) || name === '.' || name === '..') {
    throw new CliError(Exit.USAGE, `"${name}" cannot be an interface: 1 to 15 letters, digits or _ = + . -`);
  }
  const level = levelOf(process.env.LOG_LEVEL);
  const tunFd = tunFdOf(process.env.WG_TUN_FD);
  if (inBackground()) return work(name, tunFd, level, true);
  if (options.foreground === true || process.env.WG_PROCESS_FOREGROUND === '1') return work(name, tunFd, level, false);
  // As wireguard-go: in the background it is silent unless a level was asked for.
  const loud = process.env.LOG_LEVEL !== undefined && level !== 'silent';
  const words = await startInBackground(['wg', name], tunFd, loud);
  if ('failed' in words) throw new CliError(Exit.FAILED, words.failed);
  return Exit.OK;
}

async function work(name: string, tunFd: number | undefined, level: Level, background: boolean): Promise<number> {
  const log = (kind: 'error' | 'info', text: string) => {
    if (level === 'verbose' || (level === 'error' && kind === 'error'))
      talk(`${kind.toUpperCase()}: (${name}) ${text}`);
  };
  const ready = () => {
    if (background) report({ ready: true });
  };
  try {
    const { runBareDevice } = await import('../wg/main.js');
    const code = await runBareDevice({ name, tunFd, log, ready });
    process.exit(code);
  } catch (error) {
    const { message, code } = error as NodeJS.ErrnoException;
    if (background) report({ failed: message });
    throw new CliError(code === 'EPERM' || code === 'EACCES' ? Exit.NO_PRIVILEGE : Exit.FAILED, message);
  }
}

function levelOf(text: string | undefined): Level {
  if (text === 'debug' || text === 'info') return 'verbose'; // as older versions of wireguard-go had it
  return LEVELS.find((level) => level === text) ?? 'error';
}

function tunFdOf(text: string | undefined): number | undefined {
  if (text === undefined || text === '') return undefined;
  if (!/^\d{1,6}$/.test(text))
    throw new CliError(Exit.USAGE, `WG_TUN_FD must be the number of a descriptor, not "${text}"`);
  return Number(text);
}
