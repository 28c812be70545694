/** `tungate install-service`: the systemd unit with this machine's paths, and the user it runs as. Starts nothing. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DEFAULT_CONFIG_PATH } from '../control/defaults.js';
import { KEY_DIR, OVERLAY_DIR } from '../control/files.js';
import { CliError, Exit, type Options, talk, text } from './verb.js';

const CLI = fileURLToPath(new URL('../cli.js', import.meta.url));
const DEPLOY = fileURLToPath(new URL('../../../deploy/systemd/', import.meta.url));
const UNIT = 'etc/systemd/system/tungate.service';
const SYSUSERS = 'etc/sysusers.d/tungate.conf';
/** ProtectHome= hides them from the service, and their mode usually hides them from its user. */
const HIDDEN = /^\/(home|root|run\/user|tmp|var\/tmp)\//;

export function run(options: Options): undefined {
  const config = resolve(text(options, 'config') ?? DEFAULT_CONFIG_PATH);
  const overlays = join(dirname(config), OVERLAY_DIR);
  const keys = join(dirname(config), KEY_DIR);
  const unit = unitFor(config, overlays);
  if (options.print) {
    process.stdout.write(unit);
    return;
  }
  const root = text(options, 'root');
  for (const path of [process.execPath, realpathSync(CLI), config]) {
    if (HIDDEN.test(path) && root === undefined)
      throw new CliError(
        Exit.FAILED,
        `${path}: the service does not see what is in ${HIDDEN.exec(path)![0]}; install Node and tungate for all users (npm install -g), and keep the config in /etc/tungate`,
      );
  }
  write(root ?? '/', UNIT, unit);
  write(root ?? '/', SYSUSERS, readFileSync(join(DEPLOY, 'tungate.sysusers'), 'utf8'));
  mkdirSync(join(root ?? '/', overlays), { recursive: true, mode: 0o755 });
  mkdirSync(join(root ?? '/', keys), { recursive: true, mode: 0o700 });
  if (root !== undefined) {
    talk(`written below ${root}; on the machine itself run systemd-sysusers and "systemctl daemon-reload"`);
    return;
  }
  command('systemd-sysusers', join('/', SYSUSERS));
  // Forwards that are added at run time are kept there, by the service's user.
  command('chown', 'tungate:tungate', overlays);
  // It reads them itself, and nobody else does.
  command('chown', '-R', 'tungate:tungate', keys);
  command('systemctl', 'daemon-reload');
  talk(`installed: /${UNIT}\nnow: tungate check -c ${config} && systemctl enable --now tungate`);
}

function unitFor(config: string, overlays: string): string {
  const template = readFileSync(join(DEPLOY, 'tungate.service'), 'utf8');
  const program = `${word(process.execPath)} ${word(realpathSync(CLI))}`;
  return template
    .replaceAll('/usr/bin/tungate', () => program)
    .replace('/etc/tungate/tungate.yaml', () => word(config))
    .replace(/^(ReadWritePaths=).*$/m, (_, key: string) => key + quoted(`-${overlays}`.replaceAll('%', '%%')))
    .replace(
      /^# The router as a service\..*$/m,
      '# Written by "tungate install-service"; changes belong into "systemctl edit tungate".',
    );
}

/** A path as one word of a command line in a unit. */
function word(path: string): string {
  return quoted(path.replaceAll('%', '%%').replaceAll('$', '$$$$'));
}

function quoted(text: string): string {
  return /[\s'"\\;]/.test(text) ? `"${text.replace(/[\\"]/g, '\\$&')}"` : text;
}

function write(root: string, file: string, content: string): void {
  const path = join(root, file);
  try {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
    chmodSync(path, 0o644);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== 'EACCES' && code !== 'EPERM') throw error;
    throw new CliError(Exit.NO_PRIVILEGE, `${message}: run it as root, or look at what it would write: --print`);
  }
}

function command(file: string, ...args: string[]): void {
  const { error, status, stderr } = spawnSync(file, args, { encoding: 'utf8' });
  if (error) throw new CliError(Exit.FAILED, `${file} cannot be run (is this a systemd host?): ${error.message}`);
  if (status !== 0) throw new CliError(Exit.FAILED, `"${[file, ...args].join(' ')}" failed: ${stderr.trim()}`);
}
