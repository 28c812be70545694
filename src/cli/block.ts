/** `tungate block ADDRESS|PREFIX`, and `tungate block list`. */
import type { BlockRow, ChangeAnswer } from '../contract/api.js';
import { call } from '../control/client.js';
import { sayChange, seconds } from './change.js';
import { type Options, pathsOf, printJson, table, text } from './verb.js';

export async function run(options: Options, [address]: readonly string[]): Promise<undefined> {
  const { socket } = pathsOf(options);
  if (address === 'list') {
    const rows = await call<BlockRow[]>(socket, 'GET', '/blocks');
    if (options.json) printJson(rows);
    else
      process.stdout.write(
        table(
          ['ADDRESS', 'UNTIL', 'WRITTEN', 'AT'],
          rows.map((row) => [row.address, row.until ?? 'unblocked', row.written, row.origin]),
        ),
      );
    return;
  }
  const time = text(options, 'for');
  const answer = await call<ChangeAnswer>(socket, 'POST', '/blocks', {
    address,
    ...(time !== undefined && { seconds: seconds(time) }),
    temporary: options.temporary === true,
  });
  sayChange(answer, options);
}
