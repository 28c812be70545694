/** The flow table has port bitmaps for so many public addresses, those included that a reload takes away and whose ports still live. */
import { formatAddress } from './address.js';
import { MAX_ADDRESSES } from './defaults.js';
import type { Config } from './model.js';

/**
 * Why `next`, the public addresses of a plan, have no room beside those in use; empty when they have. `used`: addresses with live
 * or held mappings.
 */
export function addressesWithoutRoom(
  config: Config,
  next: readonly { address: number; uplink: number }[],
  used: Iterable<number>,
): string[] {
  const planned = new Set(next.map(({ address }) => address));
  const left = [...used].filter((address) => !planned.has(address));
  if (planned.size + left.length <= MAX_ADDRESSES) return [];
  // The last uplink is the one that could do with fewer.
  const { uplink } = next[next.length - 1]!;
  return [
    `${config.uplinks[uplink]!.origin}: ${planned.size} public addresses, and ${left.map(formatAddress).join(', ')} of before still ` +
      `${left.length === 1 ? 'has' : 'have'} ports in use; together at most ${MAX_ADDRESSES} have room. Try again when those are free ` +
      '(`tungate flows`; UDP ports are held for timeouts.hold after their last flow), or change fewer addresses at a time',
  ];
}
