/**
 * Files of wg-quick(8) and of `wg setconf`, as they are. Every error is found in one pass and says file:line:column and what is wrong.
 *
 * Refused, with words: PreUp, PostUp, PreDown, PostDown. They are shell commands that run as root; what they are used for (NAT, forwarding, routes)
 * the router does itself.
 */
import { type AllowedIp, parseAllowedIp } from './allowed-ips.js';
import { KEY_BYTES } from './constants.js';

export interface WgQuickPeer {
  readonly publicKey: Uint8Array;
  readonly presharedKey?: Uint8Array;
  /** A host name is resolved by whoever uses this. */
  readonly endpoint?: { readonly host: string; readonly port: number };
  readonly allowedIps: readonly AllowedIp[];
  /** Seconds, 0 = off. */
  readonly keepalive: number;
}

export interface WgQuickConfig {
  readonly privateKey?: Uint8Array;
  readonly listenPort?: number;
  readonly fwmark?: number;
  /** `10.0.0.2/24`; a length that is not there is that of one address. */
  readonly addresses: readonly string[];
  /** Addresses of name servers and search domains. */
  readonly dns: readonly string[];
  readonly mtu?: number;
  /** `off`, `auto`, or a number. */
  readonly table?: string;
  readonly saveConfig: boolean;
  readonly peers: readonly WgQuickPeer[];
}

export class WgQuickError extends Error {
  override readonly name = 'WgQuickError';
  /** One a problem: `file:line:column: what`. */
  constructor(readonly problems: readonly string[]) {
    super(problems.join('\n'));
  }
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
type DraftInterface = Mutable<Omit<WgQuickConfig, 'peers'>> & { addresses: string[]; dns: string[] };
type DraftPeer = Mutable<Partial<WgQuickPeer>> & { allowedIps: AllowedIp[]; keepalive: number; line: number };

const HOOKS = ['preup', 'postup', 'predown', 'postdown'];
const INTERFACE_KEYS = ['PrivateKey', 'ListenPort', 'FwMark', 'Address', 'DNS', 'MTU', 'Table', 'SaveConfig'];
const PEER_KEYS = ['PublicKey', 'PresharedKey', 'AllowedIPs', 'Endpoint', 'PersistentKeepalive'];

/** Throws WgQuickError with all problems of the file. */
export function parseWgQuick(text: string, file: string): WgQuickConfig {
  const config: DraftInterface = { addresses: [], dns: [], saveConfig: false };
  const peers: DraftPeer[] = [];
  const problems: string[] = [];
  let section = '';
  for (const [index, raw] of text.split(/\r?\n/).entries()) {
    const line = raw.replace(/#.*/, '');
    if (line.trim() === '') continue;
    const complain = (column: number, what: string) => problems.push(`${file}:${index + 1}:${column + 1}: ${what}`);
    const indent = line.search(/\S/);
    const heading = /^\s*\[([^\]]*)\]\s*$/.exec(line);
    if (heading) {
      section = heading[1]!.trim().toLowerCase();
      if (section === 'peer') peers.push({ allowedIps: [], keepalive: 0, line: index + 1 });
      else if (section !== 'interface') complain(indent, `unknown section [${heading[1]}]; known: [Interface], [Peer]`);
      continue;
    }
    const pair = /^\s*([^=\s]+)(\s*=\s*)(.*?)\s*$/.exec(line);
    if (!pair) {
      complain(indent, 'neither [Section] nor Key = value');
      continue;
    }
    const [, key, equals, value] = pair as unknown as [string, string, string, string];
    try {
      if (section === '') throw new KeyProblem(`"${key}" stands before the first section`);
      if (section === 'interface') interfaceLine(config, key, value);
      else if (section === 'peer') peerLine(peers.at(-1)!, key, value);
    } catch (error) {
      const { message } = error as Error;
      if (error instanceof KeyProblem) complain(indent, message);
      else complain(indent + key.length + equals.length, `${key}: ${message}`);
    }
  }
  for (const peer of peers) {
    if (peer.publicKey === undefined) problems.push(`${file}:${peer.line}:1: [Peer] has no PublicKey`);
  }
  if (problems.length > 0) throw new WgQuickError(problems);
  return { ...config, peers: peers.map(({ line: _, ...peer }) => peer as WgQuickPeer) };
}

/** The key is wrong, not its value. */
class KeyProblem extends Error {}

function interfaceLine(config: DraftInterface, key: string, value: string): void {
  switch (key.toLowerCase()) {
    case 'privatekey':
      config.privateKey = parseKey(value);
      break;
    case 'listenport':
      config.listenPort = parseNumber(value, 0, 65_535);
      break;
    case 'fwmark':
      config.fwmark = value === 'off' ? 0 : parseNumber(value, 0, 0xffffffff);
      break;
    case 'address':
      for (const each of list(value)) {
        if (parseAllowedIp(each) === null) throw new Error(`"${each}" is not an address or ADDRESS/LENGTH`);
        config.addresses.push(each);
      }
      break;
    case 'dns':
      config.dns.push(...list(value));
      break;
    case 'mtu':
      config.mtu = parseNumber(value, 576, 65_535);
      break;
    case 'table':
      if (!/^(off|auto|\d+)$/.test(value)) throw new Error(`"${value}" is not off, auto or a number`);
      config.table = value;
      break;
    case 'saveconfig':
      if (value !== 'true' && value !== 'false') throw new Error(`"${value}" is not true or false`);
      config.saveConfig = value === 'true';
      break;
    default:
      if (HOOKS.includes(key.toLowerCase())) {
        throw new KeyProblem(
          `${key} runs a shell command as root, which is not taken over: remove the line (NAT, forwarding and routes are the router's own)`,
        );
      }
      throw unknownKey(key, 'Interface', INTERFACE_KEYS);
  }
}

function peerLine(peer: DraftPeer, key: string, value: string): void {
  switch (key.toLowerCase()) {
    case 'publickey':
      peer.publicKey = parseKey(value);
      break;
    case 'presharedkey':
      peer.presharedKey = parseKey(value);
      break;
    case 'allowedips':
      for (const each of list(value)) {
        const ip = parseAllowedIp(each);
        if (ip === null) throw new Error(`"${each}" is not an address or ADDRESS/LENGTH`);
        peer.allowedIps.push(ip);
      }
      break;
    case 'endpoint': {
      const match = /^(?:\[([0-9a-fA-F:.%]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(value);
      const port = Number(match?.[3]);
      if (!match || port < 1 || port > 65_535) throw new Error(`"${value}" is not HOST:PORT or [IPv6]:PORT`);
      peer.endpoint = { host: (match[1] ?? match[2])!, port };
      break;
    }
    case 'persistentkeepalive':
      peer.keepalive = value === 'off' ? 0 : parseNumber(value, 0, 65_535);
      break;
    default:
      throw unknownKey(key, 'Peer', PEER_KEYS);
  }
}

function unknownKey(key: string, section: string, known: readonly string[]): KeyProblem {
  return new KeyProblem(`unknown key "${key}" in [${section}]; known: ${known.join(', ')}`);
}

function list(value: string): string[] {
  return value
    .split(',')
    .map((each) => each.trim())
    .filter((each) => each !== '');
}

/** Never quotes the value: it may be a secret. */
function parseKey(value: string): Uint8Array {
  const bytes = Buffer.from(value, 'base64');
  if (!/^[A-Za-z0-9+/]{43}=$/.test(value) || bytes.length !== KEY_BYTES || bytes.toString('base64') !== value) {
    throw new Error('is not a key: 44 characters of base64, as `wg genkey` prints');
  }
  return new Uint8Array(bytes);
}

function parseNumber(value: string, least: number, most: number): number {
  const number = /^(0x[0-9a-f]+|\d+)$/i.test(value) ? Number(value) : Number.NaN;
  if (!(number >= least && number <= most)) throw new Error(`"${value}" is not a number from ${least} to ${most}`);
  return number;
}
