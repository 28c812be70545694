/**
 * What V8 is told before the data plane's code is first run.
 *
 * V8 inlines calls up to a budget that suits web pages: functions of 460 bytes of bytecode, 920 in all. A cycle has about
 * 4,500 without the slow path, which is inlined as well when the router starts with many new flows. As one piece, a closure
 * over its engine, link and batch (`cycler`), the compiler knows every column of the batch and every section of the table by
 * address and length, and each access loses the loads that find them.
 *
 * Bought: 1.4 to 1.6 times the packets a second, at 1,000 flows and at 1,000,000 (side by side, processor time). Price: the first
 * packet of a kind that the compiled code has not met (a first fragment, a first ICMP error) throws the whole piece away and
 * not a part of it. It is compiled again beside the running loop: the next hundred batches take 0.1 to 0.8 ms each, as they did
 * when the pieces were small. It happens some 30 times in the first 100,000 new flows, which cost 25 µs each until then and not 7.
 * Refused: 2,000 or 5,000 in all (a quicker beginning, and afterwards 0.85 times the packets: the slow path takes the room).
 */
import { setFlagsFromString } from 'node:v8';

export function inlineWholeCycle(): void {
  setFlagsFromString('--max-inlined-bytecode-size=3000');
  setFlagsFromString('--max-inlined-bytecode-size-cumulative=20000');
  setFlagsFromString('--max-inlined-bytecode-size-absolute=40000');
}
