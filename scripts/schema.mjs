#!/usr/bin/env node
// Writes docs/tungate.schema.json, the JSON schema of config files for editors, from the built program. A test fails when it is stale.
import { writeFileSync } from 'node:fs';
import { jsonSchema } from '../dist/src/control/index.js';

const file = new URL('../docs/tungate.schema.json', import.meta.url);
writeFileSync(file, `${JSON.stringify(jsonSchema(), null, 2)}\n`);
console.error('wrote docs/tungate.schema.json');
