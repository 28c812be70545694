/** What site links need of the host: their UDP ports free, and let in by the firewall. */
import { readFileSync } from 'node:fs';
import type { Link } from '../contract/links.js';
import { type Check, fail, ok, type Wanted, warn } from './check.js';
import { inputRefusals } from './check-netfilter.js';
import { holdersOf, readSockets } from './sockets.js';

const UNSEEN = 'a process that cannot be seen from here';

export function checkLinks(wanted: Wanted): Check[] {
  const { links } = wanted.plan;
  if (links.length === 0) return [];
  return [...checkPorts(links), ...checkInput(wanted)];
}

function checkPorts(links: readonly Link[]): Check[] {
  const held = holdersOfPorts(links.map(({ listen }) => listen));
  return links.map(({ name, listen }) => {
    const what = `UDP port ${listen} of link "${name}"`;
    if (listen === 0) return ok('links', `link "${name}" takes any free UDP port, and calls first`);
    const holder = held.get(listen);
    if (holder === undefined) return ok('links', `${what} is free`);
    // Another user's, or one that is just ending: a process that was killed leaves its sockets a moment later.
    if (holder === UNSEEN)
      return warn(
        'links',
        `${holder} holds ${what}; the link waits for it`,
        'see: sudo ss -lunp; stop it, or choose another port',
      );
    return fail('links', `${holder} holds ${what}`, `stop it, or give the link another port (wireguard.listen)`);
  });
}

/** Who holds these UDP ports, in words, as far as they can be seen; a router of ours does not count. */
export function heldPorts(ports: readonly number[]): Map<number, string> {
  return new Map([...holdersOfPorts(ports)].filter(([, holder]) => holder !== UNSEEN));
}

function holdersOfPorts(ports: readonly number[]): Map<number, string> {
  const held = new Map<number, string>();
  if (ports.every((port) => port === 0)) return held;
  const sockets = readSockets().filter(
    ({ proto, listening, port }) => proto === 'udp' && listening && ports.includes(port),
  );
  const holders = holdersOf(new Set(sockets.map(({ inode }) => inode)));
  for (const { port, inode } of sockets) {
    const holder = holders.get(inode) ?? UNSEEN;
    if (!isRouter(holder)) held.set(port, holder);
  }
  return held;
}

/** The router that runs already, or this process: a next one gets the port from it. */
function isRouter(holder: string): boolean {
  const pid = /\(pid (\d+)\)$/.exec(holder)?.[1];
  if (pid === undefined) return false;
  if (Number(pid) === process.pid) return true;
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    return words.includes('up') && words.some((word) => /(^|\/)(cli\.js|tungate)$/.test(word));
  } catch {
    return false; // it has ended
  }
}

/** A datagram from a peer passes the host's INPUT chains. What a rule wants of ports cannot be read here for certain. */
function checkInput(wanted: Wanted): Check[] {
  const ports = wanted.plan.links.flatMap(({ listen }) => (listen === 0 ? [] : [listen]));
  if (ports.length === 0) return [];
  return inputRefusals(wanted).map(({ where, maybe, remedy }) =>
    warn(
      'links',
      `${where} has policy drop${maybe ? '; one of its rules may let UDP port' : ' and no rule that lets UDP port'} ${ports.join(', ')} in`,
      ports.map(remedy).join('; '),
    ),
  );
}
