import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { addHostAddress, addHostRoute, setSysctl } from '../../src/host/change.js';
import { ipv4Number } from '../../src/host/ipv4.js';
import { type Change, Journal } from '../../src/host/journal.js';
import { findLink, setLink } from '../../src/host/link.js';
import { Netlink } from '../../src/host/netlink.js';
import { reservePorts } from '../../src/host/reserve.js';
import { readSysctl, writeSysctl } from '../../src/host/sysctl.js';
import { addClsact, clsactOf, ETH_P_IP, INGRESS, readFilters, writeFilter } from '../../src/host/tc.js';
import { inNamespace } from '../in-namespace.js';

const ip = (...args: string[]): string => execFileSync('ip', args, { encoding: 'utf8' });
const tc = (...args: string[]): string => execFileSync('tc', args, { encoding: 'utf8' });
const FORWARDING = 'net/ipv4/conf/d0/forwarding';
const RESERVED = 'net/ipv4/ip_local_reserved_ports';

/** Everything that the changes of this file touch, as the kernel's own tools tell it. */
function state(): string {
  const sysctl = execFileSync('sysctl', ['-a', '-r', '^net\\.ipv4\\.(conf|ip_local)'], { encoding: 'utf8' });
  return [ip('-d', 'link'), ip('addr'), ip('rule'), ip('route', 'show', 'table', 'all'), tc('qdisc'), sysctl]
    .join('\n')
    .replaceAll(/ (state|valid_lft|preferred_lft) \S+/g, '');
}

inNamespace('undo journal', import.meta.url, ['--net'], () => {
  const folder = mkdtempSync(join(tmpdir(), 'tungate-journal-'));
  process.on('exit', () => rmSync(folder, { recursive: true }));
  let files = 0;
  const newPath = (): string => join(folder, `undo${files++}`);
  const nl = new Netlink();
  ip('link', 'set', 'lo', 'up');
  // Without IPv6 nothing here changes by itself.
  writeSysctl('net/ipv6/conf/all/disable_ipv6', '1');
  writeSysctl('net/ipv6/conf/default/disable_ipv6', '1');
  ip('link', 'add', 'd0', 'type', 'veth', 'peer', 'name', 'd1');
  ip('link', 'set', 'd1', 'up');
  ip('link', 'set', 'd0', 'up');
  const d0 = findLink(nl, 'd0')!;
  writeSysctl(RESERVED, '8080,9000-9010');

  const filterOn = (index: number): Extract<Change, { kind: 'filter' }> => ({
    kind: 'filter',
    interface: 'd0',
    index,
    parent: INGRESS,
    priority: 50,
    protocol: ETH_P_IP,
    handle: 1,
    classifier: 'bpf',
  });
  const addFilter = (): void =>
    writeFilter(nl, filterOn(d0.index), 'bpf', (options) => {
      options
        .attrU16(4, 1)
        .attr(5, new Uint8Array([6, 0, 0, 0, 0, 0, 0, 0]))
        .attrU32(8, 1);
    });

  /** One change of each kind, as the program makes them: note, then act. */
  const steps: ((journal: Journal) => void)[] = [
    (journal) => setSysctl(journal, 'net/ipv4/conf/all/rp_filter', '2'),
    (journal) => setSysctl(journal, FORWARDING, '1', d0),
    (journal) => addHostAddress(nl, journal, d0, ipv4Number('203.0.113.5')),
    (journal) => {
      const [prefix, source] = [ipv4Number('192.168.20.0'), ipv4Number('203.0.113.5')];
      addHostRoute(nl, journal, d0, { prefix, length: 24, source });
    },
    (journal) => reservePorts([{ first: 20_000, last: 20_999 }], journal),
    (journal) => {
      const { up, mtu, txqueuelen } = d0;
      journal.note({ kind: 'link-settings', interface: 'd0', index: d0.index, before: { up, mtu, txqueuelen } });
      setLink(nl, d0.index, { mtu: 1400, txqueuelen: 1 });
    },
    (journal) => {
      journal.note({ kind: 'qdisc', interface: 'd0', index: d0.index });
      addClsact(nl, d0.index);
    },
    (journal) => {
      journal.note(filterOn(d0.index));
      addFilter();
    },
    (journal) => {
      ip('tuntap', 'add', 'tj0', 'mode', 'tun');
      journal.note({ kind: 'link', interface: 'tj0', index: findLink(nl, 'tj0')!.index });
    },
  ];

  test('REQ-63 a crash after any step leaves a journal that puts everything back', () => {
    const before = state();
    for (let crash = 0; crash <= steps.length; crash++) {
      const path = newPath();
      const journal = new Journal(path);
      for (const step of steps.slice(0, crash)) step(journal);
      journal.close();
      const report = Journal.load(path)?.undoAll(nl);
      assert.equal(state(), before, `after ${crash} steps`);
      assert.deepEqual(report?.failed ?? [], []);
      assert.equal(report?.undone.length ?? 0, crash);
      assert.equal(Journal.load(path), undefined, 'the file is gone');
    }
  });

  test('REQ-63 a crash between noting and acting: what never happened is not undone', () => {
    const path = newPath();
    const journal = new Journal(path);
    const before = state();
    journal.note({ kind: 'sysctl', path: FORWARDING, before: '0', after: ['1'], interface: 'd0', index: d0.index });
    journal.note({ kind: 'address', interface: 'd0', index: d0.index, address: '203.0.113.9', length: 32 });
    journal.note({ kind: 'route', interface: 'd0', index: d0.index, destination: '192.168.20.0', length: 24 });
    journal.note({ kind: 'qdisc', interface: 'd0', index: d0.index });
    journal.note(filterOn(d0.index));
    journal.note({ kind: 'reserved-ports', ours: '30000-30001' });
    journal.note({ kind: 'link', interface: 'tj9', index: 4711 });
    journal.close();
    const report = new Journal(path).undoAll(nl);
    assert.equal(state(), before);
    assert.deepEqual([report.undone, report.left, report.failed, report.gone.length], [[], [], [], 7]);
  });

  test("a socket's file is removed, but not one that somebody made there since", () => {
    const file = join(folder, 'hq.sock');
    const made = () => {
      writeFileSync(file, '');
      return statSync(file).ino;
    };
    const journal = new Journal(newPath());
    journal.note({ kind: 'socket', path: file, inode: made() });
    assert.deepEqual(journal.undoAll(nl).undone, [`${file} removed`]);
    journal.note({ kind: 'socket', path: file, inode: made() + 1 });
    assert.deepEqual(journal.undoAll(nl).gone, [`${file} is gone`]);
    assert.ok(existsSync(file));
  });

  test('a torn last line is cut off, and what is written next is whole', () => {
    const path = newPath();
    let journal = new Journal(path);
    setSysctl(journal, FORWARDING, '1', d0);
    journal.close();
    appendFileSync(path, '{"kind":"address","interfa');
    journal = new Journal(path);
    assert.equal(journal.changes.length, 1);
    addHostAddress(nl, journal, d0, ipv4Number('203.0.113.5'));
    journal.close();
    for (const line of readFileSync(path, 'utf8').trimEnd().split('\n')) JSON.parse(line);
    assert.equal(new Journal(path).undoAll(nl).undone.length, 2);
  });

  test('a journal cut at any byte can be read, and knows every whole line', () => {
    const path = newPath();
    const journal = new Journal(path);
    journal.note({ kind: 'link', interface: 'x', index: 1000 });
    journal.note({ kind: 'link', interface: 'y', index: 1001 });
    journal.close();
    const content = readFileSync(path);
    for (let cut = 0; cut <= content.length; cut++) {
      const copy = newPath();
      writeFileSync(copy, content.subarray(0, cut));
      const lines = content.subarray(0, cut).filter((byte) => byte === 0x0a).length;
      assert.equal(new Journal(copy).changes.length, Math.max(0, lines - 1));
      rmSync(copy, { force: true });
    }
  });

  test('a line that is broken in the middle is an error with its place, not a guess', () => {
    const path = newPath();
    const journal = new Journal(path);
    journal.note({ kind: 'link', interface: 'x', index: 1000 });
    journal.close();
    appendFileSync(path, 'rubbish\n');
    assert.throws(() => new Journal(path), /undo\d+:3: not a line of an undo journal/);
    writeFileSync(path, 'rubbish\n');
    assert.throws(() => new Journal(path), /:1: not an undo journal/);
  });

  test('the same sysctl set by several lives goes back to the first value', () => {
    const path = newPath();
    const key = 'net/ipv4/conf/all/log_martians';
    for (const value of ['1', '2', '3']) {
      const journal = new Journal(path);
      setSysctl(journal, key, value);
      journal.close();
    }
    const journal = new Journal(path);
    assert.equal(journal.changes.length, 1);
    journal.undoAll(nl);
    assert.equal(readSysctl(key), '0');
  });

  test('a sysctl that somebody else has changed since stays theirs, and the report says so', () => {
    const journal = new Journal(newPath());
    setSysctl(journal, 'net/ipv4/conf/all/rp_filter', '1');
    writeSysctl('net/ipv4/conf/all/rp_filter', '2');
    const { left, undone } = journal.undoAll(nl);
    assert.deepEqual(undone, []);
    assert.match(left[0]!, /rp_filter is 2: not what was set here \(1\), so it stays; it was 0 before/);
    assert.equal(readSysctl('net/ipv4/conf/all/rp_filter'), '2');
    writeSysctl('net/ipv4/conf/all/rp_filter', '0');
  });

  test('undoing twice does nothing the second time', () => {
    const journal = new Journal(newPath());
    for (const step of steps) step(journal);
    assert.equal(journal.undoAll(nl).undone.length, steps.length);
    assert.deepEqual(journal.undoAll(nl), { undone: [], gone: [], left: [], failed: [] });
  });

  test('an interface that was deleted and made again is another one: its settings are not touched', () => {
    ip('link', 'add', 'again0', 'type', 'bridge');
    const first = findLink(nl, 'again0')!;
    const journal = new Journal(newPath());
    setSysctl(journal, 'net/ipv4/conf/again0/forwarding', '1', first);
    addHostAddress(nl, journal, first, ipv4Number('203.0.113.6'));
    ip('link', 'del', 'again0');
    ip('link', 'add', 'again0', 'type', 'bridge');
    ip('addr', 'add', '203.0.113.6/32', 'dev', 'again0');
    writeSysctl('net/ipv4/conf/again0/forwarding', '1');
    const report = journal.undoAll(nl);
    assert.equal(report.gone.length, 2);
    assert.equal(readSysctl('net/ipv4/conf/again0/forwarding'), '1');
    assert.match(ip('addr', 'show', 'again0'), /203\.0\.113\.6/);
    ip('link', 'del', 'again0');
  });

  test('a renamed interface is still the same one', () => {
    ip('link', 'add', 'was0', 'type', 'bridge');
    const journal = new Journal(newPath());
    setSysctl(journal, 'net/ipv4/conf/was0/forwarding', '1', findLink(nl, 'was0')!);
    ip('link', 'set', 'was0', 'name', 'is0');
    journal.undoAll(nl);
    assert.equal(readSysctl('net/ipv4/conf/is0/forwarding'), '0');
    ip('link', 'del', 'is0');
  });

  test("a clsact that somebody's filter has come to is left, with our filters taken off it", () => {
    const journal = new Journal(newPath());
    journal.note({ kind: 'qdisc', interface: 'd0', index: d0.index });
    addClsact(nl, d0.index);
    journal.note(filterOn(d0.index));
    addFilter();
    tc('filter', 'add', 'dev', 'd0', 'ingress', 'pref', '9', 'protocol', 'ip', 'bpf', 'bytecode', '1,6 0 0 0');
    const report = journal.undoAll(nl);
    assert.equal(report.undone.length, 1);
    assert.match(report.left[0]!, /clsact of d0 stays: somebody else's filter is on it \(pref 9/);
    assert.deepEqual(
      readFilters(nl, d0.index, INGRESS).map(({ priority }) => priority),
      [9],
    );
    tc('qdisc', 'del', 'dev', 'd0', 'clsact');
  });

  test('a clsact that was there before is not noted, so it stays', () => {
    tc('qdisc', 'add', 'dev', 'd0', 'clsact');
    const journal = new Journal(newPath());
    journal.note(filterOn(d0.index));
    addFilter();
    journal.undoAll(nl);
    assert.equal(clsactOf(nl, d0.index), 'clsact');
    assert.deepEqual(readFilters(nl, d0.index, INGRESS), []);
    tc('qdisc', 'del', 'dev', 'd0', 'clsact');
  });

  test('a device of another kind with the index of our TUN is not deleted', () => {
    const journal = new Journal(newPath());
    journal.note({ kind: 'link', interface: 'd0', index: d0.index });
    assert.match(journal.undoAll(nl).left[0]!, /is not the TUN d0 that was made here/);
    assert.ok(findLink(nl, 'd0'));
  });

  test('REQ-63 reserved ports: reloads come and go, others add and remove, only ours are taken out', () => {
    const path = newPath();
    const before = readSysctl(RESERVED);
    let journal = new Journal(path);
    reservePorts([{ first: 20_000, last: 29_999 }], journal);
    assert.equal(readSysctl(RESERVED), '8080,9000-9010,20000-29999');
    reservePorts(
      [
        { first: 9005, last: 9020 },
        { first: 25_000, last: 39_999 },
      ],
      journal,
    );
    assert.equal(readSysctl(RESERVED), '8080,9000-9020,25000-39999');
    journal.close();
    journal = new Journal(path);
    writeSysctl(RESERVED, '7,8080,9000-9020,25000-39999');
    reservePorts([{ first: 30_000, last: 39_999 }], journal);
    assert.equal(readSysctl(RESERVED), '7,8080,9000-9010,30000-39999');
    writeSysctl(RESERVED, '8080,9000-9010,30000-39999');
    journal.undoAll(nl);
    assert.equal(readSysctl(RESERVED), before);
  });

  test('reserved ports: a list longer than a page is written and read whole', () => {
    const journal = new Journal(newPath());
    const many = Array.from({ length: 5000 }, (_, i) => ({ first: 10_000 + i * 10, last: 10_003 + i * 10 }));
    reservePorts(many, journal);
    assert.equal(readSysctl(RESERVED)!.split(',').length, 5002);
    journal.undoAll(nl);
    assert.equal(readSysctl(RESERVED), '8080,9000-9010');
  });

  test('a journal of another boot means nothing', () => {
    const path = newPath();
    const journal = new Journal(path);
    journal.note({ kind: 'link', interface: 'd0', index: d0.index });
    journal.close();
    writeFileSync(path, readFileSync(path, 'utf8').replace(/"boot":"[^"]+"/, '"boot":"yesterday"'));
    assert.deepEqual(new Journal(path).changes, []);
  });

  test('a journal of another network namespace is refused while that one lives, and dropped when it is gone', async () => {
    const path = newPath();
    const journal = new Journal(path);
    journal.note({ kind: 'link', interface: 'd0', index: d0.index });
    journal.close();
    const other: ChildProcess = spawn('unshare', ['--net', 'sleep', '60']);
    try {
      const readNamespace = (): string =>
        execFileSync('readlink', [`/proc/${other.pid}/ns/net`], { encoding: 'utf8' }).trim();
      const mine = execFileSync('readlink', ['/proc/self/ns/net'], { encoding: 'utf8' }).trim();
      while (readNamespace() === mine) await new Promise((resolve) => setTimeout(resolve, 10));
      writeFileSync(path, readFileSync(path, 'utf8').replace(mine, readNamespace()));
      assert.throws(() => new Journal(path), /was written in another network namespace .* run this command there/);
    } finally {
      other.kill();
      await new Promise((resolve) => other.once('exit', resolve));
    }
    assert.deepEqual(new Journal(path).changes, []);
  });

  test('a long life does not make a long file', () => {
    const path = newPath();
    let journal = new Journal(path);
    for (let i = 0; i < 3000; i++) {
      journal.note({ kind: 'link', interface: `t${i}`, index: 10_000 + i });
      if (i > 3) journal.forget({ kind: 'link', interface: `t${i}`, index: 10_000 + i });
    }
    journal.close();
    journal = new Journal(path);
    assert.equal(journal.changes.length, 4);
    assert.equal(readFileSync(path, 'utf8').trimEnd().split('\n').length, 5);
    journal.undoAll(nl);
  });

  test('a full file system: the change is refused, and the journal stays whole and usable', () => {
    const mount = mkdtempSync(join(tmpdir(), 'tungate-full-'));
    execFileSync('unshare', [
      '--mount',
      process.execPath,
      '--input-type=module',
      '-e',
      `import { execFileSync } from 'node:child_process';
       import { rmSync, writeFileSync } from 'node:fs';
       import { Journal } from ${JSON.stringify(new URL('../../src/host/journal.js', import.meta.url).href)};
       execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16k', 'none', ${JSON.stringify(mount)}]);
       const path = ${JSON.stringify(join(mount, 'undo'))};
       const filler = path + '.filler';
       writeFileSync(filler, Buffer.alloc(8192));
       const journal = new Journal(path);
       let failed = '';
       for (let i = 0; i < 500 && !failed; i++)
         try { journal.note({ kind: 'link', interface: 'x', index: i }); } catch (error) { failed = error.message; }
       if (!/file system is full|ENOSPC/.test(failed)) throw new Error('not full: ' + failed);
       rmSync(filler);
       journal.note({ kind: 'link', interface: 'after', index: 1 });
       const [was, is] = [journal, new Journal(path)].map(({ changes }) => JSON.stringify(changes));
       if (was !== is) throw new Error('a change is lost or invented');`,
    ]);
    rmSync(mount, { recursive: true });
  });
});
