/**
 * How the devices of site links follow config, wg(8) and the resolver. The device is the real protocol core without its sockets; what a worker
 * does with messages is done here by plain calls.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { formatPrefix } from '../../src/control/address.js';
import { EarlyLog } from '../../src/control/early-log.js';
import { type Config, formatErrors, loadConfig } from '../../src/control/index.js';
import { SiteLinks } from '../../src/control/site-links.js';
import type { LinkMessage } from '../../src/control/workers.js';
import { answerNow, Device, formatEndpoint, parseEndpoint } from '../../src/link/wireguard/index.js';

const KEY = (n: number) => Buffer.alloc(32, n).toString('base64');
const dir = mkdtempSync(join(tmpdir(), 'tungate-sites-'));
after(() => rmSync(dir, { recursive: true }));

function key(name: string, n: number): void {
  writeFileSync(join(dir, name), `${KEY(n)}\n`, { mode: 0o600 });
}

function config(...peers: string[]): Config {
  const file = join(dir, 'tungate.yaml');
  const list = peers.map((peer) => `      - { ${peer} }\n`).join('');
  writeFileSync(
    file,
    `links:\n  - name: hq\n    wireguard: { private_key_file: own, listen: 51820 }\n    peers:\n${list}`,
  );
  const result = loadConfig(file);
  if ('errors' in result) assert.fail(formatErrors(result.errors));
  return result.config;
}

const peer = (n: number, more = '', ips = `10.1.${n}.0/24`) =>
  `name: p${n}, public_key: "${KEY(n)}", allowed_ips: [${ips}]${more}`;

/** A worker with one device. */
class Worker {
  device = new Device({ emit: () => {} });
  told: string[] = [];
  say: (message: LinkMessage) => void = () => {};
  readonly socket = { listenPort: 51820, fwmark: 0, setListenPort: () => {}, setFwmark: () => {} };

  constructor() {
    this.device.start(0);
  }

  async linkAsk(link: string, text: string) {
    if (link !== 'hq') return { text: 'errno=2\n\n', problem: 'no such link' };
    if (text.startsWith('set=1')) this.told.push(text.trim());
    let problem = '';
    const answer = answerNow(this.device, this.socket, text, 0, (words) => {
      problem = words;
    });
    return { text: answer, problem };
  }

  async linkStatus() {
    return [];
  }

  onLink(take: (message: LinkMessage) => void) {
    this.say = take;
  }

  peerOf(n: number) {
    return this.device.peer(Buffer.alloc(32, n));
  }

  endpointOf(n: number): string {
    return formatEndpoint(this.peerOf(n)!.endpoint);
  }
}

let worker: Worker;
let addresses: Record<string, readonly string[]> = {};
let asked: string[] = [];
let changed: string[] = [];
let made: SiteLinks[] = [];

function links(): SiteLinks {
  const lookup = async (host: string) => {
    asked.push(host);
    if (addresses[host] === undefined) throw Object.assign(new Error('not found'), { code: 'ENOTFOUND' });
    return addresses[host];
  };
  const times = { pause: 0, retry: 1, longest: 1 };
  const all = new SiteLinks({ log: new EarlyLog(), changed: (why) => changed.push(why), dir, names: [lookup, times] });
  all.attach(worker);
  made.push(all);
  return all;
}

beforeEach(() => {
  for (const all of made) all.close();
  made = [];
  worker = new Worker();
  [addresses, asked, changed] = [{}, [], []];
  key('own', 64);
  key('psk', 9);
});
after(() => {
  for (const all of made) all.close();
});

async function until(holds: () => boolean, what: string): Promise<void> {
  for (const end = Date.now() + 60_000; !holds(); ) {
    if (Date.now() > end) assert.fail(what);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

test('a fresh device is told everything; told again it is told nothing', async () => {
  const all = links();
  const text = config(peer(1, ', endpoint: "192.0.2.1:51820", preshared_key_file: psk, keepalive: 25'), peer(2));
  assert.deepEqual(await all.follow(text), [
    'link hq: private key',
    'link hq: peer p1 added',
    'link hq: peer p2 added',
  ]);
  assert.equal(worker.endpointOf(1), '192.0.2.1:51820');
  assert.deepEqual([...worker.peerOf(1)!.presharedKey], Array(32).fill(9));
  assert.equal(worker.peerOf(1)!.timers.interval, 25_000);
  assert.equal(all.publicKeyOf('hq').length, 44);
  assert.deepEqual(await all.follow(text), []);
  assert.equal(worker.told.length, 1);
  assert.deepEqual([all.problems, changed], [[], []]);
});

test('a reload tells only what differs, never replaces peers, and leaves an endpoint alone that has roamed', async () => {
  const all = links();
  await all.follow(config(peer(1, ', endpoint: "192.0.2.1:51820"'), peer(2)));
  worker.peerOf(1)!.endpoint.set(parseEndpoint('198.51.100.9:4000')!);
  const kept = worker.peerOf(1);
  worker.told = [];
  const words = await all.follow(config(peer(1, ', endpoint: "192.0.2.1:51820", keepalive: 5'), peer(3)));
  assert.deepEqual(words, ['link hq: peer AgICAgIC removed', 'link hq: peer p1: keepalive', 'link hq: peer p3 added']);
  assert.doesNotMatch(worker.told[0]!, /replace_peers|private_key|endpoint/);
  assert.equal(worker.peerOf(1), kept, 'the same peer, with its sessions');
  assert.equal(worker.endpointOf(1), '198.51.100.9:4000');
  const moved = await all.follow(config(peer(1, ', endpoint: "192.0.2.2:51820", keepalive: 5'), peer(3)));
  assert.deepEqual(moved, ['link hq: peer p1: endpoint']);
  assert.equal(worker.endpointOf(1), '192.0.2.2:51820');
});

test('prefixes that two peers exchange are exchanged, in whatever order', async () => {
  const all = links();
  await all.follow(config(peer(1, '', '10.1.0.0/24, 10.3.0.0/24'), peer(2, '', '10.2.0.0/24')));
  await all.follow(config(peer(1, '', '10.2.0.0/24'), peer(2, '', '10.1.0.0/24')));
  const { text } = await worker.linkAsk('hq', 'get=1\n');
  assert.match(text, /public_key=(01){32}[^p]*(.|\n)*?allowed_ip=10\.2\.0\.0\/24\n(public_key|errno)/);
  assert.match(text, /public_key=(02){32}(.|\n)*?allowed_ip=10\.1\.0\.0\/24\n/);
  assert.doesNotMatch(text, /10\.3\.0\.0/);
});

test('a key file that changed is read at the reload; one that is gone is a problem, and the device goes on', async () => {
  const all = links();
  const text = config(peer(1));
  await all.follow(text);
  const before = all.publicKeyOf('hq');
  key('own', 65);
  assert.deepEqual(await all.follow(text), ['link hq: private key']);
  assert.notEqual(all.publicKeyOf('hq'), before);
  rmSync(join(dir, 'own'));
  assert.deepEqual(await all.follow(text), []);
  assert.match(all.problems[0]!, /^link "hq" \(.*tungate\.yaml:2:5\): .*own: there is no such file; make one:/);
  assert.notEqual(worker.device.own, null);
});

test('a worker that was started again is told everything again', async () => {
  const all = links();
  await all.follow(config(peer(1, ', endpoint: "192.0.2.1:51820"')));
  worker.device = new Device({ emit: () => {} });
  worker.device.start(0);
  worker.say({ kind: 'link-state', link: 'hq', up: true, fresh: true, port: 51820, problem: '' });
  await until(() => worker.peerOf(1) !== undefined, 'the new device is told');
  assert.equal(worker.endpointOf(1), '192.0.2.1:51820');
});

test('a port that cannot be had is a problem until it can', async () => {
  const all = links();
  await all.follow(config(peer(1)));
  const state = { kind: 'link-state', link: 'hq', fresh: false, port: 0 } as const;
  worker.say({ ...state, up: false, problem: 'address already in use' });
  assert.match(all.problems[0]!, /UDP port 51820: address already in use; tried again every few seconds$/);
  worker.say({ ...state, up: true, problem: '' });
  assert.deepEqual(all.problems, []);
});

test('a host name: told when it is resolved; silence asks again and takes the next address; now.endpoints follows', async () => {
  addresses = { 'branch.example': ['192.0.2.1', '192.0.2.2'] };
  const all = links();
  const text = config(peer(1, ', endpoint: "branch.example:51820"'));
  await all.follow(text);
  await until(() => worker.endpointOf(1) === '192.0.2.1:51820', 'resolved');
  assert.equal(changed.length, 1);
  assert.deepEqual(
    all.now().endpoints.map((prefix) => formatPrefix({ prefix, mask: -1 })),
    ['192.0.2.1/32'],
  );
  const silent = { kind: 'link-silent', link: 'hq', publicKey: KEY(1), attempts: 1 } as const;
  worker.say(silent);
  await until(() => worker.endpointOf(1) === '192.0.2.2:51820', 'the next address');
  // Dynamic DNS: the old ones mean nothing any more.
  addresses = { 'branch.example': ['2001:db8::7'] };
  worker.say(silent);
  await until(() => worker.endpointOf(1) === '[2001:db8::7]:51820', 'another address');
  assert.deepEqual(all.now().endpoints, []);
  // What it has roamed to does not answer: back to where the name leads.
  worker.peerOf(1)!.endpoint.set(parseEndpoint('198.51.100.9:4000')!);
  worker.say(silent);
  await until(() => worker.endpointOf(1) === '[2001:db8::7]:51820', 'back');
});

test('a name that cannot be resolved is a problem, asked for again, and forgotten with its peer', async () => {
  const all = links();
  await all.follow(config(peer(1, ', endpoint: "nowhere.example:51820"')));
  await until(() => all.problems.length > 0, 'it is said');
  assert.match(all.problems[0]!, /peer "p1": nowhere\.example cannot be resolved \(ENOTFOUND\)$/);
  assert.equal(worker.endpointOf(1), '');
  addresses = { 'nowhere.example': ['192.0.2.7'] };
  await until(() => worker.endpointOf(1) === '192.0.2.7:51820', 'it is there now');
  assert.deepEqual(all.problems, []);
  addresses = {};
  await all.follow(config(peer(1)));
  const before = asked.length;
  worker.say({ kind: 'link-silent', link: 'hq', publicKey: KEY(1), attempts: 1 });
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(asked.length, before);
});

/** One request on the link's socket, as wg(8) makes it. */
function wg(request: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(join(dir, 'hq.sock'));
    let text = '';
    socket.setEncoding('utf8').on('error', reject);
    socket.on('data', (part: string) => {
      text += part;
      if (text.endsWith('\n\n')) socket.destroy();
    });
    socket.on('close', () => resolve(text));
    socket.write(`${request}\n\n`);
  });
}

const HEX = (n: number) => Buffer.alloc(32, n).toString('hex');

test("REQ-59 wg(8): what it sets holds until the next reload; port and mark are the config's", async () => {
  const all = links();
  const text = config(peer(1));
  await all.follow(text);
  assert.match(await wg('get=1'), /listen_port=51820\n(.|\n)*allowed_ip=10\.1\.1\.0\/24\nerrno=0\n\n$/);
  assert.equal(await wg(`set=1\npublic_key=${HEX(1)}\npersistent_keepalive_interval=7`), 'errno=0\n\n');
  assert.deepEqual(changed, [], 'policy has nothing to do with it');
  assert.equal(
    await wg(`set=1\nlisten_port=0\nfwmark=0\npublic_key=${HEX(5)}\nallowed_ip=10.5.0.0/16\nallowed_ip=fd00::/8`),
    'errno=0\n\n',
  );
  assert.deepEqual(changed, ['wg(8) changed the peers of link "hq"']);
  assert.deepEqual(
    all
      .now()
      .peers.get('hq')!
      .map(({ name, allowedIps }) => [name, allowedIps.map(formatPrefix)]),
    [
      ['p1', ['10.1.1.0/24']],
      ['BQUFBQUF', ['10.5.0.0/16']],
    ],
  );
  assert.deepEqual(all.now(true).peers.size, 0);
  for (const line of ['listen_port=999', 'fwmark=7']) assert.equal(await wg(`set=1\n${line}`), 'errno=-1\n\n');
  assert.equal(await wg('set=1\nlisten_port=51820'), 'errno=0\n\n');
  assert.equal(await wg('set=1\nnonsense=1'), 'errno=-22\n\n');
  // Undone by the same hand, it is no difference any more.
  assert.equal(await wg(`set=1\npublic_key=${HEX(5)}\nremove=true`), 'errno=0\n\n');
  assert.equal(all.now().peers.size, 0);
  await wg(`set=1\npublic_key=${HEX(1)}\nremove=true`);
  assert.deepEqual(all.now().peers.get('hq'), []);
  all.forgetLive();
  assert.deepEqual(await all.follow(text), ['link hq: peer p1 added']);
  assert.equal(all.now().peers.size, 0);
});

test('a socket that another device holds is named, and the link works without it', async () => {
  const first = links();
  await first.follow(config(peer(1)));
  const second = links();
  assert.deepEqual(await second.follow(config(peer(1))), []);
  assert.match(second.problems[0]!, /`wg` does not find it: .*hq\.sock: another process is device hq already$/);
  first.close();
  await second.follow(config(peer(1)));
  assert.deepEqual(second.problems, []);
});
