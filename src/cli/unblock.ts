/** `tungate unblock ADDRESS|PREFIX`. */
import type { ChangeAnswer } from '../contract/api.js';
import { call } from '../control/client.js';
import { sayChange } from './change.js';
import { type Options, pathsOf } from './verb.js';

export async function run(options: Options, [address]: readonly string[]): Promise<undefined> {
  const query = new URLSearchParams({ address: address! });
  sayChange(await call<ChangeAnswer>(pathsOf(options).socket, 'DELETE', `/blocks?${query}`), options);
}
