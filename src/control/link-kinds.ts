/**
 * Site links in a config: `links:` is a list whose items are of several kinds, told apart by the key that names the kind. A kind is one file
 * (link-wireguard.ts, link-wireguard-checks.ts) and its lines here; names are unique through all kinds.
 */
import { z } from 'zod';
import type { Prefix } from '../contract/plan.js';
import { TextError } from './address.js';
import type { Item, Parts, Report } from './checks.js';
import { checkVxlanLinks, makeVxlanLink, type VxlanLinkRaw, vxlanLinkSchema } from './link-vxlan.js';
import { makeWireguardLink, type WireguardLinkRaw, wireguardLinkSchema } from './link-wireguard.js';
import { checkWireguardLinks } from './link-wireguard-checks.js';
import type { Config, LinkConfig } from './model.js';
import { show } from './schema-parts.js';

/** By the key that only items of that kind have. */
const SCHEMAS = { wireguard: wireguardLinkSchema, vxlan: vxlanLinkSchema } as const;

const KINDS = Object.keys(SCHEMAS) as (keyof typeof SCHEMAS)[];
const WHAT = `a map with one of the keys ${KINDS.map((kind) => `\`${kind}\``).join(', ')}`;

/** Any link: for the JSON schema, and the type. */
export const linkSchema = z.union([wireguardLinkSchema, vxlanLinkSchema]);

/** The schema of the kind that `value` is meant to be, so that its errors are about that kind alone. */
export function linkSchemaFor(value: unknown): z.ZodType {
  const is = (kind: string) => typeof value === 'object' && value !== null && Object.hasOwn(value, kind);
  const kinds = KINDS.filter(is);
  if (kinds.length === 1) return SCHEMAS[kinds[0]!];
  const found =
    kinds.length > 1
      ? `has ${kinds.map((kind) => `\`${kind}\``).join(' and ')}; it must be ${WHAT}`
      : typeof value === 'object' && value !== null && !Array.isArray(value)
        ? `says not which kind of link it is; it must be ${WHAT}`
        : `must be ${WHAT}, not ${show(value)}`;
  return z.never({ error: found });
}

/** Throws TextError when what is written does not fit together. */
export function makeLink(raw: z.output<typeof linkSchema>, origin: string): LinkConfig {
  if ('wireguard' in raw) return makeWireguardLink(raw as WireguardLinkRaw, origin);
  if ('vxlan' in raw) return makeVxlanLink(raw as VxlanLinkRaw, origin);
  throw new TextError(`must be ${WHAT}`);
}

/** What IP addresses are behind the links. */
export function sitePrefixes({ links }: Config): Prefix[] {
  return links.flatMap((link) => (link.kind === 'wireguard' ? link.peers.flatMap(({ allowedIps }) => allowedIps) : []));
}

export function checkLinks(config: Config, parts: Parts, report: Report): void {
  checkNames(config, parts.links, report);
  checkWireguardLinks(config, parts, report);
  checkVxlanLinks(config, parts, report);
}

/** A link's name is that of an interface to wg(8), in traces and metrics. */
function checkNames(config: Config, links: readonly Item<LinkConfig>[], report: Report): void {
  const interfaces = new Map<string, string>([[config.tun.name, 'the TUN device']]);
  for (const { interface: name, origin } of config.lans) interfaces.set(name, `the LAN at ${origin}`);
  for (const { interface: name, origin } of config.uplinks) interfaces.set(name, `the uplink at ${origin}`);
  const names = new Map<string, string>();
  for (const { path, origin, value } of links) {
    const other = names.get(value.name);
    const taken = interfaces.get(value.name);
    const at = [...path, 'name'];
    if (other !== undefined)
      report.fail(at, `"${value.name}" is already the name of the link at ${other}; names tell links apart`);
    else if (taken !== undefined)
      report.fail(at, `"${value.name}" is the interface of ${taken}; name the link otherwise`);
    names.set(value.name, other ?? origin);
  }
}
