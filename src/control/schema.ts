/**
 * The shape of a config file, as zod schemas: what each key may hold, judged key by key. What several keys say together
 * (overlaps, targets outside every LAN) is judged in checks.ts. The JSON schema for editors is made from the same schemas.
 *
 * Each leaf turns its text into the value that the rest of the program works with (addresses to int32, ports to intervals),
 * so that nothing behind this file reads text again.
 */
import { z } from 'zod';
import { HELPERS } from '../contract/plan.js';
import { parseAddress, TextError } from './address.js';
import {
  type Bound,
  DEFAULT_METRICS,
  DEFAULT_PORTS,
  DEFAULT_TUN,
  FORWARD_LIMITS,
  LIMITS,
  MAX_ADDRESSES,
  MAX_WORKERS,
  TIMEOUTS,
} from './defaults.js';
import { parseForwardText, parseTarget } from './forward-text.js';
import { linkSchema } from './link-kinds.js';
import { parseListen } from './listen.js';
import { LOG_FORMATS, LOG_LEVELS, TRANSLATION_LOGS } from './model.js';
import {
  address,
  bounded,
  flag,
  interfaceName,
  map,
  must,
  oneOrList,
  ports,
  prefix,
  prefix6,
  prefixes,
  ranged,
  ruleName,
  show,
  text,
  word,
} from './schema-parts.js';

const autoOrAddress = text('auto or an IPv4 address', (value) =>
  value === 'auto' ? ('auto' as const) : parseAddress(value),
);

export const uplinkSchema = map('a map like { interface: vmbr0, address: auto }', {
  interface: interfaceName,
  address: oneOrList('auto, an IPv4 address, or a list of them', autoOrAddress)
    .optional()
    .meta({
      description: `Public address: auto (the interface's first one), an address, or a list. All uplinks together have at most ${MAX_ADDRESSES}.`,
      default: 'auto',
    }),
  ports: ports.optional().meta({
    description: 'Ports that translated flows leave from; ports of forwards are taken out of them.',
    default: DEFAULT_PORTS,
    examples: ['20000-49999', '20000-29999,40000-59999,~25000-25010'],
  }),
}).meta({ description: 'The way to the internet.' });

export const lanSchema = map('a map like { interface: vmbr1, subnet: 192.168.7.0/24 }', {
  interface: interfaceName,
  subnet: prefix.meta({
    description: 'IPv4 subnet of the inside hosts on this interface.',
    examples: ['172.22.161.0/24'],
  }),
  ipv6: oneOrList('an IPv6 prefix like 2001:db8:1::/64, or a list of them', prefix6)
    .optional()
    .meta({
      description: 'IPv6 prefixes of these hosts, for site links; the host has an address in each.',
      examples: ['2001:db8:1::/64'],
    }),
}).meta({ description: 'An inside network; its hosts use this router as gateway.' });

const forwardMap = map('a text like "2222:192.168.7.10:22/tcp", or a map with `to`', {
  name: ruleName.optional(),
  description: z
    .string({ error: must('a text') })
    .optional()
    .meta({ description: 'For people; has no effect.' }),
  ports: ports.optional().meta({ description: 'Public ports.', examples: [2222, '30000-30099', '10000-10999,~10500'] }),
  to: text('a target like 192.168.7.10, 192.168.7.10:22 or 192.168.7.10:8000-8099', parseTarget).meta({
    description: 'Inside host, with a port or a range as long as `ports`, or nothing for the same ports.',
  }),
  proto: oneOrList('tcp, udp, icmp, all, or a list of them', word('protocol', ['tcp', 'udp', 'icmp', 'all']))
    .optional()
    .meta({ description: 'Protocols that are forwarded.', default: 'tcp' }),
  from: prefixes.optional().meta({ description: 'Only these sources; without it anybody.' }),
  address: oneOrList('an IPv4 address or a list of them', address)
    .optional()
    .meta({ description: 'Public addresses it listens on; without it all of them.' }),
  max_flows: bounded(FORWARD_LIMITS.max_flows, ''),
  max_rate: bounded(FORWARD_LIMITS.max_rate, ''),
});

export const forwardSchema = z
  .union(
    [
      text('a forward', parseForwardText).meta({
        description: '"[ADDRESS:]PORTS:TARGET[:PORTS][/PROTO]"',
        examples: ['10000-10999:172.22.161.170:10000-10999/tcp'],
      }),
      forwardMap,
    ],
    { error: must('a text like "2222:192.168.7.10:22/tcp", or a map with `to`') },
  )
  .meta({ description: 'Public ports that reach an inside host.' });

const KINDS = ['endpoint-independent', 'endpoint-dependent'] as const;
const FILTERS = ['endpoint-independent', 'address-dependent', 'address-and-port-dependent'] as const;

export const natSchema = map('a map like { to: [10.0.0.0/8], translate: false }', {
  name: ruleName.optional(),
  from: prefixes.optional().meta({ description: 'Inside sources; without it all.' }),
  to: prefixes.optional().meta({ description: 'Destinations; without it all.' }),
  proto: oneOrList('tcp, udp, icmp, or a list of them', word('protocol', ['tcp', 'udp', 'icmp']))
    .optional()
    .meta({ description: 'Protocols; without it all.' }),
  translate: flag(true, 'false: these flows leave with their own source address.'),
  mapping: word('mapping', KINDS).optional().meta({
    description: 'endpoint-independent: one public port for all that an inside port talks to (RFC 4787).',
    default: KINDS[0],
  }),
  filtering: word('filtering', FILTERS).optional().meta({
    description:
      'Who may send to a mapped port: anybody, addresses that were talked to, or only the same address and port.',
    default: FILTERS[1],
  }),
  address: address.optional().meta({ description: 'Public address that these flows leave from.' }),
}).meta({ description: 'Rule for outbound flows; the first match wins.' });

const bounds = (table: Readonly<Record<string, Bound>>, unit: string) =>
  Object.fromEntries(Object.entries(table).map(([key, bound]) => [key, bounded(bound, unit)]));

const moment = text('a moment like 2030-01-31T12:00:00Z', (value) => {
  // Without a zone it would mean another moment on another machine.
  const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)$/.test(value) ? Date.parse(value) : Number.NaN;
  if (Number.isNaN(time)) throw new TextError(`${show(value)} is not a moment; write one like 2030-01-31T12:00:00Z`);
  return Math.floor(time / 1000);
});

const BLOCK = 'an IPv4 prefix like 192.0.2.0/24, or a map with `address`';

export const blockSchema = z
  .union(
    [
      prefix,
      map(BLOCK, {
        address: prefix.meta({ description: 'Address or prefix.' }),
        until: moment.optional().meta({
          description: 'When the entry ends; without it never.',
          examples: ['2030-01-31T12:00:00Z'],
        }),
      }),
    ],
    { error: must(BLOCK) },
  )
  .transform((value) => ('address' in value ? { ...value.address, until: value.until ?? 0 } : { ...value, until: 0 }))
  .meta({ description: 'Address or prefix that nothing is exchanged with.' });

const PORT_BLOCKS = [0, 32, 64, 128, 256, 512, 1024, 2048, 4096] as const;
const PORT_BLOCK = '0 or a power of two from 32 to 4096';
const WORKERS = `auto or 1 to ${MAX_WORKERS}`;

/** Sections that are lists: judged item by item, so that one bad item hides nothing about the others. */
export const LIST_SECTIONS = {
  uplinks: uplinkSchema,
  lans: lanSchema,
  forwards: forwardSchema,
  nat: natSchema,
  block: blockSchema,
  links: linkSchema,
} as const;

/** All other sections, judged as a whole. */
export const SECTIONS = {
  uplink: uplinkSchema,
  limits: map('a map', bounds(LIMITS, '')).meta({ description: 'Sizes.' }),
  timeouts: map('a map', bounds(TIMEOUTS, ' of seconds')).meta({ description: 'Seconds.' }),
  metrics: map('a map like { listen: 127.0.0.1:9469 }', {
    listen: text('off, or an address and a port like 127.0.0.1:9469', parseListen)
      .optional()
      .meta({ description: 'Address and port of the Prometheus endpoint, or off.', default: DEFAULT_METRICS }),
  }),
  tun: map('a map like { name: tungate0 }', {
    name: interfaceName.optional().meta({ description: 'Name of the TUN device.', default: DEFAULT_TUN }),
  }),
  workers: z
    .union([z.literal('auto', { error: must(WORKERS) }), ranged(1, MAX_WORKERS, WORKERS)], { error: must(WORKERS) })
    .meta({ description: 'Worker threads; auto = one a core, less one.', default: 'auto' }),
  log: map('a map like { level: info }', {
    level: word('level', LOG_LEVELS).optional().meta({ description: 'Least level that is logged.', default: 'info' }),
    format: word('format', LOG_FORMATS)
      .optional()
      .meta({ description: 'auto: text on a terminal, JSON otherwise.', default: 'auto' }),
    translations: word('translations', TRANSLATION_LOGS).optional().meta({
      description: 'Logs each port block, each mapping, or each flow, as it begins and ends (RFC 6888 REQ-12, REQ-14).',
      default: 'off',
    }),
  }),
  reject_unsolicited: flag(
    false,
    'A TCP SYN to a pool port that nobody holds is answered with ICMP 3/3 after 6 seconds (RFC 5382 REQ-4).',
  ).unwrap(),
  inbound_refresh: flag(false, 'Packets from outside keep a UDP mapping alive too (RFC 4787 REQ-6).').unwrap(),
  parity: flag(true, 'An odd source port gets an odd public port, an even one an even (RFC 4787 REQ-4).').unwrap(),
  port_blocks: z.literal(PORT_BLOCKS, { error: must(PORT_BLOCK) }).meta({
    description:
      'Ports that an inside host takes at a time, so that `log.translations: blocks` needs one line for all of them; 0 = one by one.',
    default: 0,
  }),
  watch: flag(false, 'Reload by itself when this file or one in conf.d beside it changes.').unwrap(),
  helpers: z.array(word('helper', HELPERS), { error: must('a list like [ftp], or []') }).meta({
    description:
      'Protocols whose payload is read, so that addresses in it work behind NAT (RFC 4787 REQ-10: off by default).',
    default: [],
    examples: [['ftp']],
  }),
} as const;

/** Top-level keys, in the order in which docs and messages name them. */
export const TOP_KEYS: readonly string[] = [
  'uplink',
  'uplinks',
  'lans',
  'forwards',
  'nat',
  'block',
  'links',
  'limits',
  'timeouts',
  'metrics',
  'tun',
  'workers',
  'log',
  'inbound_refresh',
  'reject_unsolicited',
  'parity',
  'port_blocks',
  'watch',
  'helpers',
];

/** JSON schema (draft 2020-12) of a config file, for editors. */
export function jsonSchema(): object {
  const list = (item: z.ZodType, description: string) => z.array(item).meta({ description });
  const file = z.strictObject({
    uplink: SECTIONS.uplink.optional(),
    uplinks: list(uplinkSchema, 'Several uplinks; instead of `uplink`.').min(1).optional(),
    lans: list(lanSchema, 'Inside networks.').min(1).optional(),
    forwards: list(forwardSchema, 'Public ports that reach inside hosts.').optional(),
    nat: list(natSchema, 'Rules for outbound flows; the first match wins.').optional(),
    block: list(blockSchema, 'Addresses that nothing is exchanged with.').optional(),
    links: list(linkSchema, 'Site links.').optional(),
    limits: SECTIONS.limits.optional(),
    timeouts: SECTIONS.timeouts.optional(),
    metrics: SECTIONS.metrics.optional(),
    tun: SECTIONS.tun.optional(),
    workers: SECTIONS.workers.optional(),
    log: SECTIONS.log.optional(),
    inbound_refresh: SECTIONS.inbound_refresh.optional(),
    reject_unsolicited: SECTIONS.reject_unsolicited.optional(),
    parity: SECTIONS.parity.optional(),
    port_blocks: SECTIONS.port_blocks.optional(),
    watch: SECTIONS.watch.optional(),
    helpers: SECTIONS.helpers.optional(),
  });
  const schema = z.toJSONSchema(file, {
    io: 'input',
    reused: 'inline',
    override: ({ zodSchema, jsonSchema }) => {
      // zod leaves these out where a value is transformed, as they could be meant for the result; ours are what one writes.
      const meta = z.globalRegistry.get(zodSchema as unknown as z.ZodType);
      for (const key of ['default', 'examples'] as const)
        if (meta?.[key] !== undefined) jsonSchema[key] = meta[key] as never;
    },
  });
  return {
    $id: 'tungate.schema.json',
    title: 'tungate config',
    ...schema,
    not: { required: ['uplink', 'uplinks'] },
    anyOf: [{ required: ['uplink', 'lans'] }, { required: ['uplinks', 'lans'] }, { required: ['links'] }],
  };
}
