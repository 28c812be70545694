/** The translation log's lines: one for each mapping or flow that began or ended. */
import { EVENT_WORDS, Translation, TranslationEvent } from '../contract/translation.js';
import { formatAddress } from './dotted.js';
import type { Log } from './early-log.js';

const WORDS: Readonly<Record<number, string>> = {
  [TranslationEvent.MAPPING_BEGINS]: 'mapping begins',
  [TranslationEvent.MAPPING_ENDS]: 'mapping ends',
  [TranslationEvent.FLOW_BEGINS]: 'flow begins',
  [TranslationEvent.FLOW_ENDS]: 'flow ends',
  [TranslationEvent.BLOCK_BEGINS]: 'port block begins',
  [TranslationEvent.BLOCK_ENDS]: 'port block ends',
};
const PROTOCOLS: Readonly<Record<number, string>> = { 1: 'icmp', 6: 'tcp', 17: 'udp' };

export interface TranslationLine {
  readonly event: string;
  readonly proto: string;
  readonly inside: string;
  readonly outside: string;
  readonly remote?: string;
}

/** Events of a worker as objects for the log. */
export function translationLines(events: Int32Array): TranslationLine[] {
  const lines: TranslationLine[] = [];
  for (let at = 0; at < events.length; at += EVENT_WORDS) {
    const ports = events[at + Translation.PORTS]!;
    const remote = events[at + Translation.REMOTE]!;
    const kind = events[at + Translation.EVENT]!;
    const isBlock = kind === TranslationEvent.BLOCK_BEGINS || kind === TranslationEvent.BLOCK_ENDS;
    const [inside, outside] = [events[at + Translation.INSIDE]!, events[at + Translation.OUTSIDE]!].map(formatAddress);
    lines.push({
      event: WORDS[events[at + Translation.EVENT]!] ?? 'event',
      proto: PROTOCOLS[events[at + Translation.PROTO]!] ?? String(events[at + Translation.PROTO]),
      inside: isBlock ? inside! : `${inside}:${ports >>> 16}`,
      outside: isBlock ? `${outside}:${ports >>> 16}-${ports & 0xffff}` : `${outside}:${ports & 0xffff}`,
      ...(remote === 0 ? {} : { remote: `${formatAddress(remote)}:${events[at + Translation.REMOTE_PORT]}` }),
    });
  }
  return lines;
}

/** Writes a worker's events, at level info. */
export function logTranslations(log: Log, events: Int32Array, lost: number): void {
  for (const line of translationLines(events)) {
    const { event, proto, inside, outside, remote } = line;
    log.info({ translation: line }, `${event}: ${proto} ${inside} as ${outside}${remote ? ` to ${remote}` : ''}`);
  }
  if (lost > 0) log.warn(`${lost} translations happened faster than they can be logged`);
}
