/**
 * What an endpoint has learned and counted, kept while a changed configuration makes a new one in its place: what is still true of the new one is taken over.
 *
 * An address stays where its remote stays, with its age; static entries are the configuration's and win. A pair of IP and MAC stays where its MAC address is still
 * known on that side. Counters go on, so that nobody who watches them sees them fall.
 */
import { ENDPOINT_WORDS } from '../wireguard/endpoint.js';
import { LOCAL, UNKNOWN } from './fdb.js';
import { LOCAL_SIDE, type NeighbourRow } from './neighbours.js';
import { STAT_WORDS } from './remotes.js';
import type { Vtep } from './vtep.js';

export interface Memory {
  readonly vni: number;
  readonly counts: Float64Array;
  readonly remotes: readonly { readonly endpoint: Int32Array; readonly stats: Float64Array }[];
  /** `at`: index into `remotes`, LOCAL = the TAP's side. */
  readonly addresses: readonly {
    readonly hi: number;
    readonly lo: number;
    readonly at: number;
    readonly seen: number;
  }[];
  readonly pairs: readonly NeighbourRow[];
}

export function remember({ options, counts, remotes, fdb, neighbours }: Vtep, now: number): Memory {
  const ids = [...remotes.ids()];
  return {
    vni: options.vni,
    counts: counts.slice(),
    remotes: ids.map((id) => ({
      endpoint: remotes.endpoints.slice(id * ENDPOINT_WORDS, (id + 1) * ENDPOINT_WORDS),
      stats: remotes.stats.slice(id * STAT_WORDS, (id + 1) * STAT_WORDS),
    })),
    addresses: [...fdb.rows(now)]
      .filter(({ fixed }) => !fixed)
      .map(({ hi, lo, place, seen }) => ({ hi, lo, at: place === LOCAL ? LOCAL : ids.indexOf(place), seen })),
    pairs: [...neighbours.learnedRows(now)],
  };
}

/** Of another network nothing is true. */
export function recall({ options, counts, remotes, fdb, neighbours }: Vtep, memory: Memory, now: number): void {
  if (memory.vni !== options.vni) return;
  counts.set(memory.counts);
  const places = memory.remotes.map(({ endpoint, stats }) => {
    const id = remotes.find(endpoint, 0);
    if (id >= 0) remotes.stats.set(stats, id * STAT_WORDS);
    return id;
  });
  if (options.learning === false) return;
  for (const { hi, lo, at, seen } of memory.addresses) {
    const place = at === LOCAL ? LOCAL : places[at]!;
    if (at === LOCAL || place >= 0) fdb.learn(hi, lo, place, seen);
  }
  for (const { ip, hi, lo, side, router, seen } of memory.pairs) {
    const place = fdb.find(hi, lo, now);
    if (place !== UNKNOWN && (place === LOCAL) === (side === LOCAL_SIDE))
      neighbours.learn(ip, hi, lo, side, router, true, seen);
  }
}
