/** Blocks with an end: what of the list counts now, and when it will next be another. Wall clock, as it is written. */
import type { Config } from './model.js';

/** The config without the blocks that have ended. */
export function activeBlocks(config: Config, now: number = Date.now() / 1000): Config {
  if (config.block.every(({ until }) => until === 0 || until > now)) return config;
  return { ...config, block: config.block.filter(({ until }) => until === 0 || until > now) };
}

/** Seconds since 1970 at which the next block ends, or Infinity. */
export function nextBlockEnd(config: Config, now: number = Date.now() / 1000): number {
  const ends = config.block.flatMap(({ until }) => (until > now ? [until] : []));
  return ends.reduce((first, end) => Math.min(first, end), Number.POSITIVE_INFINITY);
}
