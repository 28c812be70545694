/**
 * What the stages share: the flow table, the plan made ready, counters, fragments. One engine a worker; it owns no clock
 * and no link.
 */
import { randomFillSync } from 'node:crypto';
import { BATCH_SLOTS, type Batch } from '../batch.js';
import { Counter } from '../contract/counters.js';
import type { Plan } from '../contract/plan.js';
import { Header } from '../contract/table-layout.js';
import { ClosedQueue } from '../flow/closed-queue.js';
import { Sweeper } from '../flow/expiry.js';
import { Fragments } from '../flow/fragments.js';
import { hashTuple } from '../flow/hash.js';
import { HostRates } from '../flow/host-rates.js';
import { RowSearch } from '../flow/row-search.js';
import { type FlowTable, NewFlow } from '../flow/table.js';
import { TranslationLog } from '../flow/translation-log.js';
import { Decision, Policy } from '../policy/decide.js';
import { Help } from './help.js';
import { Ipv6Sites } from './ipv6.js';
import type { Tap } from './tap.js';
import { Unsolicited } from './unsolicited.js';

/** ICMP errors a second, and at once (RFC 1812 §4.3.2.8 asks for a limit; these are one worker's). */
const ICMP_RATE = 1000;
const ICMP_BURST = 200;
/** Counters of IP ids; a power of two. */
const ID_COUNTERS = 2048;
/** Flows that could give way, remembered in order: closed ones, and unanswered ones. */
const QUEUE_SLOTS = 65_536;

/** Takes the first `n` slots of `batch.list` for the link of that number. Returns how many it has taken. */
export interface SiteSender {
  transmitTo(number: number, batch: Batch, n: number): number;
}

export class Engine {
  readonly table: FlowTable;
  readonly counters: Float64Array;
  readonly fragments: Fragments;
  /** Closed flows that could give way: those whose mapping holds a port of a pool, and the others, which only hold a row. */
  readonly closedPorts = new ClosedQueue(QUEUE_SLOTS);
  readonly closedRows = new ClosedQueue(QUEUE_SLOTS);
  /** Flows that strangers began, in the order in which they came; most are answered by the time they are asked about. */
  readonly unanswered = new ClosedQueue(QUEUE_SLOTS);
  /** Finds what stands in none of these queues. */
  readonly search = new RowSearch();
  /** The row of the packet that a port is claimed for, which does not give way for it; −1 = none has one yet. */
  keep = -1;
  readonly sweeper: Sweeper;
  readonly rates: HostRates;
  readonly unsolicited = new Unsolicited();
  readonly translations = new TranslationLog();
  policy: Policy;
  plan: Plan;
  /** Null: what is IPv6 is dropped. */
  ipv6: Ipv6Sites | null = null;
  /** MTU by out interface; 0 = dormant, also for numbers that the plan does not know. */
  readonly mtus = new Int32Array(256);
  /** Copies packets for a capture; null = nobody asked. */
  tap: Tap | null = null;
  /** What policy says about the packets without a flow, by their slots (foresee.ts), and which of it is being carried out. */
  readonly decisions = Array.from({ length: BATCH_SLOTS }, () => new Decision());
  decision = new Decision();
  /** Written once a new flow. */
  readonly newFlow = new NewFlow();
  readonly help = new Help();
  /** Any control connection may be there that a helper reads; all that a packet asks where none is switched on. */
  helping = false;
  /** Site link behind an out interface: its number (index into plan.links + 1), or 0: what is sent by it goes to the TUN. */
  readonly linkOuts = new Uint8Array(256);
  /** Who carries what leaves by a site link; null = nobody, there are none. */
  sites: SiteSender | null = null;
  /** 1 for out interfaces that are uplinks. */
  readonly uplinkOuts = new Uint8Array(256);
  /** Next IP ids by destination and protocol (hashed); `idStep` and `idOffset` keep several workers' ids apart. */
  readonly #ids = new Int32Array(ID_COUNTERS);
  idStep = 1;
  idOffset = 0;
  #icmpTokens = ICMP_BURST;
  #icmpFilled = 0;

  constructor(table: FlowTable, plan: Plan, counters: Float64Array, rates = new HostRates()) {
    this.table = table;
    this.rates = rates;
    this.counters = counters;
    this.fragments = new Fragments(table.hash);
    this.sweeper = new Sweeper(table);
    this.policy = new Policy(plan);
    this.plan = plan;
    randomFillSync(this.#ids);
    this.setPlan(plan);
  }

  /**
   * A whole new plan, between two batches. What becomes of the live flows is the caller's next question. With 1,000 forwards and 16
   * addresses it takes 0.8 ms, 0.6 of them under the lock; taking the message 2.2 ms; a slice of the re-decision 0.15 ms (medians on
   * a busy machine: bench/datapath/reload.ts).
   */
  setPlan(plan: Plan): void {
    this.policy = new Policy(plan);
    this.plan = plan;
    this.ipv6 = plan.ipv6 === null ? null : new Ipv6Sites(plan.ipv6, plan);
    this.mtus.fill(0);
    this.uplinkOuts.fill(0);
    this.linkOuts.fill(0);
    plan.links.forEach((link, index) => {
      this.linkOuts[link.out] = index + 1;
    });
    plan.interfaces.forEach((out, index) => {
      this.mtus[index] = out.mtu;
      this.uplinkOuts[index] = out.uplink >= 0 ? 1 : 0;
    });
    this.table.log = plan.translationLog === 'flows' ? this.translations : null;
    this.table.mappings.log = plan.translationLog === 'mappings' ? this.translations : null;
    this.table.mappings.blockLog = plan.translationLog === 'blocks' ? this.translations : null;
    this.table.mappings.blocks.size = plan.portBlocks;
    this.table.lock.acquire();
    this.table.mappings.ports.setPlan(this.policy);
    this.table.ruleFlows.setPlan(plan);
    this.helping = this.help.setPlan(plan, this.table);
    this.table.lock.release();
  }

  /** MTUs of links whose path carries less than the plan says (links.ts). Between two batches. */
  followLinkMtus(): void {
    const { header } = this.table;
    for (const [index, { out }] of this.plan.links.entries()) {
      const planned = this.plan.interfaces[out]!.mtu;
      const lower = header[Header.LINK_MTUS + index]!;
      this.mtus[out] = lower === 0 ? planned : Math.min(planned, lower);
    }
  }

  /** First of `count` IP ids in a row that no other packet to `remote` has had for 2^16 / idStep packets (RFC 6864). */
  takeIds(remote: number, proto: number, count: number): number {
    const at = hashTuple(this.table.hash, remote, 0, 0, proto) & (ID_COUNTERS - 1);
    const turn = this.#ids[at]!;
    this.#ids[at] = (turn + count) | 0;
    return (Math.imul(turn, this.idStep) + this.idOffset) & 0xffff;
  }

  /** May an ICMP error be sent now? Counts the refusal. `millis`: the batch's clock. */
  mayReply(millis: number): boolean {
    // The clock's word wraps around every 49 days; the first packet fills the bucket.
    const passed = (millis - this.#icmpFilled) >>> 0;
    if (passed > 0) {
      this.#icmpTokens = Math.min(ICMP_BURST, this.#icmpTokens + (passed * ICMP_RATE) / 1000);
      this.#icmpFilled = millis;
    }
    if (this.#icmpTokens < 1) {
      this.counters[Counter.ICMP_LIMITED]!++;
      return false;
    }
    this.#icmpTokens--;
    return true;
  }
}
