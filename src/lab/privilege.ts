/**
 * Root where there is none: the whole command runs again in a user namespace of its own (`unshare -Urnm`), where it may make
 * network namespaces and a TUN device and can touch nothing of the machine. A private tmpfs on /run lets `ip netns` keep its
 * names there. Where the system forbids user namespaces, the setting that forbids them is named.
 */
import { spawn, spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { LAB_ENV } from './namespace.js';

/** The command line that runs `argv` as root of a user namespace. */
export function asNamespaceRoot(argv: readonly string[]): string[] {
  return [
    'unshare',
    '--user',
    '--map-root-user',
    '--net',
    '--mount',
    '--propagation',
    'private',
    'sh',
    '-c',
    'mount -t tmpfs tungate-lab /run && ip link set lo up && exec "$@"',
    'sh',
    ...argv,
  ];
}

/** Empty when user namespaces work here, otherwise what forbids them and the remedy. */
export function userNamespaceProblem(): string {
  const attempt = spawnSync('unshare', ['--user', '--map-root-user', '--net', '--mount', 'true'], {
    env: LAB_ENV,
    encoding: 'utf8',
  });
  if (attempt.status === 0) return '';
  const switches: readonly [file: string, forbids: string, remedy: string][] = [
    ['/proc/sys/kernel/unprivileged_userns_clone', '0', 'sysctl -w kernel.unprivileged_userns_clone=1'],
    [
      '/proc/sys/kernel/apparmor_restrict_unprivileged_userns',
      '1',
      'sysctl -w kernel.apparmor_restrict_unprivileged_userns=0',
    ],
    ['/proc/sys/user/max_user_namespaces', '0', 'sysctl -w user.max_user_namespaces=15000'],
    ['/proc/sys/user/max_net_namespaces', '0', 'sysctl -w user.max_net_namespaces=15000'],
  ];
  const guilty = switches.filter(
    ([file, forbids]) => existsSync(file) && readFileSync(file, 'utf8').trim() === forbids,
  );
  const remedy =
    guilty.map(([, , command]) => command).join('; ') || 'a container runtime or a security module forbids it';
  return `neither root nor user namespaces: ${attempt.error?.message ?? attempt.stderr.trim()} (run it as root, or: ${remedy})`;
}

/** Empty when this user may open the TUN device, which even root of a user namespace needs; otherwise the remedy. */
export function tunDeviceProblem(): string {
  try {
    accessSync('/dev/net/tun', constants.R_OK | constants.W_OK);
    return '';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT'
      ? '/dev/net/tun is missing (remedy: modprobe tun; in a container: --device=/dev/net/tun)'
      : '/dev/net/tun may not be opened by this user (run it as root, or: chmod 666 /dev/net/tun, which is what udev sets)';
  }
}

/**
 * Call first in a program that builds a lab. Root goes on; anybody else gets the same program again inside a user
 * namespace and this call never returns (the exit code is passed on).
 */
export async function becomeNamespaceRoot(): Promise<void> {
  if (process.getuid?.() === 0) return;
  const problem = userNamespaceProblem() || tunDeviceProblem();
  if (problem) {
    process.stderr.write(`${problem}\n`);
    process.exit(77);
  }
  const [file, ...args] = asNamespaceRoot([process.execPath, ...process.execArgv, ...process.argv.slice(1)]);
  const child = spawn(file!, args, { stdio: 'inherit', env: LAB_ENV });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal));
  const code = await new Promise<number>((resolve) => child.once('exit', (status) => resolve(status ?? 1)));
  process.exit(code);
}
