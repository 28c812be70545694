/**
 * From a failure to the few events that make it: delta debugging (Zeller, Hildebrandt, "Simplifying and isolating
 * failure-inducing input", 2002) over the event list, then a file that says everything and can be replayed.
 */
import type { MemoryPacket } from '../../src/link/index.js';
import { newPacket } from './packet.js';
import { type Event, replay, type Settings } from './run.js';

/** What a failure is recognised by: its words, without the numbers in them. */
export function nameOf(error: Error): string {
  return error.message
    .split('\n')[0]!
    .replaceAll(/-?\d+/g, '#')
    .replace(/\(slot.*/, '')
    .trim();
}

/** The shortest list found, within `seconds`, that still fails under the same name. `play` carries a list out. */
export function minimize(
  settings: Settings,
  events: readonly Event[],
  name: string,
  seconds: number,
  play: (list: readonly Event[]) => Error | undefined = (list) => replay(settings, list),
): Event[] {
  const until = Date.now() + seconds * 1000;
  const fails = (list: readonly Event[]) => {
    const error = play(list);
    return error !== undefined && nameOf(error) === name;
  };
  let list = [...events];
  for (let size = Math.ceil(list.length / 2); size >= 1 && Date.now() < until; ) {
    let shorter = false;
    for (let at = 0; at < list.length && Date.now() < until; ) {
      const rest = [...list.slice(0, at), ...list.slice(at + size)];
      if (rest.length < list.length && fails(rest)) {
        list = rest;
        shorter = true;
      } else at += size;
    }
    // A round that has taken something away may have made more superfluous.
    if (!shorter || size > 1) size = size === 1 ? 0 : Math.ceil(size / 2);
  }
  return list;
}

// -- the file: JSON, an event a line --

type Written = ['packet', string, string?] | ['batch'] | ['crash'] | ['clock' | 'plan' | 'end-flows', number];

function write(event: Event): Written {
  if (event.kind === 'packet') return ['packet', hex(event.packet.bytes), hex(event.packet.vnet)];
  if (event.kind === 'clock') return ['clock', event.ms];
  if (event.kind === 'plan') return ['plan', event.number];
  if (event.kind === 'end-flows') return ['end-flows', event.step];
  return [event.kind];
}

function read(line: Written): Event {
  const [kind, value] = line;
  if (kind === 'packet') return { kind, packet: packetOf(value as string, line[2] as string) };
  if (kind === 'clock') return { kind, ms: value as number };
  if (kind === 'plan') return { kind, number: value as number };
  if (kind === 'end-flows') return { kind, step: value as number };
  return { kind };
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

function packetOf(bytes: string, vnet: string): MemoryPacket {
  const packet = newPacket(bytes.length / 2);
  packet.bytes.set(Buffer.from(bytes, 'hex'));
  packet.vnet.set(Buffer.from(vnet, 'hex'));
  return packet;
}

export function toFile(settings: Settings, events: readonly Event[], about: string): string {
  const lines = events.map((event) => `    ${JSON.stringify(write(event))}`);
  return `{\n  "about": ${JSON.stringify(about)},\n  "settings": ${JSON.stringify(settings)},\n  "events": [\n${lines.join(',\n')}\n  ]\n}\n`;
}

export function fromFile(text: string): { about: string; settings: Settings; events: Event[] } {
  const { about, settings, events } = JSON.parse(text) as { about: string; settings: Settings; events: Written[] };
  return { about, settings, events: events.map(read) };
}
