#!/usr/bin/env node
/** `tungate-wg NAME` is `tungate wg NAME`: one word, as WG_QUICK_USERSPACE_IMPLEMENTATION wants it. */
process.argv.splice(2, 0, 'wg');
await import('./cli.js');

export {};
