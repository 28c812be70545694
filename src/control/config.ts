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
import type { Config, ConfigError, ForwardConfig, LanConfig, NatConfig, Result, UplinkConfig } from './model.js';
import { parsePorts } from './ports.js';
import { LIST_SECTIONS, type natSchema, SECTIONS, show, TOP_KEYS, type uplinkSchema } from './schema.js';
import { type Path, pathText, readSource } from './source.js';

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
  const source = readSource(text);
  const errors: ConfigError[] = [];
  const fail = (at: { line: number; col: number }, path: Path, message: string) =>
    errors.push({ file, line: at.line, col: at.col, path: pathText(path), message });
  for (const fault of source.faults) fail(fault, [], fault.message);
  if (errors.length > 0) return { errors: sortErrors(errors) };
  const root = source.value;
  if (root === null || root === undefined) {
    fail(
      source.at([]),
      [],
      'is empty; it needs at least `uplink` and `lans` (`tungate init` writes a config to start from)',
    );
    return { errors };
  }
  if (typeof root !== 'object' || Array.isArray(root)) {
    fail(source.at([]), [], `must be a map with keys like \`uplink\` and \`lans\`, not ${show(root)}`);
    return { errors };
  }
  const sections = root as Record<string, unknown>;
  for (const key of Object.keys(sections)) {
    if (!TOP_KEYS.includes(key)) fail(source.keyAt([key]), [key], unknownWord('key', key, TOP_KEYS));
  }

  /** Judges one value by its schema; undefined when it is wrong (and said so). */
  const judge = <S extends z.ZodType>(schema: S, path: Path, value: unknown): z.output<S> | undefined => {
    const result = schema.safeParse(value);
    if (result.success) return result.data;
    for (const issue of flatten(result.error.issues, value)) {
      const at = [...path, ...(issue.path as (string | number)[])];
      if (issue.code === 'unrecognized_keys') {
        const allowed = issue.message.split(' ');
        for (const key of issue.keys) fail(source.keyAt([...at, key]), [...at, key], unknownWord('key', key, allowed));
      } else fail(source.at(at), at, issue.message);
    }
    return undefined;
  };
  const section = <K extends keyof typeof SECTIONS>(key: K): z.output<(typeof SECTIONS)[K]> | undefined =>
    Object.hasOwn(sections, key)
      ? (judge(SECTIONS[key] as z.ZodType, [key], sections[key]) as z.output<(typeof SECTIONS)[K]> | undefined)
      : undefined;
  const items = <K extends keyof typeof LIST_SECTIONS>(key: K): Item<z.output<(typeof LIST_SECTIONS)[K]>>[] => {
    const value = sections[key];
    if (!Object.hasOwn(sections, key)) return [];
    if (!Array.isArray(value)) {
      fail(source.at([key]), [key], `must be a list, not ${show(value)}`);
      return [];
    }
    const found: Item<z.output<(typeof LIST_SECTIONS)[K]>>[] = [];
    value.forEach((item, index) => {
      const path = [key, index];
      const judged = judge(LIST_SECTIONS[key] as z.ZodType, path, item ?? null);
      if (judged === undefined) return;
      const { line, col } = source.at(path);
      found.push({ path, origin: `${file}:${line}:${col}`, value: judged as z.output<(typeof LIST_SECTIONS)[K]> });
    });
    return found;
  };
  /** Items → parts, those that cannot be built left out (and said so). */
  const build = <T, U>(from: Item<T>[], make: (value: T, origin: string) => U): Item<U>[] =>
    from.flatMap((item) => {
      try {
        return [{ ...item, value: make(item.value, item.origin) }];
      } catch (error) {
        if (!(error instanceof TextError)) throw error;
        fail(source.at(item.path), item.path, error.message);
        return [];
      }
    });

  const uplinks = items('uplinks');
  const only = section('uplink');
  if (only !== undefined) {
    const { line, col } = source.at(['uplink']);
    uplinks.unshift({ path: ['uplink'], origin: `${file}:${line}:${col}`, value: only });
  }
  const parts: Parts = {
    uplinks: build(uplinks, makeUplink),
    lans: build(items('lans'), (lan, origin): LanConfig => ({ ...lan, origin })),
    forwards: build(items('forwards'), (forward, origin): ForwardConfig => buildForward(forward, origin)),
    nat: build(items('nat'), makeNat),
  };
  const limits = section('limits');
  const metrics = section('metrics');
  const log = section('log');
  const workers = section('workers');
  const config: Config = {
    file,
    uplinks: parts.uplinks.map((item) => item.value),
    lans: parts.lans.map((item) => item.value),
    forwards: parts.forwards.map((item) => item.value),
    nat: parts.nat.map((item) => item.value),
    limits: { flows: limits?.flows ?? LIMITS.flows.preset, perHost: limits?.per_host ?? LIMITS.per_host.preset },
    timeouts: makeTimeouts(section('timeouts')),
    metrics: { listen: metrics?.listen === undefined ? parseListen(DEFAULT_METRICS) : metrics.listen },
    tun: { name: section('tun')?.name ?? DEFAULT_TUN },
    workers: workers === undefined || workers === 'auto' ? 0 : workers,
    block: items('block').map((item) => item.value),
    log: { level: log?.level ?? 'info', format: log?.format ?? 'auto' },
    inboundRefresh: section('inbound_refresh') ?? false,
    parity: section('parity') ?? true,
  };
  const whole = (key: string) => !errors.some((error) => error.path === key || error.path.startsWith(`${key}[`));
  crossCheck(config, parts, {
    written: (key) => Object.hasOwn(sections, key),
    uplinksWhole: whole('uplinks') && !errors.some((error) => /^uplink(\.|$)/.test(error.path)),
    lansWhole: whole('lans'),
    fail: (path, message) => fail(source.at(path), path, message),
    failKey: (path, message) => fail(source.keyAt(path), path, message),
  });
  return errors.length > 0 ? { errors: sortErrors(errors) } : { config };
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
function flatten(issues: readonly Issue[], value: unknown): Issue[] {
  return issues.flatMap((issue): Issue[] => {
    if (issue.code !== 'invalid_union') return [issue];
    const meant = issue.errors.find((alternative) =>
      alternative.every((inner) => inner.path.length > 0 || !refusesKind(inner)),
    );
    if (meant === undefined) return [issue];
    return flatten(
      meant.map((inner) => ({ ...inner, path: [...issue.path, ...inner.path] })),
      value,
    );
  });
}

/** The schemas word it like this, and only when the value is of the wrong kind (schema.ts `must`). */
function refusesKind(issue: Issue): boolean {
  return issue.code === 'invalid_union' || issue.message.startsWith('must be ');
}
