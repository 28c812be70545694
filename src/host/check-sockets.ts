/** Ports: what of the host's own sockets would be cut off, and how many automatic ports stay for it. */
import { Proto } from '../contract/plan.js';
import type { Claim, PortInterval } from '../contract/steering.js';
import { type Check, fail, ok, type Wanted, warn } from './check.js';
import { ipv4Text } from './ipv4.js';
import { countPorts, hasPort, parsePorts, subtractPorts } from './ports.js';
import { holdersOf, readSockets, type Socket } from './sockets.js';
import { readSysctl } from './sysctl.js';
import { RESERVED_PORTS } from './undo.js';

const FEWEST_AUTOMATIC = 8192;
/** More lines of the same kind help nobody. */
const LISTED = 20;

export function checkSockets(wanted: Wanted): Check[] {
  return [...checkClaimed(wanted), checkAutomatic(wanted.reservedPorts)];
}

function checkClaimed(wanted: Wanted): Check[] {
  const hit = readSockets()
    .map((socket) => ({ socket, claim: claimOf(socket, wanted.steering.claims) }))
    .filter((one): one is { socket: Socket; claim: Claim } => one.claim !== undefined);
  const listening = hit.filter(({ socket }) => socket.listening);
  const talking = hit.filter(({ socket }) => !socket.listening);
  const holders = holdersOf(new Set(hit.map(({ socket }) => socket.inode)));
  const holder = (socket: Socket): string => holders.get(socket.inode) ?? 'a process that cannot be seen from here';

  const checks = listening.slice(0, LISTED).map(({ socket, claim }) => {
    const what = `${socket.proto} port ${socket.port} of ${ipv4Text(claim.address)}`;
    const forward = forwardOf(wanted, socket, claim);
    // A UDP socket in the pool may be a resolver's for one question; on a forward it is a service for sure.
    const passing = socket.proto === 'udp' && forward === undefined;
    return (passing ? warn : fail)(
      'sockets',
      `${holder(socket)} holds ${what}, which ${forward === undefined ? 'belongs to the pool' : `forward "${forward}" takes`}: it would hear nothing from outside`,
      forward === undefined
        ? `take ${socket.port} out of the pool (ports: "…,~${socket.port}"), or move the service`
        : `stop it, bind it to another address, or take port ${socket.port} out of the forward`,
    );
  });
  if (listening.length > LISTED)
    checks.push(fail('sockets', `and ${listening.length - LISTED} more`, 'see: ss -lntup'));
  if (talking.length > 0) {
    const some = [...new Set(talking.slice(0, LISTED).map(({ socket }) => holder(socket)))].join(', ');
    checks.push(
      warn(
        'conversations',
        `${talking.length} connections of this host use ports that the router will own, and end when it starts: ${some}`,
        'let them end first, or choose a pool outside net.ipv4.ip_local_port_range',
      ),
    );
  }
  return checks.length > 0 ? checks : [ok('sockets', 'no socket of this host uses a claimed port')];
}

/** The claim that takes what this socket should hear. An address that is not the host's own cannot be bound to. */
function claimOf(socket: Socket, claims: readonly Claim[]): Claim | undefined {
  return claims.find(
    (claim) =>
      claim.shared &&
      (socket.address === claim.address || (socket.address === 0 && socket.listening)) &&
      hasPort(claim[socket.proto], socket.port),
  );
}

function forwardOf({ plan }: Wanted, socket: Socket, claim: Claim): string | undefined {
  const owners = plan.addresses.find(({ address }) => address === claim.address)?.owners;
  const owner = owners?.[socket.proto === 'tcp' ? Proto.TCP : Proto.UDP][socket.port];
  return plan.forwards.find(({ id }) => id === owner)?.name;
}

function checkAutomatic(reserved: readonly PortInterval[]): Check {
  const [first = 32_768, last = 60_999] = (readSysctl('net/ipv4/ip_local_port_range') ?? '').split(/\s+/).map(Number);
  const taken = [...parsePorts(readSysctl(RESERVED_PORTS) ?? ''), ...reserved];
  const free = countPorts(subtractPorts([{ first, last }], taken));
  const detail = `${free} automatic source ports of ${first}-${last} stay for the host`;
  if (free >= FEWEST_AUTOMATIC) return ok('automatic ports', detail);
  const remedy = `make the pool smaller, or widen net.ipv4.ip_local_port_range; at least ${FEWEST_AUTOMATIC} are advisable`;
  return (free === 0 ? fail : warn)('automatic ports', detail, remedy);
}
