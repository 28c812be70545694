/**
 * FTP's control connection (RFC 959, RFC 2428): where addresses stand in it.
 *
 *   client  PORT 192,168,0,2,200,13          EPRT |1|192.168.0.2|51213|
 *   server  227 Entering Passive Mode (192,168,0,2,200,13).        229 Entering Extended Passive Mode (|||51213|)
 *
 * Grammar is kept where the RFC has one; what is not written like this is left alone, as whatever reads it may read it
 * otherwise than we do. Two things are loose because clients are (RFC 1123 §4.1.2.6): case, spaces before the argument, and
 * where in the text of a 227 the six numbers stand. EPRT and EPSV for IPv6, and LPRT (RFC 1639) are left alone.
 */
import { type Announcement, type Helper, Line } from './alg.js';

export const enum Form {
  PORT = 0,
  EPRT = 1,
  PASV = 2,
  EPSV = 3,
}

const SPACE = 0x20;
const CR = 0x0d;
const LF = 0x0a;
const HYPHEN = 0x2d;
const DOT = 0x2e;
const COMMA = 0x2c;
const ZERO = 0x30;
const NINE = 0x39;
const OPEN = 0x28;
const CLOSE = 0x29;

const word = (text: string) => Uint8Array.from(text, (c) => c.charCodeAt(0));
const PORT = word('PORT');
const EPRT = word('EPRT');
const REPLY_227 = word('227 ');
const REPLY_229 = word('229 ');
/** The server agrees to AUTH (RFC 4217): what follows is TLS. */
const REPLY_234 = word('234 ');
/** "Ready", and "ready in n minutes" (RFC 959 §5.4). */
const GREETINGS = [word('220'), word('120')];

export const ftp: Helper = {
  name: 'ftp',
  port: 21,

  greets(data, from, end) {
    return GREETINGS.some((code) => startsWith(data, from, end, code));
  },

  read(data, from, end, side, found) {
    // A bare LF ends a line for most servers; what stands before CR LF or LF is the line.
    let to = end;
    if (to > from && data[to - 1] === LF) to--;
    if (to > from && data[to - 1] === CR) to--;
    if (side === 0) {
      if (startsWith(data, from, to, PORT)) return port(data, from + 4, to, found);
      if (startsWith(data, from, to, EPRT)) return eprt(data, from + 4, to, found);
      return Line.OTHER;
    }
    // Inside a reply of several lines (RFC 959 §4.2) stands what others wrote: help texts, file names.
    const code = digitsAt(data, from, to, 3) === 3 ? decimalAt(data, from, 3) : 0;
    const mark = from + 3 < to ? data[from + 3] : SPACE;
    if (found.memory !== 0) {
      if (code === found.memory && mark === SPACE) found.memory = 0;
      return Line.OTHER;
    }
    if (code !== 0 && mark === HYPHEN) found.memory = code;
    if (startsWith(data, from, to, REPLY_227)) return passive(data, from + 4, to, found);
    if (startsWith(data, from, to, REPLY_229)) return extendedPassive(data, from + 4, to, found);
    return startsWith(data, from, to, REPLY_234) ? Line.SEALED : Line.OTHER;
  },

  mayAnnounce(data, from, end, side) {
    const words = side === 0 ? [PORT, EPRT] : [REPLY_227, REPLY_229];
    return words.some((each) => startsWith(data, from, end, each));
  },

  write(into, found, address, number) {
    let at = 0;
    if (found.form === Form.EPSV) return decimal(into, at, number);
    const mark = found.form === Form.EPRT ? DOT : COMMA;
    for (let shift = 24; shift >= 0; shift -= 8) {
      at = decimal(into, at, (address >>> shift) & 255);
      if (shift > 0) into[at++] = mark;
    }
    if (found.form === Form.EPRT) {
      // The delimiter is the sender's choice; it stands before the replaced text.
      into[at++] = found.delimiter;
      return decimal(into, at, number);
    }
    into[at++] = COMMA;
    at = decimal(into, at, number >>> 8);
    into[at++] = COMMA;
    return decimal(into, at, number & 255);
  },
};

/** `PORT h1,h2,h3,h4,p1,p2`: behind the word. */
function port(data: Uint8Array, from: number, to: number, found: Announcement): number {
  const at = argument(data, from, to);
  if (at < 0) return Line.OTHER;
  found.form = Form.PORT;
  return sixNumbers(data, at, to, found) && onlySpaces(data, found.to, to) ? Line.ADDRESS : Line.OTHER;
}

/** `EPRT d1d h1.h2.h3.h4 d port d`, d any printable sign: behind the word. */
function eprt(data: Uint8Array, from: number, to: number, found: Announcement): number {
  const at = argument(data, from, to);
  if (at < 0 || at + 3 > to) return Line.OTHER;
  const d = data[at]!;
  if (d < 33 || d > 126 || isDigit(d) || d === DOT) return Line.OTHER;
  if (data[at + 1] !== ZERO + 1 || data[at + 2] !== d) return Line.OTHER;
  found.form = Form.EPRT;
  found.delimiter = d;
  found.from = at + 3;
  let next = found.from;
  let address = 0;
  for (let i = 0; i < 4; i++) {
    const digits = digitsAt(data, next, to, 3);
    const value = decimalAt(data, next, digits);
    if (digits === 0 || value > 255) return Line.OTHER;
    address = (address << 8) | value;
    next += digits;
    if (next >= to || data[next++] !== (i < 3 ? DOT : d)) return Line.OTHER;
  }
  const digits = digitsAt(data, next, to, 5);
  const value = decimalAt(data, next, digits);
  found.to = next + digits;
  if (digits === 0 || value > 65_535 || found.to >= to || data[found.to] !== d) return Line.OTHER;
  found.address = address;
  found.port = value;
  return onlySpaces(data, found.to + 1, to) ? Line.ADDRESS : Line.OTHER;
}

/** `227 text`: the first six numbers with commas between them, wherever they stand. */
function passive(data: Uint8Array, from: number, to: number, found: Announcement): number {
  found.form = Form.PASV;
  for (let at = from; at < to; at++) {
    if (!isDigit(data[at]!)) continue;
    if (sixNumbers(data, at, to, found)) return Line.ADDRESS;
    while (at + 1 < to && isDigit(data[at + 1]!)) at++;
  }
  return Line.OTHER;
}

/** `229 text (dddportd)`. */
function extendedPassive(data: Uint8Array, from: number, to: number, found: Announcement): number {
  let open = from;
  while (open < to && data[open] !== OPEN) open++;
  const at = open + 4;
  if (at >= to) return Line.OTHER;
  const d = data[open + 1]!;
  if (d < 33 || d > 126 || isDigit(d) || data[open + 2] !== d || data[open + 3] !== d) return Line.OTHER;
  const digits = digitsAt(data, at, to, 5);
  const end = at + digits;
  if (digits === 0 || end + 1 >= to || data[end] !== d || data[end + 1] !== CLOSE) return Line.OTHER;
  const value = decimalAt(data, at, digits);
  if (value > 65_535) return Line.OTHER;
  found.form = Form.EPSV;
  found.from = at;
  found.to = end;
  found.address = 0;
  found.port = value;
  return Line.ADDRESS;
}

/** `h1,h2,h3,h4,p1,p2` at `at`, and no digit or comma behind it. Fills from, to, address and port. */
function sixNumbers(data: Uint8Array, at: number, to: number, found: Announcement): boolean {
  let next = at;
  let address = 0;
  let number = 0;
  for (let i = 0; i < 6; i++) {
    if (i > 0 && (next >= to || data[next++] !== COMMA)) return false;
    const digits = digitsAt(data, next, to, 3);
    const value = decimalAt(data, next, digits);
    if (digits === 0 || value > 255) return false;
    if (i < 4) address = (address << 8) | value;
    else number = (number << 8) | value;
    next += digits;
  }
  if (next < to && (isDigit(data[next]!) || data[next] === COMMA)) return false;
  found.from = at;
  found.to = next;
  found.address = address;
  found.port = number;
  return true;
}

/** First byte of a command's argument: behind one space or more; −1 without one. */
function argument(data: Uint8Array, from: number, to: number): number {
  let at = from;
  while (at < to && data[at] === SPACE) at++;
  return at === from || at >= to ? -1 : at;
}

function onlySpaces(data: Uint8Array, from: number, to: number): boolean {
  for (let at = from; at < to; at++) if (data[at] !== SPACE) return false;
  return true;
}

/** Does data[from…to) begin with `text` (capitals), in either case? */
function startsWith(data: Uint8Array, from: number, to: number, text: Uint8Array): boolean {
  if (to - from < text.length) return false;
  for (let i = 0; i < text.length; i++) {
    const c = data[from + i]!;
    if ((c >= 0x61 && c <= 0x7a ? c - 0x20 : c) !== text[i]) return false;
  }
  return true;
}

function isDigit(c: number): boolean {
  return c >= ZERO && c <= NINE;
}

/** Digits at `at`; 0 where there are none, or more than `most`. */
function digitsAt(data: Uint8Array, at: number, to: number, most: number): number {
  let n = 0;
  while (at + n < to && isDigit(data[at + n]!)) if (++n > most) return 0;
  return n;
}

function decimalAt(data: Uint8Array, at: number, digits: number): number {
  let value = 0;
  for (let i = 0; i < digits; i++) value = value * 10 + data[at + i]! - ZERO;
  return value;
}

/** Writes a number at into[at]; returns the place behind it. */
function decimal(into: Uint8Array, at: number, value: number): number {
  let divisor = 1;
  while (value / divisor >= 10) divisor *= 10;
  for (; divisor >= 1; divisor = Math.floor(divisor / 10)) into[at++] = ZERO + (Math.floor(value / divisor) % 10);
  return at;
}
