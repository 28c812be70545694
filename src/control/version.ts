/** The version in package.json, the only place that has it. */
import { readFileSync } from 'node:fs';

export function packageVersion(): string {
  // dist/src/control/version.js → package.json beside dist/.
  const file = new URL('../../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
