/**
 * REQ-60: Debian's wireguard-go and wg(8) as judges.
 *
 *     ours   192.0.2.1, 2001:db8::1 ── veth ── 192.0.2.2, 2001:db8::2   theirs
 *            inside 10.99.0.1, fd99::1           inside 10.99.0.2, fd99::2 (a TUN of wireguard-go, the kernel answers pings)
 *
 * Both are configured by the stock `wg set`. /var/run/wireguard is one for all namespaces, so device names carry the pid.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Lab, type Namespace, type Process } from '../../../src/lab/index.js';
import { clamp, publicKeyOf } from '../../../src/link/wireguard/crypto.js';
import { judge } from '../../netns/tools.js';
import type { Call, Status } from './agent.js';

const AGENT = fileURLToPath(new URL('./agent.js', import.meta.url));
const OURS = `tgo${process.pid}`;
const THEIRS = `tgt${process.pid}`;
const PORT = 51820;

let lab: Lab;
let ours: Namespace;
let theirs: Namespace;
let agent: Agent;
let judgeProcess: Process;

class Agent {
  readonly #waiting = new Map<number, { resolve: (value: never) => void; reject: (error: Error) => void }>();
  #calls = 0;
  readonly up: Promise<void>;

  constructor(readonly process: Process) {
    this.up = new Promise((resolve) => this.#waiting.set(0, { resolve: resolve as never, reject: () => {} }));
    process.child.on('message', (message) => {
      const { id, result, error } = message as { id: number; result?: never; error?: string };
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) waiting?.resolve(result as never);
      else waiting?.reject(new Error(error));
    });
    void process.ended.then(() => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`the agent ended\n${process.tail()}`));
    });
  }

  call<T>(call: Call): Promise<T> {
    const id = ++this.#calls;
    this.process.child.send({ id, call });
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve: resolve as never, reject }));
  }

  ping(to: string, size = 56, seconds = 8): Promise<number> {
    return this.call({ op: 'ping', to, size, seconds });
  }

  status(): Promise<Status> {
    return this.call({ op: 'status' });
  }
}

function keyPair() {
  const secret = new Uint8Array(randomBytes(32));
  clamp(secret);
  return {
    secret: Buffer.from(secret).toString('base64'),
    public: Buffer.from(publicKeyOf(secret)).toString('base64'),
  };
}
const ourKeys = keyPair();
const theirKeys = keyPair();
const preshared = randomBytes(32).toString('base64');

function file(name: string, text: string): string {
  const path = join(lab.dir, name);
  writeFileSync(path, `${text}\n`, { mode: 0o600 });
  return path;
}

const wg = (...args: string[]) => ours.must(judge('wg', ...args));

async function startJudge(): Promise<void> {
  judgeProcess = theirs.spawn(judge('wireguard-go', '-f', THEIRS), {
    env: { WG_PROCESS_FOREGROUND: '1', LOG_LEVEL: 'verbose' },
  });
  for (let i = 0; i < 100 && !existsSync(`/var/run/wireguard/${THEIRS}.sock`); i++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  theirs.ip(
    `addr add 10.99.0.2/24 dev ${THEIRS}`,
    `addr add fd99::2/64 dev ${THEIRS} nodad`,
    `link set ${THEIRS} mtu 1420 up`,
  );
}

/** The judge's device, which knows us without an endpoint unless one is given. */
async function setJudge(endpoint?: string): Promise<void> {
  await wg(
    ...['set', THEIRS, 'listen-port', String(PORT), 'private-key', file('theirs', theirKeys.secret)],
    ...['peer', ourKeys.public, 'preshared-key', file('psk', preshared), 'allowed-ips', '10.99.0.1/32,fd99::1/128'],
    ...(endpoint === undefined ? [] : ['endpoint', endpoint]),
  );
}

async function setOurs(endpoint?: string): Promise<void> {
  await wg(
    ...['set', OURS, 'listen-port', String(PORT), 'private-key', file('ours', ourKeys.secret)],
    ...['peer', theirKeys.public, 'preshared-key', file('psk', preshared), 'allowed-ips', '10.99.0.2/32,fd99::2/128'],
    ...(endpoint === undefined ? [] : ['endpoint', endpoint]),
  );
}

const removeOurs = () => wg('set', OURS, 'peer', theirKeys.public, 'remove');
const removeTheirs = () => wg('set', THEIRS, 'peer', ourKeys.public, 'remove');

/** Pings by the judge's kernel, one a second until the first answer: a packet on its way when an address goes is lost, by anybody's device. */
async function theyPing(to: string, size = 56): Promise<void> {
  await theirs.must(['ping', '-n', '-c', '1', '-w', '15', '-s', String(size), to], { seconds: 20 });
}

before(async () => {
  lab = new Lab();
  ours = lab.namespace('ours');
  theirs = lab.namespace('theirs');
  ours.ip(`link add eth0 type veth peer name eth0 netns ${theirs.name}`);
  ours.ip('addr add 192.0.2.1/24 dev eth0', 'addr add 2001:db8::1/64 dev eth0 nodad', 'link set eth0 up');
  theirs.ip('addr add 192.0.2.2/24 dev eth0', 'addr add 2001:db8::2/64 dev eth0 nodad', 'link set eth0 up');
  agent = new Agent(
    ours.spawn([process.execPath, AGENT, OURS, '10.99.0.1', 'fd99::1'], { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] }),
  );
  await Promise.all([agent.up, startJudge()]);
});

after(async () => {
  await lab.close();
  rmSync(`/var/run/wireguard/${THEIRS}.sock`, { force: true });
});

test('REQ-60 we begin: preshared key, IPv4 outside, IPv4 and IPv6 inside, packets of every size up to the MTU', async () => {
  await setJudge();
  await setOurs(`192.0.2.2:${PORT}`);
  for (const size of [0, 1, 56, 1000, 1392]) await agent.ping('10.99.0.2', size);
  for (const size of [0, 56, 1372]) await agent.ping('fd99::2', size);
  const status = await agent.status();
  assert.equal(status.initiator, true);
  assert.equal(status.initiated, 1);
});

test('REQ-60 they begin: our side knows no endpoint and learns it', async () => {
  await removeOurs();
  await removeTheirs();
  await setOurs();
  await setJudge(`192.0.2.1:${PORT}`);
  await assert.rejects(agent.ping('10.99.0.2'), /no-endpoint/);
  await theyPing('10.99.0.1');
  await theyPing('fd99::1', 1372);
  await agent.ping('10.99.0.2');
  const status = await agent.status();
  assert.equal(status.initiator, false);
  assert.equal(status.answered, 1);
});

test('REQ-60 IPv6 outside, in both roles', async () => {
  await removeOurs();
  await removeTheirs();
  await setJudge();
  await setOurs(`[2001:db8::2]:${PORT}`);
  await agent.ping('10.99.0.2');
  await removeOurs();
  await removeTheirs();
  await setOurs();
  await setJudge(`[2001:db8::1]:${PORT}`);
  await theyPing('fd99::1');
  assert.match(await wg('show', THEIRS, 'endpoints'), /\[2001:db8::1\]:51820/);
});

test('REQ-60 rekey after 120 s while packets pass, and nothing is lost', async () => {
  await removeOurs();
  await removeTheirs();
  await setJudge();
  await setOurs(`192.0.2.2:${PORT}`);
  await agent.ping('10.99.0.2');
  for (let round = 1; round <= 3; round++) {
    await new Promise((resolve) => setTimeout(resolve, 50)); // nobody takes two initiations within 20 ms
    await agent.call({ op: 'jump', millis: 121_000 });
    const until = Date.now() + 300;
    while (Date.now() < until) await agent.ping('10.99.0.2', 56, 2);
    assert.equal((await agent.status()).initiated, 1 + round);
  }
});

test('REQ-60 restart of our side: we greet, and their next packet arrives at once', async () => {
  await agent.call({ op: 'restart' });
  await theyPing('10.99.0.1');
  await agent.ping('10.99.0.2');
});

test('REQ-60 restart of their side: killed, and made anew with the same keys', async () => {
  await judgeProcess.stop('SIGKILL');
  rmSync(`/var/run/wireguard/${THEIRS}.sock`, { force: true });
  await startJudge();
  await setJudge(`192.0.2.1:${PORT}`);
  await theyPing('10.99.0.1');
  await agent.ping('10.99.0.2');
});

test('REQ-60 roaming: our address changes, then theirs', async () => {
  await agent.ping('10.99.0.2');
  ours.ip('addr del 192.0.2.1/24 dev eth0', 'addr add 192.0.2.77/24 dev eth0');
  await agent.ping('10.99.0.2');
  await theyPing('10.99.0.1');
  assert.match(await wg('show', THEIRS, 'endpoints'), /192\.0\.2\.77:51820/);
  // Their address cannot be taken away: this wireguard-go goes on sending from it. So the port, and their other address.
  await wg('set', THEIRS, 'listen-port', '4242');
  await theyPing('10.99.0.1');
  await agent.ping('10.99.0.2');
  assert.match(await wg('show', OURS, 'endpoints'), /192\.0\.2\.2:4242/);
  await wg('set', THEIRS, 'peer', ourKeys.public, 'endpoint', `[2001:db8::1]:${PORT}`);
  await theyPing('10.99.0.1');
  assert.match(await wg('show', OURS, 'endpoints'), /\[2001:db8::2\]:4242/);
});

test('REQ-60 a wrong preshared key is silence', async () => {
  await wg('set', OURS, 'peer', theirKeys.public, 'preshared-key', file('other', randomBytes(32).toString('base64')));
  await agent.call({ op: 'jump', millis: 200_000 });
  await assert.rejects(agent.ping('10.99.0.2', 56, 3), /no answer/);
  await wg('set', OURS, 'peer', theirKeys.public, 'preshared-key', file('psk', preshared));
  await agent.call({ op: 'jump', millis: 6_000 });
  await agent.ping('10.99.0.2');
});

test('REQ-59 wg show, showconf, dump, setconf, syncconf and set work on our device as they are', async () => {
  const shown = await wg('show', OURS);
  assert.match(shown, new RegExp(`interface: ${OURS}\n  public key: ${ourKeys.public.replace(/[+/]/g, '\\$&')}`));
  assert.match(shown, /listening port: 51820/);
  assert.match(shown, /preshared key: \(hidden\)/);
  assert.match(shown, /latest handshake: (\d+ seconds? ago|Now)/);
  assert.match(shown, /transfer: [\d.]+ \w+ received, [\d.]+ \w+ sent/);
  assert.match(await wg('show', 'interfaces'), new RegExp(OURS));
  const dump = await wg('show', 'all', 'dump');
  const line = dump.split('\n').filter((each) => each.startsWith(OURS))[1]!;
  assert.equal(line.split('\t')[1], theirKeys.public);
  assert.equal(line.split('\t')[4]!.split(',').sort().join(), '10.99.0.2/32,fd99::2/128');

  const config = await wg('showconf', OURS);
  await wg('setconf', OURS, file('same', config));
  assert.equal(normal(await wg('showconf', OURS)), normal(config));
  await agent.ping('10.99.0.2');
  const { initiated } = await agent.status();
  await wg('syncconf', OURS, file('same', config));
  await agent.ping('10.99.0.2');
  assert.equal((await agent.status()).initiated, initiated, 'syncconf of the same leaves the session alone');

  const stranger = keyPair().public;
  await wg(
    'set',
    OURS,
    'peer',
    stranger,
    'allowed-ips',
    '10.50.0.0/16',
    'persistent-keepalive',
    '25',
    'endpoint',
    '192.0.2.9:9',
  );
  assert.match(await wg('show', OURS, 'persistent-keepalive'), /25/);
  await wg('set', OURS, 'peer', theirKeys.public, 'allowed-ips', '10.99.0.2/32,10.50.0.0/16');
  assert.match(await wg('show', OURS, 'allowed-ips'), new RegExp(`${stranger.replace(/[+/]/g, '\\$&')}\t\\(none\\)`));
  await wg('syncconf', OURS, file('same', config));
  assert.ok(!(await wg('show', OURS)).includes(stranger));

  const refused = await ours.run(judge('wg', 'set', OURS, 'listen-port', '22', 'fwmark', '0x1'));
  assert.equal(refused.code, 0, 'a free port is taken');
  assert.match(await wg('show', OURS, 'fwmark'), /0x1/);
  assert.match(await wg('show', OURS, 'listen-port'), /^22$/m);
});

function normal(config: string): string {
  return config
    .split('\n')
    .map((line) => line.split(', ').sort().join(', '))
    .join('\n');
}
