/**
 * Text of a config file → Config, or every error in it at once.
 *
 *   0 files.ts    the main file, and the overlays beside it: they add items to lists, nothing else
 *   1 source.ts   YAML → plain value with positions
 *   2 schema.ts   each section, lists item by item: kinds, grammars, bounds, unknown keys
 *   3 here        items that are right get their defaults and become parts of a Config
 *   4 checks.ts   what the parts say together: overlaps, targets outside every LAN, names used twice
 *
 * A part that is wrong in step 2 is left out of step 4, and step 4 says nothing that only follows from such a hole.
 */
import type { z } from 'zod';
import { Filtering, Mapping, type Timeouts } from '../contract/plan.js';
import { TextError } from './address.js';
import { crossCheck, type Item, type Parts, type Report } from './checks.js';
import { DEFAULT_METRICS, DEFAULT_PORTS, DEFAULT_TUN, LIMITS, TIMEOUTS } from './defaults.js';
import { sortErrors, unknownWord } from './errors.js';
import { overlayFiles, readText, type Text } from './files.js';
import { buildForward, natName } from './forward.js';
import { lookAtKey } from './key-file.js';
import { linkSchemaFor, makeLink } from './link-kinds.js';
import { parseListen } from './listen.js';
import type { Config, ConfigError, LanConfig, NatConfig, Result, UplinkConfig } from './model.js';
import { parsePorts } from './ports.js';
import { LIST_SECTIONS, type natSchema, SECTIONS, TOP_KEYS, type uplinkSchema } from './schema.js';
import { show } from './schema-parts.js';
import { type Path, type Position, pathText, readSource, type Source } from './source.js';

export interface LoadOptions {
  /** A last overlay that may be there: what was changed at run time and is not to outlive the router. */
  readonly temporary?: string;
  /** Texts that are to be judged as if they were the content of these files. */
  readonly instead?: ReadonlyMap<string, string>;
}

/** Reads and judges a file with its overlays. A file that is missing or unreadable is an error like any other. */
export function loadConfig(path: string, { temporary, instead = new Map() }: LoadOptions = {}): Result {
  const texts: Text[] = [];
  const errors: ConfigError[] = [];
  for (const file of [path, ...overlayFiles(path, temporary, instead)]) {
    const text = instead.get(file) ?? readText(file);
    if (typeof text === 'string') texts.push({ file, text });
    else errors.push({ file, line: 0, col: 0, path: '', message: text.unreadable });
  }
  if (errors.length > 0) return { errors };
  return parseConfig(texts[0]!.text, path, texts.slice(1), lookAtKey);
}

/**
 * Judges a text and its overlays; `file` is only what errors and origins call it. Never throws. `lookAtKey`: key files that the
 * config names are judged too.
 */
export function parseConfig(
  text: string,
  file: string,
  overlays: readonly Text[] = [],
  lookAtKey: Report['lookAtKey'] = null,
): Result {
  const reader = new Reader([{ file, text }, ...overlays]);
  const { errors } = reader;
  if (errors.length > 0) return { errors: sortErrors(errors, reader.files) };
  const sections = reader.sections();
  if (sections === undefined) return { errors };
  const only = reader.section(sections, 'uplink');
  const uplinks = reader.items(sections, 'uplinks');
  if (only !== undefined) uplinks.unshift({ path: ['uplink'], origin: reader.origin(['uplink']), value: only });
  const parts: Parts = {
    uplinks: reader.build(uplinks, makeUplink),
    lans: reader.build(
      reader.items(sections, 'lans'),
      (lan, origin): LanConfig => ({ ...lan, ipv6: lan.ipv6 ?? [], origin }),
    ),
    forwards: reader.build(reader.items(sections, 'forwards'), buildForward),
    nat: reader.build(reader.items(sections, 'nat'), makeNat),
    links: reader.build(reader.items(sections, 'links'), makeLink),
  };
  const config = makeConfig(reader, sections, parts);
  crossCheck(config, parts, {
    written: (key) => Object.hasOwn(sections, key),
    uplinksWhole: reader.isWhole('uplink') && reader.isWhole('uplinks'),
    lansWhole: reader.isWhole('lans'),
    linksWhole: reader.isWhole('links'),
    lookAtKey,
    fail: (path, message) => reader.fail(path, message),
    failKey: (path, message) => reader.failKey(path, message),
  });
  return errors.length > 0 ? { errors: sortErrors(errors, reader.files) } : { config };
}

type Sections = Readonly<Record<string, unknown>>;

function isMap(value: unknown): value is Sections {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

type Section<K extends keyof typeof SECTIONS> = z.output<(typeof SECTIONS)[K]>;
type ListItem<K extends keyof typeof LIST_SECTIONS> = z.output<(typeof LIST_SECTIONS)[K]>;

/** A list of one file within the list of all: its items are [base, base + length). */
interface Share {
  readonly file: ReadFile;
  readonly base: number;
  readonly length: number;
}

interface ReadFile {
  readonly name: string;
  readonly source: Source;
}

/**
 * Texts on their way to a config: where things stand in them, and what has been found wrong so far. Paths count the items of
 * a list through all files; places and messages are those of the one file that an item stands in.
 */
class Reader {
  readonly errors: ConfigError[] = [];
  readonly #files: readonly ReadFile[];
  readonly #shares = new Map<string, Share[]>();

  constructor(texts: readonly Text[]) {
    this.#files = texts.map(({ file, text }) => ({ name: file, source: readSource(text) }));
    for (const file of this.#files) for (const fault of file.source.faults) this.#add(file, fault, [], fault.message);
  }

  get file(): string {
    return this.#files[0]!.name;
  }

  get files(): string[] {
    return this.#files.map(({ name }) => name);
  }

  /** The main file's sections, its lists with the overlays' items behind its own; undefined when it has none. */
  sections(): Sections | undefined {
    const [main, ...overlays] = this.#files;
    const root = main!.source.value;
    if (root === null || root === undefined) {
      this.fail(
        [],
        'is empty; it needs `uplink` and `lans`, or `links` (`tungate init` writes a config to start from)',
      );
      return undefined;
    }
    if (!isMap(root)) {
      this.fail([], `must be a map with keys like \`uplink\` and \`lans\`, not ${show(root)}`);
      return undefined;
    }
    const merged: Record<string, unknown> = { ...root };
    for (const key of Object.keys(root)) {
      if (!TOP_KEYS.includes(key)) this.failKey([key], unknownWord('key', key, TOP_KEYS));
      const list = root[key];
      if (Array.isArray(list)) this.#shares.set(key, [{ file: main!, base: 0, length: list.length }]);
    }
    for (const overlay of overlays) this.#addOverlay(merged, overlay);
    return merged;
  }

  #addOverlay(merged: Record<string, unknown>, file: ReadFile): void {
    const root = file.source.value;
    // A file whose last item was removed.
    if (root === null || root === undefined) return;
    if (!isMap(root)) {
      this.#add(file, file.source.at([]), [], `must be a map with keys like \`forwards\`, not ${show(root)}`);
      return;
    }
    for (const [key, list] of Object.entries(root)) {
      if (!Object.hasOwn(LIST_SECTIONS, key)) {
        const message = TOP_KEYS.includes(key)
          ? `\`${key}\` belongs into ${this.file}; a file beside it adds to the lists ${Object.keys(LIST_SECTIONS).join(', ')}`
          : unknownWord('key', key, Object.keys(LIST_SECTIONS));
        this.#add(file, file.source.keyAt([key]), [key], message);
      } else if (!Array.isArray(list)) {
        this.#add(file, file.source.at([key]), [key], `must be a list, not ${show(list)}`);
      } else if (merged[key] === undefined || Array.isArray(merged[key])) {
        const before = (merged[key] ?? []) as unknown[];
        const share = { file, base: before.length, length: list.length };
        this.#shares.set(key, [...(this.#shares.get(key) ?? []), share]);
        merged[key] = [...before, ...(list as unknown[])];
      }
    }
  }

  /** The file that something stands in, and its path there. */
  #place(path: Path): { file: ReadFile; path: Path } {
    const [key, index, ...rest] = path;
    const shares = this.#shares.get(String(key));
    if (shares === undefined) return { file: this.#files[0]!, path };
    if (typeof index !== 'number') return { file: shares[0]!.file, path };
    const share = shares.find(({ base, length }) => index < base + length) ?? shares[shares.length - 1]!;
    return { file: share.file, path: [key!, index - share.base, ...rest] };
  }

  #add(file: ReadFile, { line, col }: Position, path: Path, message: string): void {
    this.errors.push({ file: file.name, line, col, path: pathText(path), message });
  }

  /** At the value at `path`. */
  fail(path: Path, message: string): void {
    const { file, path: there } = this.#place(path);
    this.#add(file, file.source.at(there), there, message);
  }

  /** At the key that ends `path`. */
  failKey(path: Path, message: string): void {
    const { file, path: there } = this.#place(path);
    this.#add(file, file.source.keyAt(there), there, message);
  }

  origin(path: Path): string {
    const { file, path: there } = this.#place(path);
    const { line, col } = file.source.at(there);
    return `${file.name}:${line}:${col}`;
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
      const schema = key === 'links' ? linkSchemaFor(item) : LIST_SECTIONS[key];
      const value = this.#judge(schema, path, item ?? null);
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
    files: reader.files,
    uplinks: parts.uplinks.map((item) => item.value),
    lans: parts.lans.map((item) => item.value),
    forwards: parts.forwards.map((item) => item.value),
    nat: parts.nat.map((item) => item.value),
    links: parts.links.map((item) => item.value),
    limits: {
      flows: limits?.flows ?? LIMITS.flows.preset,
      perHost: limits?.per_host ?? LIMITS.per_host.preset,
      perHostFlows: limits?.per_host_flows ?? LIMITS.per_host_flows.preset,
      perHostRate: limits?.per_host_rate ?? LIMITS.per_host_rate.preset,
    },
    timeouts: makeTimeouts(reader.section(sections, 'timeouts')),
    metrics: { listen: metrics?.listen === undefined ? parseListen(DEFAULT_METRICS) : metrics.listen },
    tun: { name: reader.section(sections, 'tun')?.name ?? DEFAULT_TUN },
    workers: workers === undefined || workers === 'auto' ? 0 : workers,
    block: reader.items(sections, 'block').map(({ value, origin }) => ({ ...value, origin })),
    log: {
      level: log?.level ?? 'info',
      format: log?.format ?? 'auto',
      translations: log?.translations ?? 'off',
    },
    rejectUnsolicited: reader.section(sections, 'reject_unsolicited') ?? false,
    inboundRefresh: reader.section(sections, 'inbound_refresh') ?? false,
    parity: reader.section(sections, 'parity') ?? true,
    portBlocks: reader.section(sections, 'port_blocks') ?? 0,
    watch: reader.section(sections, 'watch') ?? false,
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
    tcpOpening: raw?.tcp_opening ?? seconds('tcp_transitory'),
    tcpClosing: raw?.tcp_closing ?? seconds('tcp_transitory'),
    icmp: seconds('icmp'),
    unanswered: seconds('unanswered'),
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
