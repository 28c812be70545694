/**
 * A wg-quick file → an item for `links:`, and the keys that go into files of their own. Pure: texts in, texts out.
 *
 * What a router does otherwise is said, with the line: routes and tables (the router makes its own), DNS, SaveConfig. What it must not do is
 * refused by the parser: hooks, which are shell commands run as root.
 */
import { stringify } from 'yaml';
import { parseWgQuick, type WgQuickConfig, WgQuickError, type WgQuickPeer } from '../link/wireguard/wg-quick.js';
import { formatAddress, maskOf } from './address.js';
import { formatPrefix6, masked } from './address-ipv6.js';
import { formatEndpoint } from './endpoint.js';

export interface ImportedKey {
  readonly file: string;
  /** The caller wipes it. */
  readonly key: Uint8Array;
}

export interface Imported {
  /** A config file that adds the link. */
  readonly yaml: string;
  readonly keys: readonly ImportedKey[];
  /** `file:line: what`: what was left out or is done otherwise. */
  readonly notes: readonly string[];
}

export interface ImportNames {
  /** What the file is called in messages. */
  readonly file: string;
  readonly link: string;
  /** Folder of key files, as it is to stand in the config. */
  readonly keys: string;
}

export class ImportRefused extends Error {
  constructor(readonly problems: readonly string[]) {
    super(problems.join('\n'));
  }
}

/** Throws ImportRefused with every problem. */
export function importWgQuick(text: string, names: ImportNames): Imported {
  let quick: WgQuickConfig;
  try {
    quick = parseWgQuick(text, names.file);
  } catch (error) {
    if (error instanceof WgQuickError) throw new ImportRefused(error.problems);
    throw error;
  }
  const at = (key: string, nth = 0) => `${names.file}:${lineOf(text, key, nth)}`;
  if (quick.privateKey === undefined)
    throw new ImportRefused([`${at('[interface]')}: [Interface] has no PrivateKey; a link needs one`]);
  const notes: string[] = [];
  const keys: ImportedKey[] = [{ file: `${names.keys}/${names.link}`, key: quick.privateKey }];
  const peers = peersOf(text, quick, names, keys, notes);
  const { addresses, table, mtu, listenPort, fwmark } = quick;
  const four = addresses.filter((address) => !address.includes(':'));
  const six = addresses.filter((address) => address.includes(':'));
  for (const family of [four, six])
    if (family.length > 1)
      notes.push(`${at('address')}: only ${family[0]} is taken; a link has one address of each family`);
  const own = [...four.slice(0, 1), ...six.slice(0, 1)];
  if (table !== undefined)
    notes.push(`${at('table')}: Table = ${table} is left out; the router makes the routes that it needs`);
  if (quick.dns.length > 0)
    notes.push(`${at('dns')}: DNS is left out; what this host and its LANs ask is not the router's to change`);
  if (quick.saveConfig)
    notes.push(`${at('saveconfig')}: SaveConfig is left out; \`wg set\` holds until the next reload`);
  const link = {
    name: names.link,
    wireguard: {
      private_key_file: keys[0]!.file,
      ...(listenPort !== undefined && listenPort > 0 && { listen: listenPort }),
      ...(mtu !== undefined && { mtu }),
      ...(fwmark !== undefined && fwmark > 0 && { mark: fwmark }),
    },
    ...(own.length > 0 && { address: own.length === 1 ? own[0] : own }),
    peers,
  };
  return { yaml: asYaml(link, names.file), keys, notes };
}

function peersOf(
  text: string,
  quick: WgQuickConfig,
  names: ImportNames,
  keys: ImportedKey[],
  notes: string[],
): object[] {
  const called = peerNames(text, quick.peers.length);
  return quick.peers.flatMap((peer, index) => {
    const where = `${names.file}:${lineOf(text, '[peer]', index)}`;
    const name = called[index]!;
    const allowed = prefixesOf(peer);
    if (allowed.length === 0) {
      notes.push(`${where}: peer "${name}" is left out, it has no AllowedIPs`);
      return [];
    }
    for (const all of allowed.filter((text) => text === '0.0.0.0/0' || text === '::/0'))
      notes.push(
        `${where}: AllowedIPs ${all} of peer "${name}": LAN hosts go to the internet by this link once its policy lets them; this host itself does not`,
      );
    const psk = peer.presharedKey && { file: `${names.keys}/${names.link}-${name}.psk`, key: peer.presharedKey };
    if (psk) keys.push(psk);
    return [
      {
        name,
        public_key: Buffer.from(peer.publicKey).toString('base64'),
        ...(psk && { preshared_key_file: psk.file }),
        ...(peer.endpoint && { endpoint: formatEndpoint(peer.endpoint) }),
        allowed_ips: allowed,
        ...(peer.keepalive > 0 && { keepalive: peer.keepalive }),
      },
    ];
  });
}

/** Host bits are cut off, as WireGuard does; each prefix once. */
function prefixesOf({ allowedIps }: WgQuickPeer): string[] {
  const text = ({ family, words, length }: WgQuickPeer['allowedIps'][number]) => {
    if (family === 4) return `${formatAddress(words[0]! & maskOf(length))}/${length}`;
    const [a = 0, b = 0, c = 0, d = 0] = words;
    return formatPrefix6({ words: masked([a, b, c, d], length), length });
  };
  return [...new Set(allowedIps.map(text))];
}

/** 1-based line of the nth `Key =` or `[Section]`. */
function lineOf(text: string, key: string, nth: number): number {
  const lines = text.split(/\r?\n/).map((line) => line.trim().toLowerCase());
  const is = (line: string) => (key.startsWith('[') ? line.startsWith(key) : line.split('=')[0]!.trim() === key);
  const found = lines.flatMap((line, index) => (is(line) ? [index + 1] : []));
  return found[nth] ?? 1;
}

/** From the comment in front of a [Peer], behind it, or in its first line: `# branch`, `# Name = branch`, `### Client branch`. */
function peerNames(text: string, count: number): string[] {
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  const comment = (line: string | undefined) => /#+\s*(.*)$/.exec(line ?? '')?.[1] ?? '';
  const taken = new Set<string>();
  const starts = lines.flatMap((line, index) => (/^\[peer\]/i.test(line) ? [index] : []));
  return Array.from({ length: count }, (_, peer) => {
    const at = starts[peer]!;
    const before = lines[at - 1]?.startsWith('#') ? lines[at - 1] : '';
    const after = lines[at + 1]?.startsWith('#') ? lines[at + 1] : '';
    const words = [lines[at], before, after].map(comment).map(nameFrom);
    const name = words.find((word) => word !== '' && !taken.has(word)) ?? `peer${peer + 1}`;
    taken.add(name);
    return name;
  });
}

/** '' where a comment is not a name but a sentence, or a line that was commented out. */
function nameFrom(comment: string): string {
  const bare = comment.replace(/^(friendly_?name|name|client|peer)\s*[=:]?\s+/i, '').trim();
  const name = bare.replace(/[^A-Za-z0-9._-]+/g, '-').replace(/^[^A-Za-z0-9]+|-+$/g, '');
  const sentence = bare.split(/\s+/).length > 4 || bare.includes('=');
  return sentence || name.length > 40 || name === 'default' ? '' : name;
}

function asYaml(link: object, file: string): string {
  const item = stringify([link], { lineWidth: 0, indent: 2 });
  const indented = item.replace(/^(?=.)/gm, '  ');
  return [
    `# From ${file} by "tungate link import". Keys are in the files that are named here.`,
    'links:',
    indented.trimEnd(),
    '    # Who may go where. What is not listed is refused:',
    '    # policy: { lan: allow }                      # LANs and the far side reach each other',
    '    # policy: { lan: allow, internet: nat }       # and the far side goes to the internet by this router',
    '',
  ].join('\n');
}
