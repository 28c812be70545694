/** All helpers. A new one is its file, its name in contract/plan.ts and a line here. */
import type { HelperName } from '../contract/plan.js';
import type { Helper } from './alg.js';
import { ftp } from './ftp.js';

export const helpers: Readonly<Record<HelperName, Helper>> = { ftp };
