/** What the API asks about forwards and blocks: the lists, and changes to them at run time (edit.ts). */
import type { BlockRow, ChangeAnswer, ForwardRow } from '../contract/api.js';
import type { Prefix } from '../contract/plan.js';
import { formatPrefix } from './address.js';
import { describeForward } from './answers.js';
import { activeBlocks } from './blocks.js';
import { addBlock, addItem, type Edit, type Overlay, removeBlock, removeForward } from './edit.js';
import { placeOf } from './errors.js';
import type { Config } from './model.js';
import type { Adopt, Router } from './router.js';

export class Changes {
  readonly #router: Router;
  readonly #adopt: Adopt;

  /** `adopt`: what else has to follow a new config. */
  constructor(router: Router, adopt: Adopt) {
    this.#router = router;
    this.#adopt = adopt;
  }

  forwards(): ForwardRow[] {
    const { config, overlay } = this.#router;
    return config.forwards.map((forward) => ({
      name: forward.name,
      what: describeForward(forward),
      ...written(overlay, forward.origin),
    }));
  }

  /** `forward` as it would stand in the config. */
  addForward(forward: unknown, temporary: boolean): Promise<ChangeAnswer> {
    return this.#edit((overlay) => addItem(overlay, temporary, 'forwards', forward));
  }

  removeForward(name: string): Promise<ChangeAnswer> {
    return this.#edit((overlay, config) => removeForward(overlay, config, name));
  }

  blocks(): BlockRow[] {
    const { config, overlay } = this.#router;
    return activeBlocks(config).block.map((block) => ({
      address: formatPrefix(block),
      until: block.until === 0 ? null : new Date(block.until * 1000).toISOString(),
      ...written(overlay, block.origin),
    }));
  }

  /** `seconds`: how long, 0 = until it is removed. */
  addBlock(address: Prefix, seconds: number, temporary: boolean): Promise<ChangeAnswer> {
    const until = seconds === 0 ? 0 : Math.ceil(Date.now() / 1000 + seconds);
    return this.#edit((overlay, config) => addBlock(overlay, config, { ...address, until, origin: '' }, temporary));
  }

  removeBlock(address: Prefix): Promise<ChangeAnswer> {
    return this.#edit((overlay, config) => removeBlock(overlay, config, { ...address, until: 0, origin: '' }));
  }

  #edit(prepare: (overlay: Overlay, config: Config) => Edit): Promise<ChangeAnswer> {
    const { overlay } = this.#router;
    return this.#router.edit((config) => prepare(overlay, config), this.#adopt);
  }
}

/** Who writes the file that something stands in. */
function written(overlay: Overlay, origin: string): Pick<ForwardRow, 'written' | 'origin'> {
  const { file } = placeOf(origin);
  return { written: file === overlay.temporary ? 'temporary' : overlay.owns(file) ? 'lasting' : 'config', origin };
}
