/** `tungate capture`: the daemon's pcapng stream into a file or a pipe. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { callStream } from '../control/client.js';
import { whyUnwritable } from '../control/files.js';
import { CliError, Exit, type Options, pathsOf, short, talk, text } from './verb.js';

const FILTERS = ['address', 'port', 'proto', 'point', 'snap'];

export async function run(options: Options): Promise<undefined> {
  const query = new URLSearchParams();
  for (const key of FILTERS) {
    const value = text(options, key);
    if (value !== undefined) query.set(key, value);
  }
  const limit = text(options, 'seconds');
  const seconds = Number(limit ?? 0);
  if (limit !== undefined && !(seconds > 0 && seconds <= 86_400))
    throw new CliError(Exit.USAGE, `--seconds ${limit}: more than 0, at most 86400`);
  const file = text(options, 'write') ?? '-';
  if (file === '-' && process.stdout.isTTY)
    throw new CliError(Exit.USAGE, 'a capture is no text: -w FILE, or pipe it into "tshark -r -"');
  const end = new AbortController();
  process.once('SIGINT', () => end.abort());
  process.once('SIGTERM', () => end.abort());
  if (seconds > 0) setTimeout(() => end.abort(), seconds * 1000).unref();
  let fd = -1;
  let bytes = 0;
  try {
    await callStream(
      pathsOf(options).socket,
      `/capture?${query}`,
      (piece) => {
        bytes += piece.length;
        if (file === '-') process.stdout.write(piece);
        else {
          try {
            // Only now: a request that is refused leaves no empty file. Not everybody's to read.
            if (fd < 0) fd = openSync(file, 'w', 0o600);
            for (let done = 0; done < piece.length; ) done += writeSync(fd, piece, done);
          } catch (error) {
            throw new CliError(Exit.FAILED, `${file}: ${whyUnwritable(error, file)}`);
          }
        }
      },
      end.signal,
    );
  } finally {
    if (fd >= 0) closeSync(fd);
  }
  talk(`${short(bytes)}B captured`);
}
