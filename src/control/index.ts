/** Config → plan, as the daemon, the CLI and other folders see it. */

export { compile } from './compile.js';
export type { Compiled, Memory, Previous } from './compiled.js';
export { loadConfig, parseConfig } from './config.js';
export { DEFAULT_CONFIG_PATH } from './defaults.js';
export { formatError, formatErrors } from './errors.js';
export { initConfig } from './init.js';
export type * from './model.js';
export { printConfig } from './print.js';
export { jsonSchema } from './schema.js';
