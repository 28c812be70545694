/** WireGuard links in a config: what each key may hold, and what becomes of it. What the keys say together: link-wireguard-checks.ts. */
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import type { Prefix6, Words6 } from '../contract/ipv6.js';
import type { Prefix } from '../contract/plan.js';
import { isHostAddress, maskOf, parseAddress, parsePrefix, TextError } from './address.js';
import { isHostAddress6, parseAddress6, parseLength6, parsePrefix6 } from './address-ipv6.js';
import { LINK_MTU } from './defaults.js';
import { parseEndpoint } from './endpoint.js';
import { placeOf } from './errors.js';
import { isKeyText } from './key-file.js';
import { LAN_ACCESS, type LinkPolicy, type PeerConfig, type WireguardLinkConfig } from './model.js';
import { map, must, oneOrList, ranged, ruleName, show, text, word } from './schema-parts.js';

/** Of every kind of link: also the name of a socket and in metrics. */
export const linkName = text('a name', (value) => {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$/.test(value)) return value;
  throw new TextError(
    `${show(value)} cannot be the name of a link; use 1 to 15 letters, digits, ".", "_" and "-", a letter or digit first`,
  );
}).meta({ description: 'Name of the link, for `wg show`, `tungate links` and metrics.', maxLength: 15 });

const keyFile = (what: string) =>
  text(`the name of a file with ${what}`, (value) => {
    // The commonest mistake, and the one that must not be repeated in a message.
    if (isKeyText(value))
      throw new TextError(
        'is a key itself; put it into a file that only its owner can read (mode 0600), and name the file',
      );
    if (value === '' || value.includes('\0')) throw new TextError(`must be the name of a file with ${what}`);
    return value;
  });

const publicKey = text('a public key of WireGuard (44 characters of base64)', (value) => {
  if (isKeyText(value)) return value;
  throw new TextError(
    'is not a public key; it has 44 characters of base64, as `tungate pubkey` prints it on the far side',
  );
});

const ADDRESS = 'an address like 10.99.0.1/24, or one of each family';
type Own6 = { readonly words: Words6; readonly length: number };
type Own = { readonly four: { readonly address: number; readonly mask: number } } | { readonly six: Own6 };

/** `10.99.0.1/24`: an address with the length of its network, or alone. */
const hostAddress = text(ADDRESS, (value): Own => {
  if (value.includes(':')) return { six: hostAddress6(value) };
  const slash = value.indexOf('/');
  const address = parseAddress(slash < 0 ? value : value.slice(0, slash));
  const length = slash < 0 ? '32' : value.slice(slash + 1);
  if (!/^(\d|[12]\d|3[0-2])$/.test(length))
    throw new TextError(`"${value}" has a prefix length that is not 0 to 32; write an address like 10.99.0.1/24`);
  if (!isHostAddress(address))
    throw new TextError(`"${value}" cannot be the address of a host (it is loopback, multicast or reserved)`);
  return { four: { address, mask: maskOf(Number(length)) } };
});

function hostAddress6(value: string): Own6 {
  const slash = value.indexOf('/');
  const words = parseAddress6(slash < 0 ? value : value.slice(0, slash));
  if (!isHostAddress6(words))
    throw new TextError(`"${value}" cannot be an address of a link (it is loopback, multicast or link-local)`);
  return { words, length: slash < 0 ? 128 : parseLength6(value, value.slice(slash + 1)) };
}

const allowedIp = text('a prefix like 192.168.20.0/24 or 2001:db8:20::/48', parseEither);

/** IPv6 by its colon. */
function parseEither(value: string): Prefix | Prefix6 {
  return value.includes(':') ? parsePrefix6(value) : parsePrefix(value);
}

const isFour = (prefix: Prefix | Prefix6): prefix is Prefix => 'mask' in prefix;
const isSix = (prefix: Prefix | Prefix6): prefix is Prefix6 => 'words' in prefix;

const MAP = 'a text like "192.168.1.0/24 as 10.71.1.0/24", or a list of them';
const mapText = text(MAP, (value) => {
  const [inside, outside, ...more] = value.split(/\s+as\s+/);
  if (inside === undefined || outside === undefined || more.length > 0)
    throw new TextError(`${show(value)} is not a map; write OURS as SEEN, like "192.168.1.0/24 as 10.71.1.0/24"`);
  const both = { inside: parsePrefix(inside.trim()), outside: parsePrefix(outside.trim()) };
  if (both.inside.mask !== both.outside.mask)
    throw new TextError(`${show(value)} has two prefixes of different length; each address has one counterpart`);
  return both;
});

const SENDER = 'the name of a peer, a prefix like 10.99.0.2/32, or a list of them';
const sender = text(SENDER, (value): string | Prefix | Prefix6 =>
  /^[\d.]+(\/.*)?$/.test(value) || value.includes(':') ? parseEither(value) : value,
);
const OFF_ON = ['allow', 'deny'] as const;

const policySchema = map('a map like { lan: allow, internet: nat }', {
  from: oneOrList(SENDER, sender)
    .optional()
    .meta({ description: 'Senders on the far side: names of peers, prefixes; without it all of them.' }),
  lan: word('access', LAN_ACCESS).optional().meta({
    description: 'allow: LANs and far side reach each other; out: only LAN hosts begin.',
    default: 'deny',
  }),
  internet: word('access', ['nat', 'deny'])
    .optional()
    .meta({ description: 'nat: the far side reaches the internet through this router.', default: 'deny' }),
  host: word('access', OFF_ON)
    .optional()
    .meta({ description: "The far side reaches this host's own services; without it as `lan`." }),
  links: oneOrList('the name of a link, or a list of them', linkName)
    .optional()
    .meta({ description: "Links whose peers are reached; the link's own name: its peers reach each other." }),
}).meta({ description: 'Who may go where. What is not listed is refused; answers are not asked about.' });

const peerSchema = map('a map like { name: branch, public_key: …, allowed_ips: [10.99.0.2/32] }', {
  name: ruleName,
  public_key: publicKey.meta({ description: "The peer's public key." }),
  preshared_key_file: keyFile('a preshared key')
    .optional()
    .meta({ description: 'File with a key that both sides share, mode 0600.' }),
  endpoint: text('HOST:PORT', parseEndpoint)
    .optional()
    .meta({ description: 'Where the peer is. Without it the peer calls first.', examples: ['branch.example:51820'] }),
  allowed_ips: oneOrList('a prefix, or a list of them', allowedIp).meta({
    description: 'Addresses behind the peer: packets to them go to it, and only they are taken from it.',
    examples: [['10.99.0.2/32', '192.168.20.0/24', '2001:db8:20::/48']],
  }),
  keepalive: ranged(0, 65_535, 'a number of seconds from 0 (off) to 65535')
    .optional()
    .meta({ description: 'Seconds between packets that keep a NAT in between open; 0 = off.', default: 0 }),
  map: oneOrList(MAP, mapText)
    .optional()
    .meta({ description: 'The peer sees our first prefix as the second, address by address.' }),
}).meta({ description: 'A far side of the link.' });

const MTU = `auto or ${LINK_MTU.min} to ${LINK_MTU.max}`;

export const wireguardLinkSchema = map('a map like { name: hq, wireguard: {…}, address: 10.99.0.1/24, peers: […] }', {
  name: linkName,
  description: z
    .string({ error: must('a text') })
    .optional()
    .meta({ description: 'For people; has no effect.' }),
  wireguard: map('a map like { private_key_file: /etc/tungate/keys/hq, listen: 51820 }', {
    private_key_file: keyFile('a private key').meta({
      description: "File with this side's private key, mode 0600. A relative name is looked for beside the config.",
      examples: ['/etc/tungate/keys/hq'],
    }),
    listen: ranged(1, 65_535, 'a port from 1 to 65535')
      .optional()
      .meta({ description: 'UDP port; without it any free one, and this side calls first.' }),
    mtu: z
      .union([z.literal('auto', { error: must(MTU) }), ranged(LINK_MTU.min, LINK_MTU.max, MTU)], { error: must(MTU) })
      .optional()
      .meta({ description: 'Longest inner packet; auto: what the uplinks carry, less 80.', default: 'auto' }),
    mark: ranged(0, 0xffffffff, 'a number from 0 (none) to 4294967295')
      .optional()
      .meta({ description: 'Mark (SO_MARK) of the encrypted datagrams, for `ip rule` and firewalls.', default: 0 }),
  }).meta({ description: 'This side of a WireGuard link.' }),
  address: oneOrList(ADDRESS, hostAddress)
    .optional()
    .meta({
      description: "This router's own address in the link, at most one of each family.",
      examples: ['10.99.0.1/24', ['10.99.0.1/24', 'fd99::1/64']],
    }),
  peers: z.array(peerSchema, { error: must('a list of peers') }).meta({ description: 'The far sides.' }),
  policy: oneOrList('a map like { lan: allow }, or a list of them', policySchema)
    .optional()
    .meta({ description: 'Who may go where; the first entry that fits the sender decides.' }),
}).meta({ description: 'WireGuard link to other sites.' });

export type WireguardLinkRaw = z.output<typeof wireguardLinkSchema>;

// ---- What becomes of it.

export function makeWireguardLink(raw: WireguardLinkRaw, origin: string): WireguardLinkConfig {
  const { wireguard } = raw;
  const own = ownAddresses(raw.address ?? []);
  const beside = (file: string) => resolve(dirname(placeOf(origin).file), file);
  return {
    kind: 'wireguard',
    name: raw.name,
    description: raw.description ?? '',
    privateKeyFile: beside(wireguard.private_key_file),
    listen: wireguard.listen ?? 0,
    mtu: wireguard.mtu === undefined || wireguard.mtu === 'auto' ? 0 : wireguard.mtu,
    mark: wireguard.mark ?? 0,
    address: own.four,
    address6: own.six,
    peers: raw.peers.map(
      (peer): PeerConfig => ({
        name: peer.name,
        publicKey: peer.public_key,
        presharedKeyFile: peer.preshared_key_file === undefined ? '' : beside(peer.preshared_key_file),
        endpoint: peer.endpoint ?? null,
        allowedIps: peer.allowed_ips.filter(isFour),
        allowedIps6: peer.allowed_ips.filter(isSix),
        keepalive: peer.keepalive ?? 0,
        maps: peer.map ?? [],
      }),
    ),
    policy: (raw.policy ?? []).map(makePolicy),
    origin,
  };
}

function ownAddresses(list: readonly Own[]): {
  readonly four: WireguardLinkConfig['address'];
  readonly six: WireguardLinkConfig['address6'];
} {
  const four = list.flatMap((item) => ('four' in item ? [item.four] : []));
  const six = list.flatMap((item) => ('six' in item ? [item.six] : []));
  for (const [family, { length }] of [
    ['IPv4', four],
    ['IPv6', six],
  ] as const)
    if (length > 1)
      throw new TextError(`has ${length} ${family} addresses in \`address\`; a link has one of each family`);
  return { four: four[0] ?? null, six: six[0] ?? null };
}

function makePolicy(raw: z.output<typeof policySchema>): LinkPolicy {
  const lan = raw.lan ?? 'deny';
  const senders = (raw.from ?? []).filter((item) => typeof item !== 'string');
  return {
    peers: (raw.from ?? []).filter((item) => typeof item === 'string'),
    from: senders.filter(isFour),
    from6: senders.filter(isSix),
    lan,
    internet: raw.internet === 'nat',
    host: raw.host === undefined ? lan === 'allow' : raw.host === 'allow',
    links: raw.links ?? [],
  };
}
