/**
 * Config → plan, as others see it:
 *
 *   parseConfig(text: string, file: string): Result             { config } | { errors }, all errors at once
 *   loadConfig(path: string): Result                             the same from a file
 *   formatErrors(errors: readonly ConfigError[]): string         `file:line:col: path: message` lines
 *   compile(config: Config, world: World, previous?: Previous): Compiled
 *   initConfig(world: World): string                             a commented config for this host
 *   printConfig(config: Config): string                          YAML that parses to an equal config
 *   jsonSchema(): object                                         for editors
 */
export type { Compiled, Memory, Previous } from './compiled.js';
export type * from './model.js';
