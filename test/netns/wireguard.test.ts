/**
 * REQ-54, 58, 60: a bare tungate device on the real kernel, with Debian's wireguard-go and wg(8) as judges. The two hosts are drawn in src/lab/wireguard.ts.
 */
import assert from 'node:assert/strict';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  buildSites,
  endpoint,
  Host,
  type Implementation,
  INSIDE,
  Lab,
  OUTSIDE,
  type Site,
  tungateWg,
  until,
} from '../../src/lab/index.js';
import { judge } from './tools.js';

const SRC = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'src');
const CLI = join(SRC, 'cli.js');
/** Bytes of each transfer; a gigabyte where somebody asks for it. */
const BYTES = Number(process.env.TUNGATE_WG_BYTES ?? 24 << 20);
const SECONDS = BYTES / 1e6 + 120;

const ours = tungateWg(CLI);
const theirs: Implementation = (name) => judge('wireguard-go', '-f', name);
const CELLS: readonly (readonly [string, Implementation, Implementation])[] = [
  ['tungate to wireguard-go', ours, theirs],
  ['wireguard-go to tungate', theirs, ours],
  ['tungate to tungate', ours, ours],
];

interface Ground {
  readonly lab: Lab;
  readonly a: Site;
  readonly b: Site;
}

/** `a` knows where `b` is, and so begins; `b` learns it. */
async function raise(first: Implementation, second: Implementation, six = false): Promise<Ground> {
  const lab = new Lab();
  try {
    const { a, b } = buildSites(lab, judge('wg'));
    await Promise.all([a.start(first), b.start(second)]);
    await b.peer(a, undefined);
    await a.peer(b, endpoint(six ? OUTSIDE.b6 : OUTSIDE.b));
    return { lab, a, b };
  } catch (error) {
    await lab.close();
    throw error;
  }
}

async function ping(from: Site, to: string, ...more: string[]): Promise<void> {
  await from.host.must(['ping', '-c', '1', '-W', '1', ...more, to]);
}

/** Until a ping comes back; returns the seconds that it took. */
async function pingUntil(from: Site, to: string, seconds = 20): Promise<number> {
  const begun = Date.now();
  const answered = async () => (await from.host.run(['ping', '-c', '1', '-W', '1', to])).code === 0;
  await until(answered, `${to} answers`, seconds);
  return (Date.now() - begun) / 1000;
}

/** Sends BYTES of chance to the first who connects, and prints their hash. */
const SERVE = `
const { createHash, randomBytes } = require('node:crypto');
let left = ${BYTES};
const hash = createHash('sha256');
const server = require('node:net').createServer((socket) => {
  server.close();
  const more = () => {
    while (left > 0) {
      const part = randomBytes(Math.min(left, 1 << 18));
      hash.update(part);
      left -= part.length;
      if (!socket.write(part)) return socket.once('drain', more);
    }
    socket.end();
    console.log('sha256 ' + hash.digest('hex'));
  };
  more();
}).listen(8080, '::', () => console.log('listening'));`;

/** Prints the hash of all that comes. */
const FETCH = `
const hash = require('node:crypto').createHash('sha256');
require('node:net').connect(8080, process.argv[1])
  .on('data', (part) => hash.update(part))
  .on('end', () => console.log('sha256 ' + hash.digest('hex')));`;

async function transfer(from: Site, to: Site, address: string): Promise<void> {
  const server = from.host.spawn([process.execPath, '-e', SERVE]);
  await server.waitFor(/listening/);
  const client = to.host.spawn([process.execPath, '-e', FETCH, address]);
  const [sent, got] = await Promise.all([server.waitFor(/sha256 \w+/, SECONDS), client.waitFor(/sha256 \w+/, SECONDS)]);
  assert.equal(got, sent, `what ${to.name} got is not what ${from.name} sent`);
  await Promise.all([server.ended, client.ended]);
}

for (const [title, first, second] of CELLS) {
  for (const six of [false, true]) {
    test(`REQ-60 ${title} over IPv${six ? 6 : 4}: pings of both families, TCP both ways, intact`, async () => {
      const ground = await raise(first, second, six);
      try {
        await pingUntil(ground.a, INSIDE.b, 5);
        await ping(ground.b, INSIDE.a);
        await ping(ground.a, INSIDE.b6, '-s', '1372'); // 1420 bytes
        await ping(ground.b, INSIDE.a, '-s', '8000'); // in fragments
        await transfer(ground.b, ground.a, six ? INSIDE.b6 : INSIDE.b);
        await transfer(ground.a, ground.b, six ? INSIDE.a : INSIDE.a6);
        assert.equal(await ground.b.show('endpoints'), endpoint(six ? OUTSIDE.a6 : OUTSIDE.a));
        assert.ok(Number(await ground.a.show('latest-handshakes')) > 1e9);
      } finally {
        await ground.lab.close();
      }
    });
  }
}

describe('what happens to a tunnel with wireguard-go', () => {
  let ground: Ground;
  before(async () => {
    ground = await raise(ours, theirs);
    await pingUntil(ground.a, INSIDE.b);
  });
  after(() => ground?.lab.close());

  test('REQ-54 killed and started again: tungate begins a handshake at once', async () => {
    const { a, b } = ground;
    await a.stop('SIGKILL');
    await a.start(ours, {}, () => a.peer(b, endpoint(OUTSIDE.b)));
    // The other side still holds the old session: data of its own would be lost for 15 s.
    assert.ok((await pingUntil(b, INSIDE.a)) < 10);
  });

  test('the other side is killed and started again', async () => {
    const { a, b } = ground;
    await b.stop('SIGKILL');
    rmSync(`/var/run/wireguard/${b.name}.sock`, { force: true });
    await b.start(theirs);
    await b.peer(a, undefined);
    await pingUntil(a, INSIDE.b, 40);
  });

  test('link down: silence; link up: the same port and peers again', async () => {
    const { a } = ground;
    const port = await a.show('listen-port');
    a.host.ip(`link set ${a.name} down`);
    await a.process!.waitFor(/\) down/);
    assert.notEqual((await a.host.run(['ping', '-c', '1', '-W', '1', INSIDE.b])).code, 0);
    a.host.ip(`link set ${a.name} up`);
    await pingUntil(a, INSIDE.b);
    assert.equal(await a.show('listen-port'), port);
  });

  test('REQ-58 roaming: our address changes, the peer follows; its address changes, we follow', async () => {
    const { a, b } = ground;
    a.host.ip(`addr del ${OUTSIDE.a}/24 dev eth0`, 'addr add 192.0.2.77/24 dev eth0');
    await pingUntil(a, INSIDE.b, 30);
    assert.equal(await b.show('endpoints'), endpoint('192.0.2.77'));
    await b.set(['listen-port', '51999']);
    await pingUntil(b, INSIDE.a, 30);
    assert.equal(await a.show('endpoints'), `${OUTSIDE.b}:51999`);
  });

  test('a path that takes only 1280 bytes: packets outside come in fragments, TCP goes on', async () => {
    const { a, b } = ground;
    for (const { host } of [a, b]) host.ip('link set eth0 mtu 1280');
    await pingUntil(a, INSIDE.b);
    await ping(a, INSIDE.b, '-s', '1372', '-M', 'do');
    await ping(b, INSIDE.a, '-s', '1372', '-M', 'do');
    const host = new Host(b.host, OUTSIDE.b);
    await host.serve({ http: [8090] });
    const got = await new Host(a.host, OUTSIDE.a).download(`http://${INSIDE.b}:8090/${1 << 20}`, 60);
    assert.ok(got.intact);
  });

  test('a new port by wg(8) while packets pass, and one that is taken is refused', async () => {
    const { a } = ground;
    await a.set(['listen-port', '51900', 'fwmark', '0x33']);
    assert.equal(await a.show('listen-port'), '51900');
    assert.equal(await a.show('fwmark'), '0x33');
    await pingUntil(a, INSIDE.b);
    const taken = a.host.spawn([
      process.execPath,
      '-e',
      "require('dgram').createSocket('udp4').bind(51901, () => console.log('bound'))",
    ]);
    await taken.waitFor(/bound/);
    await assert.rejects(a.set(['listen-port', '51901']), /Address already in use/);
    assert.equal(await a.show('listen-port'), '51900');
    await pingUntil(a, INSIDE.b);
    await taken.stop();
  });
});

describe('the life of a device', () => {
  let lab: Lab;
  let a: Site;
  before(() => {
    lab = new Lab();
    a = buildSites(lab, judge('wg')).a;
  });
  after(() => lab?.close());

  const ENDS: readonly (readonly [string, (site: Site) => void])[] = [
    ['its interface is removed', (site) => site.host.ip(`link del ${site.name}`)],
    ['its socket is removed', (site) => rmSync(`/var/run/wireguard/${site.name}.sock`)],
    ['SIGTERM', (site) => site.process!.child.kill('SIGTERM')],
    ['SIGINT', (site) => site.process!.child.kill('SIGINT')],
  ];
  for (const [what, end] of ENDS) {
    test(`ends by ${what}, and leaves nothing`, async () => {
      await a.start(ours);
      end(a);
      assert.equal(await a.process!.ended, 0, a.process!.tail());
      assert.ok(!existsSync(`/var/run/wireguard/${a.name}.sock`));
      assert.notEqual((await a.host.run(['ip', 'link', 'show', a.name])).code, 0);
    });
  }

  test('goes into the background when its socket answers; a second one of the name is refused', async () => {
    const host = lab.namespace('back');
    const name = `tg${process.pid}k`;
    const command = [process.execPath, CLI, 'wg', name];
    await host.must(command);
    await host.must([...judge('wg'), 'show', name]);
    const second = await host.run(command);
    assert.equal(second.code, 1);
    assert.match(second.stderr, /another process/);
    host.ip(`link del ${name}`);
    await until(() => !existsSync(`/var/run/wireguard/${name}.sock`), 'the socket goes with the interface');
  });

  test('wg-quick up and down, with tungate as its implementation', async () => {
    const host = lab.namespace('quick');
    const name = `tg${process.pid}q`;
    const file = join(lab.dir, `${name}.conf`);
    const secret = (await host.must([process.execPath, CLI, 'genkey'])).trim();
    const other = await host.must([process.execPath, CLI, 'pubkey'], {
      input: await host.must([process.execPath, CLI, 'genkey']),
    });
    writeFileSync(
      file,
      `[Interface]\nPrivateKey = ${secret}\nAddress = 10.98.0.1/24, fd98::1/64\nListenPort = 51777\nMTU = 1400\n\n[Peer]\nPublicKey = ${other}AllowedIPs = 10.97.0.0/16\nEndpoint = 127.0.0.1:51778\n`,
      { mode: 0o600 },
    );
    const wg = judge('wg').at(-1)!;
    const env = {
      PATH: `${dirname(wg)}:${process.env.PATH}:/usr/sbin:/sbin`,
      WG_QUICK_USERSPACE_IMPLEMENTATION: join(lab.dir, 'tungate-wg'),
    };
    writeFileSync(
      env.WG_QUICK_USERSPACE_IMPLEMENTATION,
      `#!/bin/sh\nexec ${process.execPath} ${join(SRC, 'cli-wg.js')} "$@"\n`,
      {
        mode: 0o755,
      },
    );
    await host.must(judge('wg-quick', 'up', file), { env });
    const shown = await host.must([...judge('wg'), 'showconf', name]);
    assert.match(shown, /ListenPort = 51777/);
    assert.ok(shown.includes(secret) && shown.includes('AllowedIPs = 10.97.0.0/16'));
    assert.match(await host.must(['ip', 'link', 'show', name]), /mtu 1400/);
    assert.match(await host.must(['ip', 'route', 'get', '10.97.3.4']), new RegExp(`dev ${name}`));
    await host.must(judge('wg-quick', 'down', file), { env });
    await until(() => !existsSync(`/var/run/wireguard/${name}.sock`), 'the device ends');
  });
});
