/**
 * What V8 is told before the data plane's code is first run.
 *
 * V8 inlines calls up to a budget that suits web pages: functions of 460 bytes of bytecode, 920 in all. A cycle has about
 * 4,500 without the slow path. As one piece, a closure over its engine, link and batch (`cycler`), the compiler knows every
 * column of the batch and every section of the table by address and length, and each access loses the loads that find them.
 *
 * Bought: 1.3 times the packets a second at 1,000 flows (side by side, processor time). Price: 5 to 12 MiB for the compiler, and the
 * first packet of a kind that the compiled code has not met (a first fragment, a first ICMP error) throws the whole piece away and
 * not a part of it. It is compiled again beside the running loop: the next hundred batches take 0.1 to 0.8 ms each, as they did
 * when the pieces were small. Refused: 20,000 in all (1.15 times more, but 30 MiB, and 25 µs a new flow in the first 100,000).
 */
import { setFlagsFromString } from 'node:v8';
import { rehearseLookups } from '../flow/rehearse.js';
import { native } from '../native.js';

/** Once a thread, before it sees a packet. */
export function prepareCompiler(): void {
  setFlagsFromString('--max-inlined-bytecode-size=1000');
  setFlagsFromString('--max-inlined-bytecode-size-cumulative=5000');
  rehearseLookups(native);
}
