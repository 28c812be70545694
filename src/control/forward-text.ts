/**
 * The written forms of a forward's parts, and a forward as one text in the manner of Docker:
 *
 *   [ADDRESS:]PORTS:TARGET[:PORTS][/PROTO[,PROTO]]       10000-10999:172.22.161.170:10000-10999/tcp
 */
import { formatAddress, parseAddress, TextError } from './address.js';
import { unknownWord } from './errors.js';
import type { ForwardProto } from './model.js';
import { type PortText, parsePorts } from './ports.js';

export interface Target {
  readonly address: number;
  /** One port, or one range; undefined = the same ports. */
  readonly ports: { readonly first: number; readonly last: number } | undefined;
}

/** A forward as written, whichever form it was written in. */
export interface ForwardText {
  readonly name?: string | undefined;
  readonly description?: string | undefined;
  readonly ports?: PortText | undefined;
  readonly to: Target;
  readonly proto?: readonly ForwardProto[] | undefined;
  readonly from?: readonly { readonly prefix: number; readonly mask: number }[] | undefined;
  readonly address?: readonly number[] | undefined;
  readonly max_flows?: number | undefined;
  readonly max_rate?: number | undefined;
}

const FORM = 'write [ADDRESS:]PORTS:TARGET[:PORTS][/PROTO], like "10000-10999:192.168.7.10:10000-10999/tcp"';

/** `A`, `A:80` or `A:8000-8099`. Throws TextError. */
export function parseTarget(text: string): Target {
  const colon = text.indexOf(':');
  if (colon < 0) return { address: parseAddress(text), ports: undefined };
  const address = parseAddress(text.slice(0, colon));
  const { ports, hull } = parsePorts(text.slice(colon + 1));
  if (ports.length !== 1 || text.includes('~')) {
    throw new TextError(
      `"${text}" has a list of ports; a target has one port or one range (exclusions go to \`ports\`)`,
    );
  }
  return { address, ports: hull };
}

export function formatTarget({ address, ports }: Target): string {
  if (ports === undefined) return formatAddress(address);
  const { first, last } = ports;
  return `${formatAddress(address)}:${first === last ? first : `${first}-${last}`}`;
}

const PROTOS: readonly ForwardProto[] = ['tcp', 'udp', 'icmp', 'all'];

/** Throws TextError. */
export function parseForwardText(text: string): ForwardText {
  const slash = text.indexOf('/');
  const proto =
    slash < 0
      ? (['tcp'] as const)
      : text
          .slice(slash + 1)
          .split(',')
          .map((word) => protocol(word.trim(), text));
  const parts = (slash < 0 ? text : text.slice(0, slash)).split(':').map((part) => part.trim());
  const address = parts[0]!.includes('.') ? [parseAddress(parts.shift()!)] : undefined;
  if (parts.length < 2 || parts.length > 3) throw new TextError(`"${text}" is not a forward; ${FORM}`);
  if (!parts[1]!.includes('.')) throw new TextError(`"${text}" has no target address after its ports; ${FORM}`);
  const ports = parsePorts(parts[0]!);
  const to = parseTarget(parts.slice(1).join(':'));
  return { ports, to, proto, address };
}

function protocol(word: string, text: string): ForwardProto {
  const found = PROTOS.find((name) => name === word);
  if (found === undefined) throw new TextError(`"${text}" has an ${unknownWord('protocol', word, PROTOS)}`);
  return found;
}
