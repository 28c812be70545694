/** What control reads from /proc. */
import { readFileSync } from 'node:fs';

const CAP_NET_ADMIN = 12;

/** True when this process may change the network (CAP_NET_ADMIN is among its effective capabilities). */
export function mayChangeNetwork(): boolean {
  const line = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'));
  return line !== null && ((BigInt(`0x${line[1]}`) >> BigInt(CAP_NET_ADMIN)) & 1n) === 1n;
}

/**
 * Packets that the kernel dropped at the TUN: `queue` on the way to the engine (the device's queue was full, or nobody
 * read), `write` those that it refused from the engine. Zeros when there is no such device.
 *
 * /proc/net/dev and not /sys/class/net: /sys shows the network namespace that it was mounted in, /proc the reader's.
 */
export function readTunDrops(name: string, file = '/proc/net/dev'): { queue: number; write: number } {
  for (const line of readFileSync(file, 'latin1').split('\n')) {
    const colon = line.lastIndexOf(':');
    if (line.slice(0, colon).trim() !== name) continue;
    // Receive: bytes packets errs drop fifo frame compressed multicast; transmit: bytes packets errs drop …
    const fields = line
      .slice(colon + 1)
      .trim()
      .split(/\s+/)
      .map(Number);
    return { queue: fields[11] ?? 0, write: fields[3] ?? 0 };
  }
  return { queue: 0, write: 0 };
}
