/**
 * The router's site links as control sees them: what their devices are told, who asks them by wg(8), what the names of endpoints mean.
 *
 * Theory of operation. The plan says what links there are and routes packets (compile-links.ts); keys, endpoints and allowed IPs go to each device as
 * text (link-device.ts). Whenever something may differ (start, reload, a worker that was started again, a name that means another address) the
 * device is asked what it has, and told what is another: there is no other way, and it may be gone at any time without harm. One link at a
 * time speaks with its device (`#exclusive`).
 *
 * An endpoint is told when the config's changed, or a name's address did; where a peer has roamed to is left alone. A key file is read for each
 * look, and kept nowhere.
 *
 * wg(8) finds each link on a socket in /var/run/wireguard. What it sets stands beside the config and holds until the next reload, as `wg set` holds until
 * the next `wg syncconf`; policy follows the peers and allowed IPs that it leaves (`now.peers`). Port and mark are the config's.
 */
import { constants } from 'node:os';
import type { LinkPeer, LinkStatus } from '../contract/links.js';
import { UAPI_DIR, UapiServer } from '../link/wireguard/uapi-server.js';
import { formatPrefix, parseAddress } from './address.js';
import { formatPrefix6, parseAddress6 } from './address-ipv6.js';
import { type LinksNow, wireguardLinks } from './compile-links.js';
import type { Log } from './early-log.js';
import { formatEndpoint, isAddress } from './endpoint.js';
import { lookAtKey, readKeyFile } from './key-file.js';
import {
  base64Of,
  changeOf,
  type DevicePeer,
  type DeviceState,
  hexOf,
  NO_KEY,
  parseState,
  planPrefixes,
  planPrefixes6,
  samePrefixes,
  samePrefixes6,
  withoutSocket,
} from './link-device.js';
import { LinkNames, type Lookup, type NameTimes } from './link-names.js';
import type { Config, PeerConfig, WireguardLinkConfig } from './model.js';
import type { LinkMessage } from './workers.js';

/** The workers, as far as links go. */
export interface LinkWorkers {
  linkAsk(link: string, text: string): Promise<{ readonly text: string; readonly problem: string } | null>;
  linkStatus(): Promise<readonly LinkStatus[]>;
  /** Takes what was said of links, also before. */
  onLink(take: (message: LinkMessage) => void): void;
}

export interface SiteLinksOptions {
  readonly log: Log;
  /** The plan has to be made anew: `now` has changed. */
  readonly changed: (why: string) => void;
  /** A socket for wg(8) was made; whoever cleans up after a crash is to know. */
  readonly made?: (path: string) => void;
  readonly dir?: string;
  /** In place of the system's resolver and its times. */
  readonly names?: readonly [Lookup, NameTimes];
}

interface Site {
  config: WireguardLinkConfig;
  server: UapiServer | null;
  /** '' or why the socket for wg(8) is not there; why the key cannot be read; what the worker said of the port. */
  serverProblem: string;
  keyProblem: string;
  portProblem: string;
  /** Base64 of our public key, '' = not known. */
  publicKey: string;
  /** Endpoints that the device was told, by public key (hex). */
  readonly told: Map<string, string>;
  /** What wg(8) left in place of the config's peers. */
  live: readonly LinkPeer[] | null;
  queue: Promise<unknown>;
}

export class SiteLinks {
  readonly #sites = new Map<string, Site>();
  readonly #options: SiteLinksOptions;
  readonly #names: LinkNames;
  #workers: LinkWorkers | null = null;
  #closed = false;

  constructor(options: SiteLinksOptions) {
    this.#options = options;
    const [lookup, times] = options.names ?? [];
    this.#names = new LinkNames((host) => this.#renamed(host), lookup, times);
  }

  /** `written`: as if nobody had set anything beside the config. */
  now(written = false): LinksNow {
    const live = [...this.#sites].flatMap(([name, { live }]) =>
      live === null || written ? [] : [[name, live] as const],
    );
    const { addresses } = this.#names;
    const endpoints = addresses.filter((address) => !address.includes(':')).map(parseAddress);
    const endpoints6 = addresses.filter((address) => address.includes(':')).map(parseAddress6);
    return { endpoints, endpoints6, peers: new Map(live) };
  }

  get problems(): string[] {
    return [...this.#sites.values()].flatMap(({ config, serverProblem, keyProblem, portProblem }) => {
      const lines = [portProblem, keyProblem, serverProblem].filter((line) => line !== '');
      for (const { name, endpoint } of config.peers) {
        const problem = endpoint === null ? '' : this.#names.problemOf(endpoint.host);
        if (problem !== '') lines.push(`peer "${name}": ${endpoint!.host} cannot be resolved (${problem})`);
      }
      return lines.map((line) => `link "${config.name}" (${config.origin}): ${line}`);
    });
  }

  /** What wg(8) set beside the config holds no longer. */
  forgetLive(): void {
    for (const site of this.#sites.values()) site.live = null;
  }

  attach(workers: LinkWorkers): void {
    this.#workers = workers;
    workers.onLink((message) => this.#said(message));
  }

  /** A config is in force, and the plan of it: devices follow. Returns what was changed in them, in words. */
  async follow(config: Config): Promise<string[]> {
    const wanted = wireguardLinks(config);
    for (const [name, site] of this.#sites)
      if (!wanted.some((link) => link.name === name)) {
        site.server?.close();
        this.#sites.delete(name);
      }
    for (const link of wanted) {
      const site = this.#sites.get(link.name);
      if (site) site.config = link;
      else this.#sites.set(link.name, newSite(link));
    }
    this.#names.want(new Set(wanted.flatMap(({ peers }) => peers.flatMap(({ endpoint }) => namesOf(endpoint)))));
    const changes = await Promise.all(
      [...this.#sites.values()].map(async (site) => {
        await this.#listen(site);
        return this.#bring(site);
      }),
    );
    return changes.flat();
  }

  async status(): Promise<readonly LinkStatus[]> {
    return this.#sites.size === 0 ? [] : ((await this.#workers?.linkStatus()) ?? []);
  }

  /** What a peer of a link is called, and our own public key there. */
  nameOf(link: string, publicKey: string): string {
    const site = this.#sites.get(link);
    return site === undefined ? publicKey : nameIn(site, publicKey);
  }

  publicKeyOf(link: string): string {
    return this.#sites.get(link)?.publicKey ?? '';
  }

  /** The sockets of wg(8) go; the devices are the workers'. */
  close(): void {
    this.#closed = true;
    this.#names.close();
    for (const site of this.#sites.values()) site.server?.close();
    this.#sites.clear();
  }

  // ---- What happens.

  #said(message: LinkMessage): void {
    const site = this.#sites.get(message.link);
    if (site === undefined) return;
    const { config } = site;
    if (message.kind === 'link-silent') {
      const peer = config.peers.find(({ publicKey }) => publicKey === message.publicKey);
      const [host] = namesOf(peer?.endpoint ?? null);
      if (host === undefined) return;
      // Wherever the peer has roamed to, it is not there any more.
      site.told.delete(hexOf(message.publicKey));
      this.#names.silent(host);
      void this.#bring(site);
      return;
    }
    const problem = message.up
      ? ''
      : `UDP port ${config.listen || 'any'}: ${message.problem}; tried again every few seconds`;
    if (problem !== '' && site.portProblem === '') this.#options.log.warn(`link "${config.name}": ${problem}`);
    else if (problem === '' && site.portProblem !== '')
      this.#options.log.info(`link "${config.name}": UDP port ${message.port} is open`);
    site.portProblem = problem;
    if (!message.fresh) return;
    site.told.clear();
    if (site.live !== null) {
      site.live = null;
      this.#options.changed(`link "${config.name}" is new`);
    }
    void this.#bring(site);
  }

  /** A name means another address: its peers are told, wherever they have roamed to. */
  #renamed(host: string): void {
    for (const site of this.#sites.values()) {
      const mine = site.config.peers.filter(({ endpoint }) => endpoint?.host === host);
      if (mine.length === 0) continue;
      const { log } = this.#options;
      const address = this.#names.addressOf(host);
      const problem = this.#names.problemOf(host);
      if (problem !== '') log.warn(`link "${site.config.name}": ${host} cannot be resolved (${problem}); trying again`);
      else log.info(`link "${site.config.name}": ${host} is ${address}`);
      for (const { publicKey } of mine) site.told.delete(hexOf(publicKey));
      void this.#bring(site);
    }
    this.#options.changed(`${host} has another address`);
  }

  // ---- The device.

  #exclusive<T>(site: Site, act: () => Promise<T>): Promise<T> {
    const mine = site.queue.then(act);
    site.queue = mine.catch(() => {});
    return mine;
  }

  /** Tells the device what is another in the config. Returns that in words. */
  #bring(site: Site): Promise<string[]> {
    return this.#exclusive(site, async () => {
      const { name } = site.config;
      const { log } = this.#options;
      try {
        const wanted = this.#wanted(site);
        const is = await this.#state(name);
        if (is === null || wanted === null) return [];
        const peers = new Map(
          [...wanted.peers].map(([key, peer]) => {
            const told = site.told.get(key) === peer.endpoint && is.peers.get(key)?.endpoint !== '';
            return [key, told ? { ...peer, endpoint: '' } : peer];
          }),
        );
        const { text, words } = changeOf(is, { ...wanted, peers }, (key) => nameIn(site, base64Of(key)));
        for (const [key, { endpoint }] of wanted.peers) if (endpoint !== '') site.told.set(key, endpoint);
        if (text === '') return [];
        const answer = await this.#workers?.linkAsk(name, text);
        if (answer && answer.problem !== '')
          log.error(`link "${name}": the device refuses what it is told: ${answer.problem}`);
        else log.debug(`link "${name}": ${words.join('; ')}`);
        return words.map((word) => `link ${name}: ${word}`);
      } catch (error) {
        // The worker may be on its way out: a fresh one asks for all of it.
        log.warn(`link "${name}": ${(error as Error).message}`);
        return [];
      }
    });
  }

  /** Null: the device is not there (yet). */
  async #state(link: string): Promise<DeviceState | null> {
    const answer = await this.#workers?.linkAsk(link, 'get=1\n');
    return answer && answer.problem === '' ? parseState(answer.text) : null;
  }

  #wanted(site: Site): Pick<DeviceState, 'privateKey' | 'peers'> | null {
    const { config } = site;
    try {
      const secret = readKeyFile(config.privateKeyFile, 'private');
      const privateKey = secret.toString('hex');
      secret.fill(0);
      const look = lookAtKey(config.privateKeyFile, 'private');
      site.publicKey = 'publicKey' in look ? look.publicKey : '';
      const peers = new Map(config.peers.map((peer) => [hexOf(peer.publicKey), this.#wantedPeer(peer)]));
      site.keyProblem = '';
      return { privateKey, peers };
    } catch (error) {
      // A config is refused for such a file; it was changed since. What the device knows goes on.
      site.keyProblem = (error as Error).message;
      this.#options.log.error(`link "${config.name}": ${site.keyProblem}`);
      return null;
    }
  }

  #wantedPeer(peer: PeerConfig): DevicePeer {
    let presharedKey = NO_KEY;
    if (peer.presharedKeyFile !== '') {
      const secret = readKeyFile(peer.presharedKeyFile, 'preshared');
      presharedKey = secret.toString('hex');
      secret.fill(0);
    }
    return {
      presharedKey,
      endpoint: this.#endpointOf(peer),
      keepalive: peer.keepalive,
      allowedIps: [...peer.allowedIps.map(formatPrefix), ...peer.allowedIps6.map(formatPrefix6)],
    };
  }

  #endpointOf({ endpoint }: PeerConfig): string {
    if (endpoint === null) return '';
    if (isAddress(endpoint.host)) return formatEndpoint(endpoint);
    const host = this.#names.addressOf(endpoint.host);
    return host === '' ? '' : formatEndpoint({ host, port: endpoint.port });
  }

  // ---- wg(8).

  async #listen(site: Site): Promise<void> {
    if (site.server !== null) return;
    const { name } = site.config;
    const { dir = UAPI_DIR, log } = this.#options;
    try {
      const server = await UapiServer.open({ name, dir, answer: (text) => this.#serve(site, text) });
      if (this.#closed || this.#sites.get(name) !== site) server.close();
      else {
        site.server = server;
        this.#options.made?.(server.path);
      }
      site.serverProblem = '';
    } catch (error) {
      const problem = `\`wg\` does not find it: ${(error as Error).message}`;
      if (site.serverProblem !== problem) log.warn(`link "${name}": ${problem}`);
      site.serverProblem = problem;
    }
  }

  async #serve(site: Site, text: string): Promise<string> {
    const { log } = this.#options;
    const { name, mark } = site.config;
    try {
      const answer = await this.#exclusive(site, async () => {
        if (!text.startsWith('set=1')) return this.#workers?.linkAsk(name, text);
        const { listenPort = 0 } = (await this.#state(name)) ?? {};
        const request = withoutSocket(text, { listenPort, fwmark: mark });
        if ('refused' in request) return { text: `errno=${-constants.errno.EPERM}\n\n`, problem: request.refused };
        const set = await this.#workers?.linkAsk(name, request.text);
        await this.#observe(site);
        return set;
      });
      if (answer && answer.problem !== '') log.warn(`link "${name}": refused what wg(8) asked: ${answer.problem}`);
      return answer?.text ?? `errno=${-constants.errno.EAGAIN}\n\n`;
    } catch (error) {
      log.warn(`link "${name}": could not answer wg(8): ${(error as Error).message}`);
      return `errno=${-constants.errno.EIO}\n\n`;
    }
  }

  /** After somebody set something: policy follows the peers that are there now. */
  async #observe(site: Site): Promise<void> {
    const state = await this.#state(site.config.name);
    if (state === null) return;
    const peers = [...state.peers].map(([key, { allowedIps }]): LinkPeer => {
      const publicKey = base64Of(key);
      const maps = site.config.peers.find((peer) => peer.publicKey === publicKey)?.maps ?? [];
      const name = nameIn(site, publicKey);
      return { name, publicKey, allowedIps: planPrefixes(allowedIps), allowedIps6: planPrefixes6(allowedIps), maps };
    });
    const before = site.live ?? site.config.peers;
    if (samePeers(peers, before)) return;
    site.live = samePeers(peers, site.config.peers) ? null : peers;
    this.#options.changed(`wg(8) changed the peers of link "${site.config.name}"`);
  }
}

function newSite(config: WireguardLinkConfig): Site {
  return {
    config,
    server: null,
    serverProblem: '',
    keyProblem: '',
    portProblem: '',
    publicKey: '',
    told: new Map(),
    live: null,
    queue: Promise.resolve(),
  };
}

function namesOf(endpoint: PeerConfig['endpoint']): string[] {
  return endpoint === null || isAddress(endpoint.host) ? [] : [endpoint.host];
}

/** A peer that no config names is called by the beginning of its key. */
function nameIn({ config }: Site, publicKey: string): string {
  return config.peers.find((peer) => peer.publicKey === publicKey)?.name ?? publicKey.slice(0, 8);
}

type Known = Pick<LinkPeer, 'publicKey' | 'allowedIps' | 'allowedIps6'>;

function samePeers(a: readonly Known[], b: readonly Known[]): boolean {
  return (
    a.length === b.length &&
    a.every((peer) => {
      const twin = b.find(({ publicKey }) => publicKey === peer.publicKey);
      return (
        twin !== undefined &&
        samePrefixes(twin.allowedIps, peer.allowedIps) &&
        samePrefixes6(twin.allowedIps6, peer.allowedIps6)
      );
    })
  );
}
