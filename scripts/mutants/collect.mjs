// Where the lists of mutants put theirs.
/** @type {{ requirement: string, name: string, file: string, from: string, to: string, tests: string[] }[]} */
export const MUTANTS = [];

let where = { file: '', tests: [''] };

/** The mutants that follow are of this file, and of these test files (below test/) one is to notice each. */
export function inFile(file, ...tests) {
  where = { file, tests };
}

/**
 * One way to break the program: the requirement that it breaks, a fragment that stands in the file exactly once, and what
 * replaces it.
 */
export function mutant(requirement, name, from, to) {
  MUTANTS.push({ requirement: `REQ-${requirement}`, name, from, to, ...where });
}
