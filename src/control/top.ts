/**
 * Who is busy: bytes a second by inside host and by forward, between two looks.
 *
 * Rows count bytes for their whole life, so the last look's counts are kept, row by row (12 bytes each), from the first
 * question on, and forgotten when nobody has asked for a minute. What a flow sent between the last look and its end is not
 * seen; the totals, which come from the workers' counters, have it. Several readers share one look a second.
 */
import type { TopAnswer } from '../contract/api.js';
import { Counter, RuleCounter, ruleBase } from '../contract/counters.js';
import type { Plan } from '../contract/plan.js';
import { Row, RowFlag, Words } from '../contract/table-layout.js';
import { native } from '../native.js';
import { formatAddress } from './address.js';
import { describeForward, total, traffic } from './answers.js';
import type { TableReader } from './flows.js';
import type { Router } from './router.js';

const LOOK_MS = 900;
const FORGET_MS = 60_000;
const MOST = 50;

interface Look {
  readonly at: number;
  readonly received: { packets: number; bytes: number };
  readonly sent: { packets: number; bytes: number };
  readonly dropped: number;
  readonly forwards: Map<number, { in: number; out: number }>;
}

export class Top {
  readonly #router: Router;
  #table: TableReader | null = null;
  #generations = new Int32Array(0);
  #bytes = new Float64Array(0);
  #last: Look | null = null;
  #answer: TopAnswer | null = null;
  #forget: NodeJS.Timeout | undefined;

  constructor(router: Router) {
    this.#router = router;
  }

  look(): TopAnswer {
    clearTimeout(this.#forget);
    this.#forget = setTimeout(() => this.#reset(null), FORGET_MS);
    this.#forget.unref();
    const now = native.boottime();
    if (this.#answer && this.#last && now - this.#last.at < LOOK_MS) return this.#answer;
    const { table, config, compiled, workers } = this.#router;
    if (table !== this.#table) this.#reset(table);
    const before = this.#last;
    const look = count(now, compiled.plan, workers?.counters ?? []);
    const seconds = before ? (now - before.at) / 1000 : 0;
    const rate = (value: number) => (seconds > 0 ? Math.max(0, value) / seconds : 0);
    const hosts = table ? this.#hosts(table, Math.floor(now / 1000)) : new Map<number, [number, number, number]>();
    const busiest = <T extends { in: number; out: number }>(rows: T[]) =>
      rows.sort((a, b) => b.in + b.out - (a.in + a.out)).slice(0, MOST);
    this.#last = look;
    this.#answer = {
      seconds,
      flows: table?.liveFlows ?? 0,
      received: difference(look.received, before?.received, rate),
      sent: difference(look.sent, before?.sent, rate),
      dropped: rate(look.dropped - (before?.dropped ?? 0)),
      hosts: busiest(
        [...hosts].map(([address, [flows, out, into]]) => ({
          address: formatAddress(address),
          flows,
          out: rate(out),
          in: rate(into),
        })),
      ),
      forwards: busiest(
        config.forwards.map((forward, index) => {
          const { id } = compiled.plan.forwards[index]!;
          const was = before?.forwards.get(id);
          const is = look.forwards.get(id)!;
          return {
            name: forward.name,
            what: describeForward(forward),
            out: rate(is.out - (was?.out ?? 0)),
            in: rate(is.in - (was?.in ?? 0)),
          };
        }),
      ),
    };
    return this.#answer;
  }

  #reset(table: TableReader | null): void {
    this.#table = table;
    this.#last = null;
    this.#answer = null;
    this.#generations = new Int32Array(table?.layout.rows ?? 0);
    this.#bytes = new Float64Array((table?.layout.rows ?? 0) * 2);
  }

  /** Inside address → flows, bytes out and bytes in since the last look. */
  #hosts(table: TableReader, now: number): Map<number, [number, number, number]> {
    const hosts = new Map<number, [number, number, number]>();
    const words = new Int32Array(Words.ROW + 8);
    const counts = new Float64Array(words.buffer, Row.BYTES0 * 4, 2);
    const end = table.highWater;
    for (let row = 0; row < end; row++) {
      if (!table.copyRow(row, now, words)) continue;
      const inbound = (words[Row.KIND]! & RowFlag.INBOUND) !== 0;
      const same = this.#generations[row] === words[Row.GENERATION];
      const side0 = counts[0]! - (same ? this.#bytes[row * 2]! : 0);
      const side1 = counts[1]! - (same ? this.#bytes[row * 2 + 1]! : 0);
      this.#generations[row] = words[Row.GENERATION]!;
      this.#bytes.set(counts, row * 2);
      const address = words[inbound ? Row.SRC1 : Row.SRC0]!;
      const host = hosts.get(address) ?? [0, 0, 0];
      host[0]++;
      host[1] += inbound ? side1 : side0;
      host[2] += inbound ? side0 : side1;
      hosts.set(address, host);
    }
    return hosts;
  }
}

function count(at: number, plan: Plan, counters: readonly Float64Array[]): Look {
  const { packets, bytes } = traffic(counters);
  return {
    at,
    received: { packets: packets.received, bytes: bytes.received },
    sent: { packets: packets.sent, bytes: total(counters, Counter.TX_BYTES) },
    dropped: packets.dropped,
    forwards: new Map(
      plan.forwards.map(({ id }) => [
        id,
        {
          in: total(counters, ruleBase(id) + RuleCounter.BYTES_IN),
          out: total(counters, ruleBase(id) + RuleCounter.BYTES_OUT),
        },
      ]),
    ),
  };
}

type Flow = { packets: number; bytes: number };

function difference(is: Flow, was: Flow | undefined, rate: (value: number) => number): Flow {
  return { packets: rate(is.packets - (was?.packets ?? 0)), bytes: rate(is.bytes - (was?.bytes ?? 0)) };
}
