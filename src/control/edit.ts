/**
 * Changes at run time: forwards and blocks that are added and removed by a command, not by an editor.
 *
 * A change is an edit of one overlay file (files.ts): `conf.d/90-tungate.yaml` for what is to last, `temporary.yaml` in the
 * runtime directory for what is not. So there is one truth, the files, and one way to bring it into force, the reload: an
 * edit that the reload would refuse is not written. What stands in other files is their owner's; it is named, not touched.
 *
 * Everything here but writeEdit is pure: texts in, texts out. The comments and the order of a file are kept.
 */
import { isMap, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import { formatAddress, formatPrefix, lengthOf } from './address.js';
import type { LoadOptions } from './config.js';
import { placeOf } from './errors.js';
import { ownOverlay, readText, replaceFile } from './files.js';
import type { BlockConfig, Config } from './model.js';
import { printBlock } from './print.js';
import { Refused } from './refused.js';

type Section = 'forwards' | 'block';

const HEADER = ` Written by "tungate forward" and "tungate block". You may edit it too: comments and order stay.`;

/** New texts by file. */
export type Edit = ReadonlyMap<string, string>;

/** Where an edit goes, and what is there now. */
export class Overlay {
  readonly main: string;
  readonly temporary: string;
  constructor(main: string, temporary: string) {
    this.main = main;
    this.temporary = temporary;
  }

  file(temporary: boolean): string {
    return temporary ? this.temporary : ownOverlay(this.main);
  }

  /** May an edit touch what stands in this file? */
  owns(file: string): boolean {
    return file === this.temporary || file === ownOverlay(this.main);
  }

  get options(): LoadOptions {
    return { temporary: this.temporary };
  }
}

/** The overlay with one more item at the end of a list. */
export function addItem(overlay: Overlay, temporary: boolean, section: Section, item: unknown): Edit {
  const file = overlay.file(temporary);
  return new Map([[file, withItem(currentText(file), section, item)]]);
}

/** The overlays without the items that stand at these places. Throws Refused for a place in somebody else's file. */
export function removeItems(overlay: Overlay, section: Section, origins: readonly string[]): Edit {
  const edit = new Map<string, string>();
  const foreign = origins.filter((origin) => !overlay.owns(placeOf(origin).file));
  if (foreign.length > 0) {
    throw new Refused(
      409,
      `${foreign.join(', ')}: is written in a file that is not tungate's own; remove it there, then "tungate reload"`,
    );
  }
  // From behind, so that the places of those in front stay true.
  const places = origins.map(placeOf).sort((a, b) => b.line - a.line || b.col - a.col);
  for (const { file, line, col } of places)
    edit.set(file, withoutItem(edit.get(file) ?? currentText(file), section, line, col));
  return edit;
}

/** What adds the blocks; the same address before is replaced, so that a new end of it counts. */
export function addBlock(overlay: Overlay, config: Config, block: BlockConfig, temporary: boolean): Edit {
  const twins = sameBlocks(config, block).filter(({ origin }) => overlay.owns(placeOf(origin).file));
  const edit = new Map(removeItems(overlay, 'block', origins([...twins, ...past(config, overlay)])));
  const file = overlay.file(temporary);
  edit.set(file, withItem(edit.get(file) ?? currentText(file), 'block', printBlock(block)));
  return edit;
}

/** Throws Refused when the address is not on the list, or not by us. */
export function removeBlock(overlay: Overlay, config: Config, block: BlockConfig): Edit {
  const twins = sameBlocks(config, block);
  if (twins.length === 0) throw new Refused(404, notBlocked(config, block));
  return removeItems(overlay, 'block', origins([...twins, ...past(config, overlay)]));
}

/** The forward of this name. Throws Refused when there is none. */
export function removeForward(overlay: Overlay, config: Config, name: string): Edit {
  const forward = config.forwards.find((item) => item.name === name);
  if (forward === undefined) {
    const names = config.forwards.map((item) => item.name);
    const list = names.length > 8 ? `${names.slice(0, 8).join(', ')}, …` : names.join(', ') || 'none';
    throw new Refused(404, `there is no forward "${name}" (there are: ${list})`);
  }
  return removeItems(overlay, 'forwards', [forward.origin]);
}

/** Entries that have ended; they are cleared away when their file is written anyway. */
function past(config: Config, overlay: Overlay): BlockConfig[] {
  const now = Date.now() / 1000;
  return config.block.filter(({ until, origin }) => until !== 0 && until <= now && overlay.owns(placeOf(origin).file));
}

function origins(items: readonly { readonly origin: string }[]): string[] {
  return [...new Set(items.map(({ origin }) => origin))];
}

function sameBlocks(config: Config, { prefix, mask }: BlockConfig): BlockConfig[] {
  return config.block.filter((item) => item.prefix === prefix && item.mask === mask);
}

function notBlocked(config: Config, block: BlockConfig): string {
  const wider = config.block.find(
    (item) => (block.prefix & item.mask) === item.prefix && lengthOf(item.mask) < lengthOf(block.mask),
  );
  const what = block.mask === -1 ? formatAddress(block.prefix) : formatPrefix(block);
  return wider === undefined
    ? `${what} is not on the block list`
    : `${what} is not on the block list by itself; it is inside ${formatPrefix(wider)}, which is (${wider.origin})`;
}

function currentText(file: string): string {
  const text = readText(file);
  if (typeof text === 'string') return text;
  if (text.unreadable.startsWith('no such file')) return '';
  throw new Refused(500, `${file}: ${text.unreadable}`);
}

function withItem(text: string, section: Section, item: unknown): string {
  const document = parseDocument(text);
  if (!isMap(document.contents)) {
    // Nothing in it yet, or nothing but comments.
    const fresh = parseDocument(`${section}: []\n`);
    fresh.commentBefore = document.commentBefore ?? document.comment ?? HEADER;
    fresh.setIn([section], [item]);
    return fresh.toString({ lineWidth: 0 });
  }
  const list = document.get(section);
  if (isSeq(list)) {
    list.flow = false;
    list.add(document.createNode(item));
  } else document.set(section, document.createNode([item]));
  return document.toString({ lineWidth: 0 });
}

function withoutItem(text: string, section: Section, line: number, col: number): string {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  const list = document.get(section);
  const at = isSeq(list)
    ? list.items.findIndex((item) => {
        const place = lines.linePos((item as Node).range?.[0] ?? -1);
        return place.line === line && place.col === col;
      })
    : -1;
  if (at < 0) throw new Refused(409, 'the files have changed since they were read; try again');
  (list as { items: unknown[] }).items.splice(at, 1);
  return document.toString({ lineWidth: 0 });
}

/** Puts the texts in place. What cannot be written is refused. */
export function writeEdit(edit: Edit): void {
  for (const [file, text] of edit) {
    try {
      replaceFile(file, text);
    } catch (error) {
      const remedy =
        "give the router's user the right to its folder (as a service: ReadWritePaths= in the unit), or use --temporary";
      throw new Refused(409, `${file}: cannot be written (${(error as Error).message}): ${remedy}`);
    }
  }
}
