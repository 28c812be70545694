/**
 * Everything that can be known before packets flow: behind `tungate doctor`, and behind `up`, which refuses to start on
 * any check that `blocks`. A check never changes what exists: the kernel's abilities are tried on a TUN device of its own that is
 * gone when the check ends.
 */
import type { World } from '../contract/world.js';
import type { Check, PreflightInput } from './check.js';
import { fail } from './check.js';
import { checkLinks } from './check-links.js';
import { checkMachine } from './check-machine.js';
import { checkNetfilter } from './check-netfilter.js';
import { checkNetwork } from './check-network.js';
import { checkSockets } from './check-sockets.js';

/** `input` undefined: the machine alone (`tungate doctor` without a config). Never throws. */
export function preflight(input: PreflightInput | undefined, world: World): Check[] {
  const parts: [string, () => Check[]][] = [['machine', () => checkMachine(input?.tun)]];
  if (input) {
    const wanted = { ...input, world };
    parts.push(
      ['network', () => checkNetwork(wanted)],
      ['sockets', () => checkSockets(wanted)],
      ['netfilter', () => checkNetfilter(wanted)],
      ['links', () => checkLinks(wanted)],
    );
  }
  return parts.flatMap(([name, run]) => {
    try {
      return run();
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      return [
        fail(name, `could not be checked: ${why}`, 'run as root of this network namespace, or mend what is named'),
      ];
    }
  });
}
