/** `127.0.0.1:9469`, `[::1]:9469` or `off`. */
import { isIPv6 } from 'node:net';
import { parseAddress, TextError } from './address.js';

export interface Listen {
  readonly host: string;
  readonly port: number;
}

const ALLOWED = 'write off, or an address and a port like 127.0.0.1:9469 or [::1]:9469';

/** null = off. Throws TextError. Names are refused: what they mean can change behind the config's back. */
export function parseListen(text: string): Listen | null {
  if (text === 'off') return null;
  const colon = text.lastIndexOf(':');
  const portText = text.slice(colon + 1);
  const port = Number(portText);
  if (colon < 0 || !/^\d{1,5}$/.test(portText) || port < 1 || port > 65_535) {
    throw new TextError(`"${text}" does not end in a port from 1 to 65535; ${ALLOWED}`);
  }
  const host = text.slice(0, colon);
  if (host.startsWith('[') && host.endsWith(']') && isIPv6(host.slice(1, -1))) return { host: host.slice(1, -1), port };
  try {
    parseAddress(host);
  } catch {
    throw new TextError(`"${host}" in "${text}" is not an address; ${ALLOWED}`);
  }
  return { host, port };
}

export function formatListen(listen: Listen | null): string {
  if (listen === null) return 'off';
  return listen.host.includes(':') ? `[${listen.host}]:${listen.port}` : `${listen.host}:${listen.port}`;
}

/** A socket bound like this takes the port from the public address. */
export function listensOn(listen: Listen, address: string): boolean {
  return listen.host === '0.0.0.0' || listen.host === '::' || listen.host === address;
}
