/** IPv4 neighbours (ARP) by rtnetlink. */

import { failedWith, type Netlink } from './netlink.js';
import { attributes, be32, Payload, viewOf } from './netlink-message.js';

const RTM_DELNEIGH = 29;
const RTM_GETNEIGH = 30;
const NDMSG = 12;
const AF_INET = 2;
const NDA_DST = 1;
/** Asked for, not answered yet; packets wait. */
const NUD_INCOMPLETE = 1;

/**
 * Ends every resolution that is under way on these interfaces. For the packets that wait there the kernel then says "host
 * unreachable" at once, and not when it has asked in vain for three seconds. Such an error quotes the address that a forward
 * has put in, so it has to come while there are filters that catch it. A neighbour that is there is asked for again.
 */
export function forgetUnresolved(nl: Netlink, interfaces: ReadonlySet<number>): void {
  if (interfaces.size === 0) return;
  const all = new Payload().u8(AF_INET).zeros(NDMSG - 1);
  for (const { body } of nl.dump(RTM_GETNEIGH, all.bytes(), 'list the neighbours')) {
    const view = viewOf(body);
    const index = view.getInt32(4, true);
    const address = be32(attributes(body, NDMSG).get(NDA_DST));
    if (!interfaces.has(index) || address === undefined || view.getUint16(8, true) !== NUD_INCOMPLETE) continue;
    const one = new Payload().u8(AF_INET).zeros(3).u32(index).zeros(4).attrBe32(NDA_DST, address);
    try {
      nl.request(RTM_DELNEIGH, 0, one.bytes(), 'end the resolution of a neighbour');
    } catch (error) {
      // It has been resolved, or given up, meanwhile.
      if (!failedWith(error, 'ENOENT', 'EINVAL', 'ENODEV')) throw error;
    }
  }
}
