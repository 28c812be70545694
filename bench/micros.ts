/** The micro benches, in the order of the way. A new file of them is a line here. */
import { micros as datapath } from './datapath/stages.js';
import { micros as flow } from './flow/micro.js';
import { calibration, type Micro } from './lib/micro.js';
import { micros as wire } from './wire/checksum.js';

export const micros: readonly Micro[] = [calibration, ...wire, ...flow, ...datapath];
