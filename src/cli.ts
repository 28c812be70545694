#!/usr/bin/env node
/**
 * The command line's first step; the rest is in cli/program.ts. `tungate up` after a crash is in a hurry, and what takes longest
 * is a thread that loads the data plane: it begins before anything else does.
 */
import { parkAhead } from './control/park.js';

if (process.argv[2] === 'up') parkAhead();
await import('./cli/program.js');
