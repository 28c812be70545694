/** What the schemas of a config are made of: kinds of values with their grammar and their words. Each says what is wrong and what is allowed. */
import { z } from 'zod';
import { parseAddress, parsePrefix, TextError } from './address.js';
import { parsePrefix6 } from './address-ipv6.js';
import type { Bound } from './defaults.js';
import { unknownWord } from './errors.js';
import { parsePorts } from './ports.js';

/** Said of a value that is not there or of the wrong kind. */
export function must(what: string) {
  return (issue: { readonly input?: unknown; readonly code?: string }) =>
    issue.input === undefined ? `is missing; it must be ${what}` : `must be ${what}, not ${show(issue.input)}`;
}

/** A value as it may stand in an error message: short, on one line. */
export function show(value: unknown): string {
  if (value === null) return 'empty';
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object') return 'a map';
  const text = String(typeof value === 'string' ? JSON.stringify(value) : value);
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}

/** A text with a grammar of its own; `parse` throws TextError. */
export function text<T>(what: string, parse: (text: string) => T) {
  return z.string({ error: must(what) }).transform((value, context): T => {
    try {
      return parse(value);
    } catch (error) {
      if (!(error instanceof TextError)) throw error;
      context.addIssue({ code: 'custom', message: error.message });
      return z.NEVER;
    }
  });
}

/** One value, or a list of at least one. */
export function oneOrList<T extends z.ZodType>(what: string, item: T) {
  return z
    .union([item, z.array(item, { error: must(what) }).min(1, { error: `is an empty list; it must be ${what}` })], {
      error: must(what),
    })
    .transform((value) => (Array.isArray(value) ? value : [value]) as z.output<T>[]);
}

export function word<const T extends readonly [string, ...string[]]>(kind: string, words: T) {
  return z.enum(words, {
    error: ({ input }) =>
      typeof input === 'string' ? unknownWord(kind, input, words) : must(`one of ${words.join(', ')}`)({ input }),
  });
}

export function map<T extends z.ZodRawShape>(what: string, shape: T) {
  const keys = Object.keys(shape);
  return z.strictObject(shape, {
    // One issue for several keys; config.ts says it once for each, at its place.
    error: ({ code, input }) => (code === 'unrecognized_keys' ? keys.join(' ') : must(what)({ input })),
  });
}

export function ranged(min: number, max: number, what: string) {
  return z
    .int({ error: must(what) })
    .min(min, { error: must(what) })
    .max(max, { error: must(what) });
}

export function bounded({ preset, min, max, why, text: description }: Bound, unit: string) {
  const range = `a whole number${unit} from ${min} to ${max} (${why})`;
  return ranged(min, max, range).optional().meta({ description, default: preset });
}

export const flag = (preset: boolean, description: string) =>
  z
    .boolean({ error: must('true or false') })
    .optional()
    .meta({ description, default: preset });

/** The kernel's own rule (dev_valid_name). */
export function isInterfaceName(name: string): boolean {
  return name !== '' && name !== '.' && name !== '..' && Buffer.byteLength(name) <= 15 && !/[/:\s\0]/.test(name);
}

export const interfaceName = text('the name of a network interface', (value) => {
  if (isInterfaceName(value)) return value;
  throw new TextError(`${show(value)} cannot be an interface name; it has 1 to 15 bytes without space, "/" or ":"`);
}).meta({ description: 'Name of a network interface of this host.', maxLength: 15 });

export const ruleName = text('a name', (value) => {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(value) || value === 'default') {
    throw new TextError(
      `${show(value)} cannot be a name; use 1 to 63 letters, digits, ".", "_" and "-", a letter or digit first, and not "default"`,
    );
  }
  return value;
}).meta({ description: 'Name in metrics, `tungate rules` and errors. It keeps the counters together over reloads.' });

export const address = text('an IPv4 address like 192.0.2.10', parseAddress);
export const prefix = text('an IPv4 prefix like 192.0.2.0/24', parsePrefix);
export const prefix6 = text('an IPv6 prefix like 2001:db8:1::/64', parsePrefix6);
export const prefixes = oneOrList('an IPv4 prefix like 192.0.2.0/24, or a list of them', prefix);

const PORTS = 'a port from 1 to 65535, or text like "10000-10999,~10500"';
export const ports = z.union([ranged(1, 65_535, PORTS), z.string({ error: must(PORTS) })], { error: must(PORTS) }).pipe(
  z.transform((value: number | string, context) => {
    try {
      return parsePorts(String(value));
    } catch (error) {
      if (!(error instanceof TextError)) throw error;
      context.issues.push({ code: 'custom', message: error.message, input: value });
      return z.NEVER;
    }
  }),
);
