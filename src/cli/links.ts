/** `tungate links`: each site link with its peers, as they are now. */
import type { LinkPeerRow, LinkRow } from '../contract/api.js';
import { call } from '../control/client.js';
import { colours, duration, type Options, pathsOf, print, printJson, short, table, talk } from './verb.js';

export async function run(options: Options): Promise<undefined> {
  const rows = await call<LinkRow[]>(pathsOf(options).socket, 'GET', '/links');
  if (options.json) printJson(rows);
  else if (rows.length === 0) talk('there are no links; docs/configuration.md says how to make one');
  else rows.forEach(printLink);
}

function printLink(link: LinkRow, index: number): void {
  const c = colours(process.stdout);
  if (index > 0) print('');
  const state = link.up ? c.green('up') : c.red(`down: ${link.problem}`);
  const address = link.address === '' ? '' : `, address ${link.address}`;
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
