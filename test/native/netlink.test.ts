import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { native } from '../../src/native.js';
import { inNamespace } from '../in-namespace.js';

const RTM_NEWLINK = 16;
const RTM_GETLINK = 18;
const NLM_F_REQUEST = 1;
const NLM_F_ACK = 4;
const NLM_F_DUMP = 0x300;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const RTNLGRP_LINK = 1;
const ENODEV = 19;
const EMSGSIZE = 90;
const ENOBUFS = 105;

/** struct nlmsghdr and struct ifinfomsg. */
function linkRequest(type: number, flags: number, index: number): Uint8Array {
  const message = Buffer.alloc(32);
  message.writeUInt32LE(32, 0);
  message.writeUInt16LE(type, 4);
  message.writeUInt16LE(flags, 6);
  message.writeUInt32LE(1, 8);
  message.writeInt32LE(index, 20);
  return message;
}

inNamespace('netlink', import.meta.url, ['--net'], () => {
  test('a dump of links holds lo and ends with DONE', () => {
    const fd = native.netlinkOpen(0, []);
    native.netlinkSend(fd, linkRequest(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 0));
    const room = Buffer.alloc(65_536);
    const types: number[] = [];
    let text = '';
    do {
      const bytes = native.netlinkReceive(fd, room, 5000);
      assert.ok(bytes > 0);
      text += room.toString('latin1', 0, bytes);
      for (let at = 0; at < bytes; at += (room.readUInt32LE(at) + 3) & ~3) types.push(room.readUInt16LE(at + 4));
    } while (!types.includes(NLMSG_DONE));
    assert.equal(types[0], RTM_NEWLINK);
    assert.ok(text.includes('lo\0'));
    native.closeFd(fd);
  });

  test('an error comes as a message with −errno', () => {
    const fd = native.netlinkOpen(0, []);
    native.netlinkSend(fd, linkRequest(RTM_GETLINK, NLM_F_REQUEST | NLM_F_ACK, 4711));
    const room = Buffer.alloc(4096);
    assert.ok(native.netlinkReceive(fd, room, 5000) > 0);
    assert.equal(room.readUInt16LE(4), NLMSG_ERROR);
    assert.equal(room.readInt32LE(16), -ENODEV);
    native.closeFd(fd);
  });

  test('nothing to read: 0 at once, and 0 after the time limit', () => {
    const fd = native.netlinkOpen(0, []);
    const start = native.boottime();
    assert.equal(native.netlinkReceive(fd, new Uint8Array(100), 0), 0);
    assert.equal(native.netlinkReceive(fd, new Uint8Array(100), 40), 0);
    assert.ok(native.boottime() - start >= 35);
    native.closeFd(fd);
  });

  test('a datagram that does not fit is told as EMSGSIZE, never cut in silence', () => {
    const fd = native.netlinkOpen(0, []);
    native.netlinkSend(fd, linkRequest(RTM_GETLINK, NLM_F_REQUEST, 1));
    assert.equal(native.netlinkReceive(fd, new Uint8Array(64), 5000), -EMSGSIZE);
    native.closeFd(fd);
  });

  test('a member of a group hears of changes through a watch', async () => {
    const fd = native.netlinkOpen(0, [RTNLGRP_LINK]);
    const room = Buffer.alloc(65_536);
    const heard = new Promise<string>((resolve) => {
      const end = native.watch(fd, () => {
        const bytes = native.netlinkReceive(fd, room, 0);
        if (bytes <= 0 || !room.toString('latin1', 0, bytes).includes('dummy0')) return;
        end();
        resolve(room.toString('latin1', 0, bytes));
      });
    });
    execFileSync('ip', ['link', 'add', 'dummy0', 'type', 'veth', 'peer', 'name', 'dummy1']);
    assert.ok((await heard).includes('dummy0'));
    native.closeFd(fd);
  });

  test('lost notifications are told as ENOBUFS, and a watch goes on after them', async () => {
    const fd = native.netlinkOpen(0, [RTNLGRP_LINK]);
    // One change of a veth's MTU is a notification of about 1.5 KiB; the buffer takes some MiB.
    const lines = Array.from({ length: 8000 }, (_, i) => `link set dummy0 mtu ${1400 + (i % 2)}`);
    execFileSync('ip', ['-batch', '-'], { input: `${lines.join('\n')}\n` });
    const room = Buffer.alloc(65_536);
    let lost = 0;
    let after = 0;
    await new Promise<void>((resolve) => {
      const end = native.watch(fd, () => {
        const bytes = native.netlinkReceive(fd, room, 0);
        if (bytes === -ENOBUFS) lost++;
        else if (bytes > 0 && lost > 0) after++;
        if (after < 10) return;
        end();
        resolve();
      });
    });
    assert.equal(lost, 1);
    native.closeFd(fd);
  });

  test('a group or protocol that is not there is an error', () => {
    assert.throws(() => native.netlinkOpen(31, []), { code: 'EPROTONOSUPPORT', syscall: 'socket' });
    assert.throws(() => native.netlinkOpen(0, [4711]), { code: 'EINVAL', syscall: /NETLINK_ADD_MEMBERSHIP/ });
  });
});
