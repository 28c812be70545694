/** What the verbs that change a running router have in common: they say what became of it and of the flows. */
import type { ChangeAnswer, ReloadAnswer } from '../contract/api.js';
import { CliError, Exit, type Options, printJson, talk } from './verb.js';

/** `generation 7; flows: 10 stayed, 0 moved, 1 ended` */
export function outcome({ generation, flows: { stayed, moved, ended } }: ReloadAnswer): string {
  return `generation ${generation}; flows: ${stayed} stayed, ${moved} moved, ${ended} ended`;
}

export function sayChange(answer: ChangeAnswer, options: Options): void {
  for (const problem of answer.problems) talk(`warning: ${problem}`);
  if (options.json) printJson(answer);
  else
    talk(
      `${answer.difference || (answer.changed ? 'done' : 'nothing changed')}; ${outcome(answer)}; written to ${answer.files.join(', ')}`,
    );
}

const UNITS: Readonly<Record<string, number>> = { '': 1, s: 1, m: 60, h: 3600, d: 86_400 };

/** `90`, `90s`, `10m`, `2h`, `7d` → seconds. */
export function seconds(text: string): number {
  const match = /^(\d{1,9})([smhd]?)$/.exec(text);
  const value = match ? Number(match[1]) * UNITS[match[2]!]! : 0;
  if (value <= 0) throw new CliError(Exit.USAGE, `"${text}" is not a time; write one like 90s, 10m, 2h or 7d`);
  return value;
}
