/** IPv4 addresses between their three shapes here: int32 (contracts), four bytes (netlink) and text (messages). */

export function ipv4Text(address: number): string {
  return `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`;
}

/** For text that this program wrote itself (the journal); anything else throws. */
export function ipv4Number(text: string): number {
  const parts = text.split('.').map(Number);
  if (parts.length !== 4 || parts.some((part) => !Number.isInteger(part) || part < 0 || part > 255)) {
    throw new Error(`"${text}" is not an IPv4 address`);
  }
  return parts.reduce((address, part) => (address << 8) | part, 0);
}

/** Netmask of a prefix length: 24 → 0xffffff00 | 0. */
export function maskOf(length: number): number {
  return length === 0 ? 0 : -1 << (32 - length);
}

export function prefixLength(mask: number): number {
  return Math.clz32(~mask);
}

export function prefixText(prefix: number, mask: number): string {
  return `${ipv4Text(prefix)}/${prefixLength(mask)}`;
}
