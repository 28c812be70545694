/** Where a peer is: `HOST:PORT`, `192.0.2.1:51820` or `[2001:db8::1]:51820`. What a name means is asked at run time (link-names.ts). */
import { isIPv6 } from 'node:net';
import { parseAddress, TextError } from './address.js';
import type { EndpointConfig } from './model.js';

const ALLOWED = 'write HOST:PORT, like branch.example:51820, 192.0.2.1:51820 or [2001:db8::1]:51820';
const LABEL = /^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/;

/** Throws TextError. */
export function parseEndpoint(text: string): EndpointConfig {
  const colon = text.lastIndexOf(':');
  const portText = text.slice(colon + 1);
  const port = Number(portText);
  if (colon < 0 || !/^\d{1,5}$/.test(portText) || port < 1 || port > 65_535)
    throw new TextError(`"${text}" does not end in a port from 1 to 65535; ${ALLOWED}`);
  const host = text.slice(0, colon);
  if (host.startsWith('[') && host.endsWith(']')) {
    if (!isIPv6(host.slice(1, -1))) throw new TextError(`"${host}" is not an IPv6 address; ${ALLOWED}`);
    return { host: host.slice(1, -1), port };
  }
  if (host.includes(':')) throw new TextError(`"${text}" has an IPv6 address without brackets; ${ALLOWED}`);
  // What has only digits and dots is meant to be an address, also for the resolver.
  if (/^[\d.]+$/.test(host)) parseAddress(host);
  else if (
    host.length > 253 ||
    !host
      .replace(/\.$/, '')
      .split('.')
      .every((label) => LABEL.test(label))
  )
    throw new TextError(`"${host}" is neither an address nor a host name; ${ALLOWED}`);
  return { host, port };
}

export function formatEndpoint({ host, port }: EndpointConfig): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** An address needs no resolver. */
export function isAddress(host: string): boolean {
  return host.includes(':') || /^[\d.]+$/.test(host);
}
