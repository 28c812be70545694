/**
 * What a helper is: the knowledge of one protocol that carries addresses in its payload (RFC 4787 §7, RFC 3022 §4).
 *
 * A helper is pure and keeps nothing: it reads one line of a control connection and says what address stands in it, and it
 * writes another in its place. Who may be reached at which port, sequence numbers and checksums are the datapath's
 * business (datapath/help.ts); what must be remembered stands in the flow table (flow/control-streams.ts).
 */

/** An address that a line announces, and where it stands. One object is used again and again. */
export class Announcement {
  /** Which spelling it is; means something to the helper that read it. */
  form = 0;
  /** Bytes [from, to) of `data` are replaced by what `write` makes. */
  from = 0;
  to = 0;
  /** Announced address, or 0 where the form has none and means the sender. */
  address = 0;
  port = 0;
  /** 16 bits that the helper wants to have again with this side's next line; 0 at first. */
  memory = 0;
  /** Sign between the fields, where the sender chooses it. */
  delimiter = 0;
}

/** What a line is. */
export const enum Line {
  /** Nothing to do with addresses. */
  OTHER = 0,
  /** An announcement that was understood. */
  ADDRESS = 1,
  /** From here on nothing is readable any more (encryption). */
  SEALED = 2,
}

export interface Helper {
  readonly name: string;
  /** TCP port of the server. */
  readonly port: number;
  /** Is data[from…end) how the server's first segment begins? Any other connection to the port is left alone. */
  greets(data: Uint8Array, from: number, end: number): boolean;
  /** Reads the whole line data[from…end), its line end included, sent by side 0 (client) or 1 (server). Returns a Line value. */
  read(data: Uint8Array, from: number, end: number, side: number, found: Announcement): number;
  /** Could data[from…end), a line without its end, be an announcement? For the counter alone. */
  mayAnnounce(data: Uint8Array, from: number, end: number, side: number): boolean;
  /** Writes address and port in the form of `found` to into[0…); returns the bytes, at most ANNOUNCEMENT_BYTES. */
  write(into: Uint8Array, found: Announcement, address: number, port: number): number;
}

/** Longest text that a helper writes. */
export const ANNOUNCEMENT_BYTES = 32;
