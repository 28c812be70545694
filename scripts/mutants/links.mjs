// Ways to break site links beside the protocol: config, plan, what devices are told, routes of the host.
import { inFile, mutant } from './collect.mjs';

inFile('src/link/wireguard/cookie.ts', 'link/wireguard/interop');
mutant(60, 'two of us agree on a MAC that nobody else makes', "encode('mac1----')", "encode('mac1-----')");

inFile('src/control/link-device.ts', 'control/site-links');
mutant(59, 'a reload replaces the peers', '`set=1\\n${lines', '`set=1\\nreplace_peers=true\\n${lines');
mutant(59, 'port and mark are whoever wants them', 'if (value !== 0 && value !== is)', 'if (value < 0)');
mutant(59, 'a peer that is gone stays in the device', "'remove=true'", "'update_only=true'");

inFile('src/control/site-links.ts', 'control/site-links');
mutant(58, 'a reload calls a peer back that has roamed', "told ? { ...peer, endpoint: '' } : peer", 'peer');
mutant(58, 'silence asks nobody', 'this.#names.silent(host);', '');
mutant(59, 'policy does not hear of wg(8)', 'await this.#observe(site);', '');
mutant(54, 'a worker that was started again knows no keys', 'if (!message.fresh) return;', 'return;');

inFile('src/control/compile-links.ts', 'control/links-compile');
mutant(
  58,
  'the way to an endpoint leads into its link',
  '!endpoints.some((address) => contains(prefix, address)) &&',
  '',
);
mutant(8, 'an entry for peers that are gone is for everybody', 'if (!anybody && from.length === 0) return [];', '');
mutant(
  65,
  'a link has its port from the pool',
  '.filter(({ listen }) => listen !== 0)',
  '.filter(({ listen }) => listen < 0)',
);

inFile('src/control/key-file.ts', 'control/links-config');
mutant(59, 'a key that others may read is taken', 'if ((mode & OTHERS) !== 0) {', 'if (mode < 0) {');
