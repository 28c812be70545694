/**
 * Keeps the host's automatic source ports out of what the engine owns: net.ipv4.ip_local_reserved_ports, merged with
 * what the administrator reserved. A bind() to an explicit port is not hindered by it; preflight looks for those.
 */
import type { PortInterval } from '../contract/steering.js';
import type { Journal } from './journal.js';
import { mergePorts, parsePorts, portsText, subtractPorts } from './ports.js';
import { readSysctl, writeSysctl } from './sysctl.js';
import { RESERVED_PORTS } from './undo.js';

/** Reserves exactly `intervals` for us: what an earlier call reserved and this one does not name is given back. */
export function reservePorts(intervals: readonly PortInterval[], journal: Journal): void {
  const present = readSysctl(RESERVED_PORTS);
  if (present === undefined) throw new Error(`this kernel has no ${RESERVED_PORTS}: tungate needs Linux 4.19 or newer`);
  const ours = ourPorts(journal);
  const theirs = subtractPorts(parsePorts(present), ours);
  const target = mergePorts([...theirs, ...intervals]);
  const added = subtractPorts(target, theirs);
  if (portsText(target) !== portsText(parsePorts(present))) {
    // Until the write has happened, the old ones and the new ones may both be in it.
    journal.note({ kind: 'reserved-ports', ours: portsText([...ours, ...added]) });
    writeSysctl(RESERVED_PORTS, portsText(target));
  }
  if (journal.changes.some(({ kind }) => kind === 'reserved-ports')) {
    journal.note({ kind: 'reserved-ports', ours: portsText(added) });
  }
}

/** What we have added so far, by the journal. */
function ourPorts(journal: Journal): PortInterval[] {
  const change = journal.changes.find(({ kind }) => kind === 'reserved-ports');
  return change?.kind === 'reserved-ports' ? parsePorts(change.ours) : [];
}
