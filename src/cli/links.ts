/** `tungate links`: each site link with its peers, as they are now; `tungate links fdb`: the forwarding tables of VXLAN links. */
import type { LinkPeerRow, LinkRow, VxlanFdb, VxlanLinkRow } from '../contract/api.js';
import { call } from '../control/client.js';
import {
  CliError,
  colours,
  duration,
  Exit,
  type Options,
  pathsOf,
  print,
  printJson,
  short,
  table,
  talk,
} from './verb.js';

export async function run(options: Options, [action, name, ...more]: readonly string[]): Promise<undefined> {
  if (action === 'fdb' && more.length === 0) return printFdb(options, name);
  if (action !== undefined)
    throw new CliError(Exit.USAGE, `"${[action, ...more].join(' ')}": allowed is fdb [NAME]`, [
      '(tungate links --help)',
    ]);
  const rows = await call<(LinkRow | VxlanLinkRow)[]>(pathsOf(options).socket, 'GET', '/links');
  if (options.json) printJson(rows);
  else if (rows.length === 0) talk('there are no links; docs/configuration.md says how to make one');
  else rows.forEach(printRow);
}

async function printFdb(options: Options, name: string | undefined): Promise<undefined> {
  const query = name === undefined ? '' : `?link=${encodeURIComponent(name)}`;
  const tables = await call<VxlanFdb[]>(pathsOf(options).socket, 'GET', `/links/fdb${query}`);
  if (options.json) {
    printJson(tables);
    return;
  }
  if (tables.length === 0) talk('there are no VXLAN links; docs/configuration.md says how to make one');
  const cells = tables.flatMap(({ link, tap, rows }) =>
    rows.map(({ mac, remote, fixed, age }) => [
      link,
      mac,
      remote || tap,
      fixed ? 'static' : `learned, ${duration(age)}`,
    ]),
  );
  if (cells.length > 0) process.stdout.write(table(['LINK', 'ADDRESS', 'AT', 'KIND'], cells));
}

function printRow(row: LinkRow | VxlanLinkRow, index: number): void {
  if (index > 0) print('');
  if (row.kind === 'vxlan') printVxlan(row);
  else printLink(row);
}

function printVxlan(link: VxlanLinkRow): void {
  const c = colours(process.stdout);
  const state = link.up ? c.green('up') : c.red(`down: ${link.problem}`);
  const device = link.bridge === '' ? link.tap : `${link.tap} in ${link.bridge}`;
  const over = link.over === '' ? '' : ` over ${link.over}`;
  print(
    `${c.bold(link.name)}: ${state}, VXLAN ${link.vni} on ${device}, ${link.local} UDP port ${link.port}${over}, MTU ${link.mtu}, ${link.addresses} addresses`,
  );
  if (link.loop !== '') print(`  ${c.red(link.loop)}`);
  const cells = link.remotes.map((row) => [
    row.address,
    short(row.rxFrames),
    `${short(row.rxBytes)}B`,
    short(row.txFrames),
    `${short(row.txBytes)}B`,
  ]);
  const head = ['REMOTE', 'FRAMES IN', 'RECEIVED', 'FRAMES OUT', 'SENT'];
  process.stdout.write(table(head, cells, [1, 2, 3, 4]).replace(/^(?=.)/gm, '  '));
  for (const { reason, packets, sentence } of link.rejected)
    print(`  rejected  ${short(packets)} ${reason}: ${sentence}`);
  if (link.addressesRefused > 0)
    print(
      `  full      ${short(link.addressesRefused)} times an address was not learned: its place has its share of the table`,
    );
  if (link.sendFailed + link.tapFailed > 0)
    print(
      `  errors    ${short(link.sendFailed)} datagrams could not be sent, ${short(link.tapFailed)} frames could not be given to ${link.tap}`,
    );
}

function printLink(link: LinkRow): void {
  const c = colours(process.stdout);
  const state = link.up ? c.green('up') : c.red(`down: ${link.problem}`);
  const own = [link.address, link.address6].filter((text) => text !== '');
  const address = own.length === 0 ? '' : `, address ${own.join(', ')}`;
  print(
    `${c.bold(link.name)}: ${state}, UDP port ${link.port}, MTU ${link.mtu}${address}, public key ${link.publicKey}`,
  );
  const head = ['PEER', 'ENDPOINT', 'HANDSHAKE', 'RECEIVED', 'SENT', 'ALLOWED'];
  process.stdout.write(table(head, link.peers.map(cells), [3, 4]).replace(/^(?=.)/gm, '  '));
  const { rejected, sendFailed, receiveFailed } = link;
  for (const { reason, packets, sentence } of rejected) print(`  rejected  ${short(packets)} ${reason}: ${sentence}`);
  if (sendFailed + receiveFailed > 0)
    print(
      `  errors    ${short(sendFailed)} datagrams could not be sent, ${short(receiveFailed)} errors when receiving`,
    );
}

function cells(peer: LinkPeerRow): string[] {
  const { lastHandshake: at, handshakes } = peer;
  const never = handshakes.givenUp > 0 ? 'never (no answer)' : 'never';
  const age = at === null ? never : `${duration(Math.max(0, (Date.now() - Date.parse(at)) / 1000))} ago`;
  return [
    peer.name,
    peer.endpoint || 'not known',
    age,
    `${short(peer.receivedBytes)}B`,
    `${short(peer.sentBytes)}B`,
    peer.allowedIps.join(', '),
  ];
}
