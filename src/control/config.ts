/**
 * Text of a config file → Config, or every error in it at once.
 *
 *   1 source.ts   YAML → plain value with positions
 *   2 schema.ts   each section, lists item by item: kinds, grammars, bounds, unknown keys
 *   3 here        items that are right get their defaults and become parts of a Config
 *   4 checks.ts   what the parts say together: overlaps, targets outside every LAN, names used twice
 *
 * A part that is wrong in step 2 is left out of step 4, and step 4 says nothing that only follows from such a hole.
 */
import { readFileSync } from 'node:fs';
import type { z } from 'zod';
import { Filtering, Mapping, type Timeouts } from '../contract/plan.js';
import { TextError } from './address.js';
import { crossCheck, type Item, type Parts } from './checks.js';
import { DEFAULT_METRICS, DEFAULT_PORTS, DEFAULT_TUN, LIMITS, TIMEOUTS } from './defaults.js';
import { sortErrors, unknownWord } from './errors.js';
import { buildForward, natName } from './forward.js';
import { parseListen } from './listen.js';
import type { Config, ConfigError, LanConfig, NatConfig, Result, UplinkConfig } from './model.js';
import { parsePorts } from './ports.js';
import { LIST_SECTIONS, type natSchema, SECTIONS, show, TOP_KEYS, type uplinkSchema } from './schema.js';
import { type Path, type Position, pathText, readSource, type Source } from './source.js';

/** Reads and judges a file. A file that is missing or unreadable is an error like any other. */
export function loadConfig(path: string): Result {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(path));
  } catch (error) {
    return { errors: [{ file: path, line: 0, col: 0, path: '', message: whyUnreadable(error) }] };
  }
  return parseConfig(text, path);
}

function whyUnreadable(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  switch (code) {
    case 'ENOENT':
      return 'no such file; `tungate init` writes a config for this host to start from';
    case 'EACCES':
    case 'EPERM':
      return 'not permitted to read it; run as root or correct its mode';
    case 'EISDIR':
      return 'is a folder; name the file in it';
    case 'ERR_ENCODING_INVALID_ENCODED_DATA':
      return 'is not UTF-8 text';
    default:
      return `cannot be read: ${message}`;
  }
}

/** Judges a text; `file` is only what errors and origins call it. Never throws. */
export function parseConfig(text: string, file: string): Result {
  const reader = new Reader(text, file);
  const { source, errors } = reader;
  if (errors.length > 0) return { errors: sortErrors(errors) };
  const root = source.value;
  if (root === null || root === undefined) {
    reader.fail([], 'is empty; it needs at least `uplink` and `lans` (`tungate init` writes a config to start from)');
    return { errors };
  }
  if (typeof root !== 'object' || Array.isArray(root)) {
    reader.fail([], `must be a map with keys like \`uplink\` and \`lans\`, not ${show(root)}`);
    return { errors };
  }
  const sections = root as Sections;
  for (const key of Object.keys(sections)) {
    if (!TOP_KEYS.includes(key)) reader.failKey([key], unknownWord('key', key, TOP_KEYS));
  }
  const only = reader.section(sections, 'uplink');
  const uplinks = reader.items(sections, 'uplinks');
  if (only !== undefined) uplinks.unshift({ path: ['uplink'], origin: reader.origin(['uplink']), value: only });
  const parts: Parts = {
    uplinks: reader.build(uplinks, makeUplink),
    lans: reader.build(reader.items(sections, 'lans'), (lan, origin): LanConfig => ({ ...lan, origin })),
    forwards: reader.build(reader.items(sections, 'forwards'), buildForward),
    nat: reader.build(reader.items(sections, 'nat'), makeNat),
  };
  const config = makeConfig(reader, sections, parts);
  crossCheck(config, parts, {
    written: (key) => Object.hasOwn(sections, key),
    uplinksWhole: reader.isWhole('uplink') && reader.isWhole('uplinks'),
    lansWhole: reader.isWhole('lans'),
    fail: (path, message) => reader.fail(path, message),
    failKey: (path, message) => reader.failKey(path, message),
  });
  return errors.length > 0 ? { errors: sortErrors(errors) } : { config };
}

type Sections = Readonly<Record<string, unknown>>;
type Section<K extends keyof typeof SECTIONS> = z.output<(typeof SECTIONS)[K]>;
type ListItem<K extends keyof typeof LIST_SECTIONS> = z.output<(typeof LIST_SECTIONS)[K]>;

/** One text on its way to a config: where things stand in it, and what has been found wrong so far. */
class Reader {
  readonly source: Source;
  readonly file: string;
  readonly errors: ConfigError[] = [];

  constructor(text: string, file: string) {
    this.source = readSource(text);
    this.file = file;
    for (const fault of this.source.faults) this.#add(fault, [], fault.message);
  }

  #add({ line, col }: Position, path: Path, message: string): void {
    this.errors.push({ file: this.file, line, col, path: pathText(path), message });
  }

  /** At the value at `path`. */
  fail(path: Path, message: string): void {
    this.#add(this.source.at(path), path, message);
  }

  /** At the key that ends `path`. */
  failKey(path: Path, message: string): void {
    this.#add(this.source.keyAt(path), path, message);
  }

  origin(path: Path): string {
    const { line, col } = this.source.at(path);
    return `${this.file}:${line}:${col}`;
  }

  /** Nothing was wrong at or below a top-level key. */
  isWhole(key: string): boolean {
    return !this.errors.some(({ path }) => path === key || path.startsWith(`${key}[`) || path.startsWith(`${key}.`));
  }

  /** The value that a schema makes of `value`; undefined when it is wrong (and said so). */
  #judge(schema: z.ZodType, path: Path, value: unknown): unknown {
    const result = schema.safeParse(value);
    if (result.success) return result.data;
    for (const issue of flatten(result.error.issues)) {
      const at = [...path, ...(issue.path as (string | number)[])];
      if (issue.code === 'unrecognized_keys') {
        const allowed = issue.message.split(' ');
        for (const key of issue.keys) this.failKey([...at, key], unknownWord('key', key, allowed));
      } else this.fail(at, issue.message);
    }
    return undefined;
  }

  /** A section that is judged as a whole; undefined when it is not there or wrong. */
  section<K extends keyof typeof SECTIONS>(sections: Sections, key: K): Section<K> | undefined {
    if (!Object.hasOwn(sections, key)) return undefined;
    return this.#judge(SECTIONS[key], [key], sections[key]) as Section<K> | undefined;
  }

  /** The right ones among the items of a list. */
  items<K extends keyof typeof LIST_SECTIONS>(sections: Sections, key: K): Item<ListItem<K>>[] {
    if (!Object.hasOwn(sections, key)) return [];
    const list = sections[key];
    if (!Array.isArray(list)) {
      this.fail([key], `must be a list, not ${show(list)}`);
      return [];
    }
    return list.flatMap((item: unknown, index) => {
      const path = [key, index];
      const value = this.#judge(LIST_SECTIONS[key], path, item ?? null);
      return value === undefined ? [] : [{ path, origin: this.origin(path), value: value as ListItem<K> }];
    });
  }

  /** Items → parts, without those whose values do not fit together (and said so). */
  build<T, U>(items: readonly Item<T>[], make: (value: T, origin: string) => U): Item<U>[] {
    return items.flatMap((item) => {
      try {
        return [{ ...item, value: make(item.value, item.origin) }];
      } catch (error) {
        if (!(error instanceof TextError)) throw error;
        this.fail(item.path, error.message);
        return [];
      }
    });
  }
}

/** The parts, and every other section with its defaults. */
function makeConfig(reader: Reader, sections: Sections, parts: Parts): Config {
  const limits = reader.section(sections, 'limits');
  const metrics = reader.section(sections, 'metrics');
  const log = reader.section(sections, 'log');
  const workers = reader.section(sections, 'workers');
  return {
    file: reader.file,
    uplinks: parts.uplinks.map((item) => item.value),
    lans: parts.lans.map((item) => item.value),
    forwards: parts.forwards.map((item) => item.value),
    nat: parts.nat.map((item) => item.value),
    limits: { flows: limits?.flows ?? LIMITS.flows.preset, perHost: limits?.per_host ?? LIMITS.per_host.preset },
    timeouts: makeTimeouts(reader.section(sections, 'timeouts')),
    metrics: { listen: metrics?.listen === undefined ? parseListen(DEFAULT_METRICS) : metrics.listen },
    tun: { name: reader.section(sections, 'tun')?.name ?? DEFAULT_TUN },
    workers: workers === undefined || workers === 'auto' ? 0 : workers,
    block: reader.items(sections, 'block').map((item) => item.value),
    log: { level: log?.level ?? 'info', format: log?.format ?? 'auto' },
    inboundRefresh: reader.section(sections, 'inbound_refresh') ?? false,
    parity: reader.section(sections, 'parity') ?? true,
    helpers: [...new Set(reader.section(sections, 'helpers') ?? [])],
  };
}

function makeUplink(raw: z.output<typeof uplinkSchema>, origin: string): UplinkConfig {
  return {
    interface: raw.interface,
    addresses: raw.address ?? ['auto'],
    pool: (raw.ports ?? parsePorts(DEFAULT_PORTS)).ports,
    origin,
  };
}

function makeNat(raw: z.output<typeof natSchema>, origin: string): NatConfig {
  if (!(raw.translate ?? true)) {
    for (const key of ['mapping', 'filtering', 'address'] as const) {
      if (raw[key] !== undefined)
        throw new TextError(`\`translate: false\` leaves no meaning to \`${key}\`; remove one of them`);
    }
  }
  const nat = {
    from: raw.from ?? [],
    to: raw.to ?? [],
    protos: [...new Set(raw.proto ?? [])],
    translate: raw.translate ?? true,
    mapping: raw.mapping === 'endpoint-dependent' ? Mapping.ENDPOINT_DEPENDENT : Mapping.ENDPOINT_INDEPENDENT,
    filtering:
      raw.filtering === 'endpoint-independent'
        ? Filtering.ENDPOINT_INDEPENDENT
        : raw.filtering === 'address-and-port-dependent'
          ? Filtering.ADDRESS_AND_PORT_DEPENDENT
          : Filtering.ADDRESS_DEPENDENT,
    address: raw.address ?? null,
    origin,
  };
  return { name: raw.name ?? natName(nat), ...nat };
}

function makeTimeouts(raw: Readonly<Record<string, number | undefined>> | undefined): Timeouts {
  const seconds = (key: keyof typeof TIMEOUTS) => raw?.[key] ?? TIMEOUTS[key].preset;
  return {
    udp: seconds('udp'),
    dns: seconds('dns'),
    tcpEstablished: seconds('tcp_established'),
    tcpTransitory: seconds('tcp_transitory'),
    icmp: seconds('icmp'),
    hold: seconds('hold'),
    fragment: seconds('fragment'),
  };
}

type Issue = z.core.$ZodIssue;

/**
 * Issues of a union are those of the one alternative that the value was meant to be: the one that does not already refuse
 * its kind. Where all refuse it, the union's own message names them all.
 */
function flatten(issues: readonly Issue[]): Issue[] {
  return issues.flatMap((issue): Issue[] => {
    if (issue.code !== 'invalid_union') return [issue];
    const meant = issue.errors.find((alternative) =>
      alternative.every((inner) => inner.path.length > 0 || !refusesKind(inner)),
    );
    if (meant === undefined) return [issue];
    return flatten(meant.map((inner) => ({ ...inner, path: [...issue.path, ...inner.path] })));
  });
}

/** The schemas word it like this, and only when the value is of the wrong kind (schema.ts `must`). */
function refusesKind(issue: Issue): boolean {
  return issue.code === 'invalid_union' || issue.message.startsWith('must be ');
}
