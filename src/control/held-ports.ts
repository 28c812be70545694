/** Behind a reload: ports of links that would come and are somebody else's. */
import type { Link } from '../contract/links.js';
import { heldPorts } from '../host/index.js';

export async function portsHeld(before: readonly Link[], next: readonly Link[]): Promise<string[]> {
  const ours = before.map(({ listen }) => listen);
  const fresh = next.filter(({ listen }) => listen !== 0 && !ours.includes(listen));
  if (fresh.length === 0) return [];
  const held = await heldPorts(fresh.map(({ listen }) => listen));
  return fresh.flatMap(({ name, origin, listen }) =>
    held.has(listen)
      ? [`link "${name}" (${origin}): ${held.get(listen)} holds UDP port ${listen}; choose another`]
      : [],
  );
}
