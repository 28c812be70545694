/** int32 → `192.0.2.1`. Apart from address.ts, whose parser is large: what only prints does without it. */
export function formatAddress(address: number): string {
  return `${address >>> 24}.${(address >>> 16) & 255}.${(address >>> 8) & 255}.${address & 255}`;
}
