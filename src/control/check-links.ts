/**
 * What `tungate doctor` looks at for site links beside the host's own state: key files, the way to each endpoint. Takes its time (names are resolved,
 * pings are waited for), so it is no part of a start.
 *
 * Whether a peer reaches our port cannot be known from here: a NAT or a firewall in front of this host is seen by nobody inside. It is said so.
 */
import { spawnSync } from 'node:child_process';
import { lookup } from 'node:dns/promises';
import type { Check } from '../host/index.js';
import { cryptoProblem } from '../link/wireguard/crypto.js';
import { wireguardLinks } from './compile-links.js';
import type { Compiled } from './compiled.js';
import { formatEndpoint, isAddress } from './endpoint.js';
import { lookAtKey } from './key-file.js';
import type { Config, EndpointConfig, WireguardLinkConfig } from './model.js';

/** Beyond these, pings would keep somebody waiting for minutes. */
const PROBED = 8;
const PING_SECONDS = 1;
const LOOKUP_MS = 5000;
const ICMP = 8;
/** IP header, UDP, WireGuard's header and tag. */
const OUTER = { 4: 20 + 8 + 16 + 16, 6: 40 + 8 + 16 + 16 } as const;
const LEAST = 576;

export const check = (status: Check['status'], detail: string, remedy = ''): Check => ({
  name: 'links',
  status,
  detail,
  remedy,
  blocks: false,
});

export async function checkLinkWays(config: Config, { plan }: Compiled): Promise<Check[]> {
  const links = wireguardLinks(config);
  if (links.length === 0) return [];
  const checks: Check[] = [
    cryptoProblem === ''
      ? check('ok', "WireGuard is tungate's own, with OpenSSL's ciphers; the kernel's module is not needed")
      : check('warn', cryptoProblem, 'see https://nodejs.org/'),
  ];
  let left = PROBED;
  for (const link of links) {
    checks.push(checkKeys(link));
    const planned = plan.links.find(({ name }) => name === link.name);
    const mtu = planned === undefined ? 0 : plan.interfaces[planned.out]!.mtu;
    for (const { name, endpoint } of link.peers) {
      if (endpoint === null || left-- <= 0) continue;
      checks.push(await checkWay(`peer "${name}" of link "${link.name}"`, endpoint, mtu));
    }
    if (link.listen !== 0)
      checks.push(
        check(
          'ok',
          `whether peers reach UDP port ${link.listen} from outside cannot be seen from here: \`tungate links\` shows the last handshake of each; a router or ` +
            'provider in front of this host must let the port through',
        ),
      );
  }
  return checks;
}

/** The config is refused for a bad one; what is left to say is which they are. */
function checkKeys({ name, privateKeyFile }: WireguardLinkConfig): Check {
  const look = lookAtKey(privateKeyFile, 'private');
  if ('problem' in look) return check('fail', `link "${name}": ${look.problem}`);
  return check('ok', `link "${name}" has public key ${look.publicKey} (${privateKeyFile})`);
}

async function checkWay(who: string, endpoint: EndpointConfig, mtu: number): Promise<Check> {
  const text = formatEndpoint(endpoint);
  const address = isAddress(endpoint.host) ? endpoint.host : await addressOf(endpoint.host);
  if (address === null)
    return check(
      'fail',
      `${who}: ${endpoint.host} cannot be resolved`,
      'correct the name, or the resolver of this host',
    );
  const where = address === endpoint.host ? text : `${text} (${address})`;
  return probePath(who, where, address, mtu, OUTER[address.includes(':') ? 6 : 4]);
}

/** Do packets of the largest size reach an address? `more`: what the tunnel's headers add to `mtu`. */
export function probePath(who: string, where: string, address: string, mtu: number, more: number): Check {
  const family = address.includes(':') ? 6 : 4;
  const outer = mtu + more;
  const fits = (size: number) => ping(address, size - (family === 6 ? 40 : 20) - ICMP);
  const first = fits(LEAST);
  if (first === 'no-ping')
    return check('ok', `${who}: the way to ${where} was not probed; there is no ping program here`);
  if (first !== 'answer')
    return check(
      'warn',
      `${who}: ${where} answers no ping, so the way there could not be probed`,
      'that alone is no fault: many do not. If large transfers hang, try a smaller `mtu`',
    );
  if (fits(outer) === 'answer')
    return check('ok', `${who}: datagrams of ${outer} bytes reach ${where}, as MTU ${mtu} needs`);
  let [low, high] = [LEAST, outer];
  while (high - low > 8) {
    const middle = (low + high) >> 1;
    if (fits(middle) === 'answer') low = middle;
    else high = middle;
  }
  return check(
    'warn',
    `${who}: datagrams of ${outer} bytes, which MTU ${mtu} makes, do not reach ${where}; those of ${low} do`,
    `write mtu: ${low - more} at the link`,
  );
}

async function addressOf(host: string): Promise<string | null> {
  const late = new Promise<null>((resolve) => setTimeout(resolve, LOOKUP_MS, null).unref());
  return Promise.race([
    lookup(host).then(
      ({ address }) => address,
      () => null,
    ),
    late,
  ]);
}

/** One echo request of `payload` bytes that must not be cut up. */
function ping(address: string, payload: number): 'answer' | 'silence' | 'no-ping' {
  const words = ['-n', '-q', '-c', '1', '-W', String(PING_SECONDS), '-M', 'do', '-s', String(payload), address];
  const { error, status } = spawnSync('ping', words, { stdio: 'ignore', timeout: PING_SECONDS * 10_000 });
  if (error !== undefined && (error as NodeJS.ErrnoException).code === 'ENOENT') return 'no-ping';
  return status === 0 ? 'answer' : 'silence';
}
