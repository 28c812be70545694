/**
 * Kernel settings through /proc/sys.
 *
 * Names are paths below /proc/sys (`net/ipv4/conf/eth0.100/rp_filter`): interface names may hold dots, never slashes,
 * so a path is unambiguous where the dotted form is not. `sysctlPath` reads the dotted form with the rule of sysctl(8):
 * whichever of `.` and `/` comes first separates, the other one stands for its opposite inside a name.
 */
import { closeSync, existsSync, openSync, readSync, writeFileSync } from 'node:fs';

const ROOT = '/proc/sys';
/** Longest value there is: ip_local_reserved_ports with every second port (each up to 6 bytes). */
const LONGEST_VALUE = 512 * 1024;

/** `net.ipv4.conf.eth0/100.rp_filter` or `net/ipv4/conf/eth0.100/rp_filter` → the latter. */
export function sysctlPath(name: string): string {
  const dot = name.indexOf('.');
  const slash = name.indexOf('/');
  if (dot < 0 || (slash >= 0 && slash < dot)) return name;
  return name.replace(/[./]/g, (separator) => (separator === '.' ? '/' : '.'));
}

/** Path of a per-interface IPv4 setting; `all` and `default` are interfaces in this sense. */
export function confPath(interfaceName: string, setting: string, family: 'ipv4' | 'ipv6' = 'ipv4'): string {
  return `net/${family}/conf/${interfaceName}/${setting}`;
}

export function sysctlExists(path: string): boolean {
  return existsSync(fileOf(path));
}

/** The value without its trailing newline; undefined where the kernel has no such setting. */
export function readSysctl(path: string): string | undefined {
  let fd: number;
  try {
    fd = openSync(fileOf(path), 'r');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw explain('read', path, error);
  }
  try {
    // One read: the kernel gives a port bitmap in the first read or cuts it off.
    const small = Buffer.allocUnsafe(4096);
    let got = readSync(fd, small, 0, small.length, 0);
    if (got < small.length) return small.toString('utf8', 0, got).trimEnd();
    const large = Buffer.allocUnsafe(LONGEST_VALUE);
    got = readSync(fd, large, 0, large.length, 0);
    return large.toString('utf8', 0, got).trimEnd();
  } catch (error) {
    throw explain('read', path, error);
  } finally {
    closeSync(fd);
  }
}

export function writeSysctl(path: string, value: string): void {
  try {
    writeFileSync(fileOf(path), `${value}\n`, { flag: 'r+' });
  } catch (error) {
    throw explain('set', path, error);
  }
}

function fileOf(path: string): string {
  if (path.startsWith('/') || path.split('/').some((part) => part === '' || part === '..')) {
    throw new Error(`"${path}" is not a path below ${ROOT}`);
  }
  return `${ROOT}/${path}`;
}

function explain(verb: string, path: string, cause: unknown): Error {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  const remedy: Record<string, string> = {
    EROFS: '/proc/sys is mounted read-only here (a container): start it privileged, or with --sysctl for this setting',
    EACCES: 'no permission: run as root of this network namespace',
    EPERM: 'no permission: run as root of this network namespace',
    ENOENT: 'this kernel, or this interface, has no such setting (any more)',
  };
  const why = remedy[code] ?? (cause instanceof Error ? cause.message : String(cause));
  return Object.assign(new Error(`cannot ${verb} sysctl ${path}: ${why}`, { cause }), { code });
}
