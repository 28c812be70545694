/**
 * Prometheus: everything is read from shared memory when somebody scrapes; no packet ever waits for a counter call.
 *
 * Each scrape resets the metrics and fills them from the workers' counters and the flow table, synchronously, before
 * the text is made: one consistent picture, and label sets of rules that a reload removed are gone. The counters
 * themselves live as long as the daemon (worker restarts included), so `_total` never runs backwards in one process.
 */
import { Gauge, Counter as PromCounter, Registry } from 'prom-client';
import type { LinkRow, VxlanLinkRow } from '../contract/api.js';
import { Counter, RuleCounter, ruleBase } from '../contract/counters.js';
import type { Plan } from '../contract/plan.js';
import { VERDICTS } from '../contract/verdict.js';
import { formatAddress } from './address.js';
import { PROTOCOLS, total } from './answers.js';
import type { TableReader } from './flows.js';
import { REJECTIONS } from './link-answers.js';
import { VXLAN_REJECTIONS } from './vxlan-answers.js';

export interface MetricsSource {
  readonly version: string;
  /** Unix time in seconds. */
  readonly startedAt: number;
  readonly plan: Plan;
  readonly lastReload: { readonly ok: boolean; readonly at: number };
  readonly problems: number;
  /** By worker. */
  readonly counters: readonly Float64Array[];
  readonly busy: readonly number[];
  readonly restarts: readonly number[];
  readonly table: TableReader | null;
  /** CLOCK_BOOTTIME seconds. */
  readonly now: number;
  /** What the kernel dropped at the TUN: `queue` before the engine could read it, `write` when the engine handed it back. */
  readonly links: readonly (LinkRow | VxlanLinkRow)[];
  readonly tunDrops: { readonly queue: number; readonly write: number };
}

const HELPER_RESULTS = [
  ['rewritten', Counter.HELPER_REWRITTEN],
  ['refused', Counter.HELPER_REFUSED],
  ['foreign', Counter.HELPER_FOREIGN],
  ['split', Counter.HELPER_SPLIT],
] as const;

const PEER = ['link', 'peer'] as const;
const REMOTE = ['link', 'remote'] as const;
const LINK_METRICS = [
  ['gauge', 'tungate_vxlan_loop', 'Whether a loop through the VXLAN link was found.', ['link']],
  ['gauge', 'tungate_vxlan_addresses', 'MAC addresses in the forwarding table.', ['link']],
  ['counter', 'tungate_vxlan_remote_sent_frames_total', 'Frames sent to the remote.', REMOTE],
  ['counter', 'tungate_vxlan_remote_sent_bytes_total', 'Bytes of frames sent to the remote.', REMOTE],
  ['counter', 'tungate_vxlan_remote_received_frames_total', 'Frames taken from the remote.', REMOTE],
  ['counter', 'tungate_vxlan_remote_received_bytes_total', 'Bytes of frames taken from the remote.', REMOTE],
  ['gauge', 'tungate_link_up', 'Whether the link has its UDP port.', ['link']],
  ['gauge', 'tungate_link_mtu_bytes', 'Longest packet inside the link.', ['link']],
  [
    'counter',
    'tungate_link_rejected_packets_total',
    'Packets and datagrams of a link that were not taken, by reason (docs/operations.md).',
    ['link', 'reason'],
  ],
  [
    'counter',
    'tungate_link_socket_errors_total',
    'Datagrams that the kernel refused to send, and errors when receiving.',
    ['link', 'direction'],
  ],
  ['gauge', 'tungate_link_peer_info', 'Always 1; the label says which key the peer has.', [...PEER, 'public_key']],
  ['gauge', 'tungate_link_peer_last_handshake_timestamp_seconds', 'Unix time of the last session; 0: never.', PEER],
  [
    'counter',
    'tungate_link_peer_handshakes_total',
    'Handshakes: sessions that we "initiated" or "answered", and tries that were "given-up" without an answer.',
    [...PEER, 'result'],
  ],
  ['counter', 'tungate_link_peer_received_bytes_total', 'Bytes of datagrams from the peer.', PEER],
  ['counter', 'tungate_link_peer_sent_bytes_total', 'Bytes of datagrams to the peer.', PEER],
  ['counter', 'tungate_link_peer_received_packets_total', 'Packets from the peer.', PEER],
  ['counter', 'tungate_link_peer_sent_packets_total', 'Packets to the peer.', PEER],
  ['gauge', 'tungate_link_peer_waiting_packets', 'Packets that wait for a session.', PEER],
] as const satisfies readonly (readonly ['gauge' | 'counter', string, string, readonly string[]])[];

type Label = Record<string, string | number>;

export class Metrics {
  readonly contentType = Registry.PROMETHEUS_CONTENT_TYPE;
  readonly #registry = new Registry();
  readonly #all = new Map<string, PromCounter | Gauge>();

  constructor() {
    this.#gauge('tungate_build_info', 'Always 1; the labels say what runs.', ['version', 'node']);
    this.#gauge('tungate_start_time_seconds', 'Unix time at which the daemon started.');
    this.#gauge('tungate_uptime_seconds', 'Seconds since the daemon started.');
    this.#gauge('tungate_config_generation', 'Generation of the plan in force.');
    this.#gauge(
      'tungate_config_last_reload_successful',
      'Whether the last config that was read was taken (1) or refused (0).',
    );
    this.#gauge('tungate_config_last_reload_timestamp_seconds', 'Unix time of the last attempt to read the config.');
    this.#gauge('tungate_problems', 'Parts of the config that do not work now; `tungate status` names them.');

    this.#counter('tungate_received_packets_total', 'Packets taken from the TUN; a GSO packet counts as one.', [
      'worker',
    ]);
    this.#counter(
      'tungate_received_segments_total',
      'Packets taken from the TUN; a GSO packet counts as its segments.',
      ['worker'],
    );
    this.#counter('tungate_received_bytes_total', 'Bytes of IP packets taken from the TUN.', ['worker']);
    this.#counter('tungate_sent_packets_total', 'Packets written to the TUN.', ['worker']);
    this.#counter('tungate_sent_bytes_total', 'Bytes of IP packets written to the TUN.', ['worker']);
    this.#counter('tungate_batches_total', 'Batches that held at least one packet.', ['worker']);
    this.#counter('tungate_engine_busy_seconds_total', 'Seconds that the worker spent on packets.', ['worker']);
    this.#counter('tungate_engine_wait_seconds_total', 'Seconds that the worker waited for packets.', ['worker']);
    this.#gauge('tungate_engine_busy_ratio', 'Share of the last seconds that the worker was busy, 0 to 1.', ['worker']);
    this.#counter('tungate_worker_restarts_total', 'Times that a dead worker was started again.', ['worker']);

    this.#counter('tungate_handled_packets_total', 'Packets that were not dropped, by what became of them.', [
      'verdict',
    ]);
    this.#counter('tungate_dropped_packets_total', 'Packets dropped by the engine, by reason.', ['reason']);
    this.#counter(
      'tungate_tun_dropped_packets_total',
      'Packets that the kernel dropped at the TUN: "queue" = the engine was too slow, "write" = refused from the engine.',
      ['direction'],
    );
    this.#counter('tungate_icmp_errors_limited_total', 'ICMP errors that were due but withheld by the rate limit.');
    this.#counter('tungate_source_ports_changed_total', 'New mappings that could not keep the source port.');
    this.#counter('tungate_fragmented_datagrams_total', 'Datagrams whose fragments were all translated.');
    this.#counter(
      'tungate_helper_announcements_total',
      'Addresses in control connections (helpers: [ftp]), by what became of them: "rewritten", or left as they were because ' +
        'of "refused" (no port, or a limit), "foreign" (not the sender\'s own, or below 1024), "split" (cut by a segment\'s end).',
      ['result'],
    );

    this.#gauge('tungate_flows', 'Live flows.', ['protocol', 'state']);
    this.#gauge('tungate_flows_limit', 'Flows that the table has room for (limits.flows).');
    this.#counter('tungate_flows_created_total', 'Flows made.');
    this.#counter('tungate_flows_ended_total', 'Flows ended.');
    this.#counter(
      'tungate_flows_gave_way_total',
      'Flows that were ended for the row or port of a new one: "unanswered" = begun outside and never answered (a flood), "closed".',
      ['state'],
    );
    this.#gauge('tungate_mappings', 'Live and held mappings.');
    this.#counter('tungate_mappings_created_total', 'Mappings made.');
    this.#counter('tungate_mappings_ended_total', 'Mappings ended.');
    this.#gauge('tungate_pool_ports', 'Ports (or query ids) in the pool.', ['address', 'protocol']);
    this.#gauge('tungate_pool_ports_used', 'Ports of the pool that mappings live on or hold.', ['address', 'protocol']);

    for (const kind of ['forward', 'nat_rule']) {
      const word = kind === 'forward' ? 'forward' : 'nat rule';
      this.#counter(`tungate_${kind}_packets_total`, `Packets by ${word}; "in" = towards the inside host.`, [
        'name',
        'direction',
      ]);
      this.#counter(`tungate_${kind}_bytes_total`, `Bytes of IP packets by ${word}; "in" = towards the inside host.`, [
        'name',
        'direction',
      ]);
      this.#counter(`tungate_${kind}_flows_total`, `Flows made by ${word}.`, ['name']);
      this.#counter(
        `tungate_${kind}_refused_packets_total`,
        `Packets that a ${word} refused (its source list, or a limit).`,
        ['name'],
      );
    }

    for (const [kind, name, help, labels] of LINK_METRICS) {
      if (kind === 'gauge') this.#gauge(name, help, [...labels]);
      else this.#counter(name, help, [...labels]);
    }

    this.#gauge('process_resident_memory_bytes', 'Resident memory of the daemon.');
    this.#gauge('process_start_time_seconds', 'Unix time at which the process started.');
    this.#counter('process_cpu_seconds_total', 'User and system CPU time of all threads.');
  }

  /** The exposition text of this moment. */
  async scrape(source: MetricsSource): Promise<string> {
    for (const metric of this.#all.values()) metric.reset();
    this.#fill(source);
    return this.#registry.metrics();
  }

  #fill(source: MetricsSource): void {
    const { counters, plan, table } = source;
    const started = source.startedAt;
    this.#set('tungate_build_info', 1, { version: source.version, node: process.version });
    this.#set('tungate_start_time_seconds', started);
    this.#set('tungate_uptime_seconds', process.uptime());
    this.#set('tungate_config_generation', plan.generation);
    this.#set('tungate_config_last_reload_successful', source.lastReload.ok ? 1 : 0);
    this.#set('tungate_config_last_reload_timestamp_seconds', source.lastReload.at);
    this.#set('tungate_problems', source.problems);

    counters.forEach((block, worker) => {
      this.#add('tungate_received_packets_total', block[Counter.RX_PACKETS]!, { worker });
      this.#add('tungate_received_segments_total', block[Counter.RX_SEGMENTS]!, { worker });
      this.#add('tungate_received_bytes_total', block[Counter.RX_BYTES]!, { worker });
      this.#add('tungate_sent_packets_total', block[Counter.TX_PACKETS]!, { worker });
      this.#add('tungate_sent_bytes_total', block[Counter.TX_BYTES]!, { worker });
      this.#add('tungate_batches_total', block[Counter.BATCHES]!, { worker });
      this.#add('tungate_engine_busy_seconds_total', block[Counter.BUSY_SECONDS]!, { worker });
      this.#add('tungate_engine_wait_seconds_total', block[Counter.WAIT_SECONDS]!, { worker });
      this.#set('tungate_engine_busy_ratio', source.busy[worker] ?? 0, { worker });
      this.#add('tungate_worker_restarts_total', source.restarts[worker] ?? 0, { worker });
    });

    VERDICTS.forEach((verdict, id) => {
      const packets = total(counters, Counter.VERDICT + id);
      if (verdict.fate === 'drop') this.#add('tungate_dropped_packets_total', packets, { reason: verdict.name });
      else this.#add('tungate_handled_packets_total', packets, { verdict: verdict.name });
    });
    this.#add('tungate_tun_dropped_packets_total', source.tunDrops.queue, { direction: 'queue' });
    this.#add('tungate_tun_dropped_packets_total', source.tunDrops.write, { direction: 'write' });
    this.#add('tungate_icmp_errors_limited_total', total(counters, Counter.ICMP_LIMITED));
    this.#add('tungate_source_ports_changed_total', total(counters, Counter.PORTS_CHANGED));
    this.#add('tungate_fragmented_datagrams_total', total(counters, Counter.FRAGMENTS));
    for (const [result, counter] of HELPER_RESULTS)
      this.#add('tungate_helper_announcements_total', total(counters, counter), { result });
    this.#add('tungate_flows_created_total', total(counters, Counter.FLOWS_CREATED));
    this.#add('tungate_flows_ended_total', total(counters, Counter.FLOWS_ENDED));
    this.#add('tungate_flows_gave_way_total', total(counters, Counter.GAVE_WAY_UNANSWERED), { state: 'unanswered' });
    this.#add('tungate_flows_gave_way_total', total(counters, Counter.GAVE_WAY_CLOSED), { state: 'closed' });
    this.#add('tungate_mappings_created_total', total(counters, Counter.MAPPINGS_CREATED));
    this.#add('tungate_mappings_ended_total', total(counters, Counter.MAPPINGS_ENDED));

    if (table) this.#fillTable(table, plan, source.now);
    for (const rule of plan.forwards) this.#fillRule('forward', rule, counters);
    for (const rule of plan.nat) this.#fillRule('nat_rule', rule, counters);

    for (const link of source.links)
      if (link.kind === 'vxlan') this.#fillVxlan(link);
      else this.#fillLink(link);

    const cpu = process.cpuUsage();
    this.#set('process_resident_memory_bytes', process.memoryUsage.rss());
    this.#set('process_start_time_seconds', Math.round(Date.now() / 1000 - process.uptime()));
    this.#add('process_cpu_seconds_total', (cpu.user + cpu.system) / 1e6);
  }

  #fillTable(table: TableReader, plan: Plan, now: number): void {
    this.#set('tungate_flows_limit', table.layout.rows);
    this.#set('tungate_mappings', table.liveMappings);
    for (const protocol of PROTOCOLS)
      this.#set('tungate_flows', 0, { protocol, state: protocol === 'tcp' ? 'ESTABLISHED' : 'NONE' });
    for (const [protocol, states] of table.countFlows(now)) {
      for (const [state, count] of states) this.#set('tungate_flows', count, { protocol, state });
    }
    const used = table.countMappings();
    for (const address of plan.addresses) {
      PROTOCOLS.forEach((protocol, index) => {
        const labels = { address: formatAddress(address.address), protocol };
        this.#set('tungate_pool_ports', address.poolSize[index]!, labels);
        this.#set('tungate_pool_ports_used', used.get(address.address)?.[index] ?? 0, labels);
      });
    }
  }

  #fillRule(
    kind: 'forward' | 'nat_rule',
    rule: { readonly id: number; readonly name: string },
    counters: readonly Float64Array[],
  ): void {
    const base = ruleBase(rule.id);
    const { name } = rule;
    this.#add(`tungate_${kind}_packets_total`, total(counters, base + RuleCounter.PACKETS_IN), {
      name,
      direction: 'in',
    });
    this.#add(`tungate_${kind}_packets_total`, total(counters, base + RuleCounter.PACKETS_OUT), {
      name,
      direction: 'out',
    });
    this.#add(`tungate_${kind}_bytes_total`, total(counters, base + RuleCounter.BYTES_IN), { name, direction: 'in' });
    this.#add(`tungate_${kind}_bytes_total`, total(counters, base + RuleCounter.BYTES_OUT), { name, direction: 'out' });
    this.#add(`tungate_${kind}_flows_total`, total(counters, base + RuleCounter.FLOWS), { name });
    this.#add(`tungate_${kind}_refused_packets_total`, total(counters, base + RuleCounter.REFUSED), { name });
  }

  #fillVxlan({ name: link, up, loop, mtu, remotes, addresses, rejected, sendFailed, tapFailed }: VxlanLinkRow): void {
    this.#set('tungate_link_up', up ? 1 : 0, { link });
    this.#set('tungate_link_mtu_bytes', mtu, { link });
    this.#set('tungate_vxlan_loop', loop === '' ? 0 : 1, { link });
    this.#set('tungate_vxlan_addresses', addresses, { link });
    for (const { name: reason } of VXLAN_REJECTIONS) {
      const packets = rejected.find((row) => row.reason === reason)?.packets ?? 0;
      this.#add('tungate_link_rejected_packets_total', packets, { link, reason });
    }
    this.#add('tungate_link_socket_errors_total', sendFailed, { link, direction: 'sent' });
    this.#add('tungate_link_socket_errors_total', tapFailed, { link, direction: 'received' });
    for (const { address: remote, ...row } of remotes) {
      this.#add('tungate_vxlan_remote_sent_frames_total', row.txFrames, { link, remote });
      this.#add('tungate_vxlan_remote_sent_bytes_total', row.txBytes, { link, remote });
      this.#add('tungate_vxlan_remote_received_frames_total', row.rxFrames, { link, remote });
      this.#add('tungate_vxlan_remote_received_bytes_total', row.rxBytes, { link, remote });
    }
  }

  #fillLink({ name: link, up, mtu, peers, rejected, sendFailed, receiveFailed }: LinkRow): void {
    this.#set('tungate_link_up', up ? 1 : 0, { link });
    this.#set('tungate_link_mtu_bytes', mtu, { link });
    // Reasons that were never met are there as well: a rate needs a beginning.
    for (const { name: reason } of REJECTIONS) {
      const packets = rejected.find((row) => row.reason === reason)?.packets ?? 0;
      this.#add('tungate_link_rejected_packets_total', packets, { link, reason });
    }
    this.#add('tungate_link_socket_errors_total', sendFailed, { link, direction: 'sent' });
    this.#add('tungate_link_socket_errors_total', receiveFailed, { link, direction: 'received' });
    for (const row of peers) {
      const labels = { link, peer: row.name };
      const at = row.lastHandshake === null ? 0 : Date.parse(row.lastHandshake) / 1000;
      this.#set('tungate_link_peer_info', 1, { ...labels, public_key: row.publicKey });
      this.#set('tungate_link_peer_last_handshake_timestamp_seconds', at, labels);
      const { initiated, answered, givenUp } = row.handshakes;
      this.#add('tungate_link_peer_handshakes_total', initiated, { ...labels, result: 'initiated' });
      this.#add('tungate_link_peer_handshakes_total', answered, { ...labels, result: 'answered' });
      this.#add('tungate_link_peer_handshakes_total', givenUp, { ...labels, result: 'given-up' });
      this.#add('tungate_link_peer_received_bytes_total', row.receivedBytes, labels);
      this.#add('tungate_link_peer_sent_bytes_total', row.sentBytes, labels);
      this.#add('tungate_link_peer_received_packets_total', row.receivedPackets, labels);
      this.#add('tungate_link_peer_sent_packets_total', row.sentPackets, labels);
      this.#set('tungate_link_peer_waiting_packets', row.waiting, labels);
    }
  }

  #counter(name: string, help: string, labelNames: string[] = []): void {
    this.#all.set(name, new PromCounter({ name, help, labelNames, registers: [this.#registry] }));
  }

  #gauge(name: string, help: string, labelNames: string[] = []): void {
    this.#all.set(name, new Gauge({ name, help, labelNames, registers: [this.#registry] }));
  }

  #set(name: string, value: number, labels: Label = {}): void {
    (this.#all.get(name) as Gauge).set(labels, value);
  }

  #add(name: string, value: number, labels: Label = {}): void {
    (this.#all.get(name) as PromCounter).inc(labels, value);
  }
}
