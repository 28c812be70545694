/** `tungate rules`: forwards and outbound rules with their counters since start. */
import type { RuleRow } from '../contract/api.js';
import { call } from '../control/client.js';
import { type Options, pathsOf, printJson, short, table } from './verb.js';

const HEADER = [
  'KIND',
  'NAME',
  'WHAT',
  'FLOWS',
  'PACKETS IN',
  'BYTES IN',
  'PACKETS OUT',
  'BYTES OUT',
  'REFUSED',
  'WRITTEN AT',
];

export async function run(options: Options): Promise<undefined> {
  const rules = await call<RuleRow[]>(pathsOf(options).socket, 'GET', '/rules');
  if (options.json) {
    printJson(rules);
    return;
  }
  const rows = rules.map((rule) => [
    rule.kind,
    rule.name,
    rule.what,
    short(rule.flows),
    short(rule.packetsIn),
    `${short(rule.bytesIn)}B`,
    short(rule.packetsOut),
    `${short(rule.bytesOut)}B`,
    short(rule.refused),
    rule.origin,
  ]);
  process.stdout.write(table(HEADER, rows, [3, 4, 5, 6, 7, 8]));
}
