/** `tungate status`: one screen that says whether the router does its job. */
import type { Status } from '../contract/api.js';
import { call } from '../control/client.js';
import { colours, duration, type Options, pathsOf, print, printJson, short } from './verb.js';

export async function run(options: Options): Promise<undefined> {
  const status = await call<Status>(pathsOf(options).socket, 'GET', '/status');
  if (options.json) printJson(status);
  else for (const line of statusLines(status)) print(line);
}

function statusLines(status: Status): string[] {
  const c = colours(process.stdout);
  const row = (label: string, value: string) => `  ${c.dim(label.padEnd(10))} ${value}`;
  const { config, packets, bytes, flows } = status;
  const phase =
    status.phase === 'ready' && status.problems.length === 0 ? c.green(status.phase) : c.yellow(status.phase);
  const lines = [
    `tungate ${status.name}: ${phase}, up ${duration(status.uptimeSeconds)} (version ${status.version}, pid ${status.pid})`,
    row('config', `${config.file}, generation ${config.generation}, loaded ${config.loadedAt}`),
  ];
  for (const line of config.lastErrors) lines.push(row('', c.red(`reload refused: ${line}`)));
  for (const uplink of status.uplinks)
    lines.push(row('uplink', `${uplink.interface}  ${uplink.addresses.join(', ') || 'no address'}`));
  for (const lan of status.lans) lines.push(row('lan', `${lan.interface}  ${lan.subnet}, gateway ${lan.gateway}`));
  const workers = status.workers.map(({ index, state, busy, restarts }) => {
    const again = restarts > 0 ? `, ${restarts} restarts` : '';
    return `worker ${index} ${state === 'ready' ? state : c.red(state)}, ${Math.round(busy * 100)} % busy${again}`;
  });
  lines.push(row('engine', `${status.tun}: ${workers.join('; ')}`));
  lines.push(row('flows', `${flows.live} of ${flows.limit}`));
  for (const address of new Set(status.pools.map((pool) => pool.address))) {
    const pools = status.pools.filter((pool) => pool.address === address);
    lines.push(
      row(
        'ports',
        `${address}: ${pools.map(({ protocol, used, size }) => `${protocol} ${used} of ${size}`).join(', ')}`,
      ),
    );
  }
  lines.push(
    row('packets', `${short(packets.received)} in, ${short(packets.sent)} out, ${short(packets.dropped)} dropped`),
  );
  lines.push(row('bytes', `${short(bytes.received)}B in, ${short(bytes.sent)}B out`));
  for (const drop of status.drops.slice(0, 5))
    lines.push(row('dropped', `${short(drop.packets)} ${drop.reason}: ${drop.sentence}`));
  for (const problem of status.problems) lines.push(row('problem', c.yellow(problem)));
  return lines;
}
