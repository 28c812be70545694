/**
 * Flows as text: conntrack's own grammar, so that scripts written for `conntrack -L` read it, and a table for people.
 */
import type { Flow, FlowTuple } from '../contract/api.js';
import { duration, short, table } from './verb.js';

/** Names that conntrack prints; every other protocol is "unknown" to it. */
const CONNTRACK_NAMES = new Set(['tcp', 'udp', 'udplite', 'icmp', 'sctp', 'gre', 'dccp', 'igmp']);
const ECHO_REQUEST = 8;
const ECHO_REPLY = 0;

/**
 * One line as `conntrack -L` prints it (without accounting, mark 0):
 *   tcp      6 431999 ESTABLISHED src=A dst=B sport=1 dport=2 src=B dst=P sport=2 dport=3 [ASSURED] mark=0 use=1
 */
export function conntrackLine(flow: Flow): string {
  const name = CONNTRACK_NAMES.has(flow.protocol) ? flow.protocol : 'unknown';
  const parts = [`${name.padEnd(8)} ${flow.proto} ${flow.timeout}`];
  if (flow.state !== '') parts.push(flow.state);
  parts.push(tuple(flow.original, ECHO_REQUEST));
  if (!flow.replied) parts.push('[UNREPLIED]');
  parts.push(tuple(flow.reply, ECHO_REPLY));
  // conntrack never calls a ping assured.
  if (flow.assured && flow.protocol !== 'icmp') parts.push('[ASSURED]');
  parts.push('mark=0 use=1');
  return parts.join(' ');
}

function tuple(side: FlowTuple, icmpType: number): string {
  const addresses = `src=${side.src} dst=${side.dst}`;
  if (side.id !== undefined) return `${addresses} type=${icmpType} code=0 id=${side.id}`;
  return side.sport === undefined ? addresses : `${addresses} sport=${side.sport} dport=${side.dport}`;
}

const HEADER = ['PROTO', 'STATE', 'ENDS IN', 'FROM', 'TO', 'TRANSLATED', 'SENT', 'ANSWERED'];

export function flowTable(flows: readonly Flow[]): string {
  const rows = flows.map((flow) => [
    flow.protocol,
    flow.state || (flow.replied ? 'answered' : 'unanswered'),
    duration(flow.timeout),
    end(flow.original.src, flow.original.sport ?? flow.original.id),
    end(flow.original.dst, flow.original.dport),
    translated(flow),
    `${short(flow.bytes.original)}B`,
    `${short(flow.bytes.reply)}B`,
  ]);
  return table(HEADER, rows, [6, 7].slice(0, rows.length > 0 ? 2 : 0));
}

function end(address: string, port: number | undefined): string {
  return port === undefined ? address : `${address}:${port}`;
}

/** What the other side sees instead: `from P:p` where the source is rewritten, `to X:x` where the destination is. */
function translated(flow: Flow): string {
  const { original, reply } = flow;
  const parts: string[] = [];
  const source = end(reply.dst, reply.dport ?? reply.id);
  const target = end(reply.src, reply.sport);
  if (source !== end(original.src, original.sport ?? original.id)) parts.push(`from ${source}`);
  if (target !== end(original.dst, original.dport)) parts.push(`to ${target}`);
  return parts.length > 0 ? parts.join(', ') : '-';
}
