/** Ports: what of the host's own sockets would be cut off, and how many automatic ports stay for it. */
import { type Forward, Proto } from '../contract/plan.js';
import type { Claim, PortInterval } from '../contract/steering.js';
import { type Check, fail, ok, type PreflightInput, type Wanted, warn } from './check.js';
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

/**
 * The services that a reload would cut off, as `doctor` names them: what a running router has claimed already is not asked about again, so that a socket
 * that was opened since does not stand in the way of every change.
 */
export function servicesCutOff(wanted: PreflightInput, before: readonly Claim[]): string[] {
  const fresh = hitBy(wanted.steering.claims).filter(
    ({ socket }) => socket.listening && claimOf(socket, before) === undefined,
  );
  const holder = holderNames(fresh);
  return fresh.flatMap((hit) => {
    const { blocks, detail, remedy } = serviceCheck(wanted, hit, holder(hit.socket));
    const origin = forwardOf(wanted, hit)?.origin;
    return blocks ? [`${origin === undefined ? '' : `${origin}: `}${detail}; ${remedy}`] : [];
  });
}

interface Hit {
  readonly socket: Socket;
  readonly claim: Claim;
}

function hitBy(claims: readonly Claim[]): Hit[] {
  return readSockets()
    .map((socket) => ({ socket, claim: claimOf(socket, claims) }))
    .filter((one): one is Hit => one.claim !== undefined);
}

function holderNames(hits: readonly Hit[]): (socket: Socket) => string {
  const holders = holdersOf(new Set(hits.map(({ socket }) => socket.inode)));
  return (socket) => holders.get(socket.inode) ?? 'a process that cannot be seen from here';
}

function serviceCheck(wanted: PreflightInput, hit: Hit, holder: string): Check {
  const { socket, claim } = hit;
  const what = `${socket.proto} port ${socket.port} of ${ipv4Text(claim.address)}`;
  const forward = forwardOf(wanted, hit)?.name;
  // A UDP socket in the pool may be a resolver's for one question; on a forward it is a service for sure.
  const passing = socket.proto === 'udp' && forward === undefined;
  return (passing ? warn : fail)(
    'sockets',
    `${holder} holds ${what}, which ${forward === undefined ? 'belongs to the pool' : `forward "${forward}" takes`}: it would hear nothing from outside`,
    forward === undefined
      ? `take ${socket.port} out of the pool (ports: "…,~${socket.port}"), or move the service`
      : `stop it, bind it to another address, or take port ${socket.port} out of the forward`,
  );
}

function checkClaimed(wanted: Wanted): Check[] {
  const hit = hitBy(wanted.steering.claims);
  const listening = hit.filter(({ socket }) => socket.listening);
  const talking = hit.filter(({ socket }) => !socket.listening);
  const holder = holderNames(hit);

  const checks = listening.slice(0, LISTED).map((one) => serviceCheck(wanted, one, holder(one.socket)));
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

function forwardOf({ plan }: PreflightInput, { socket, claim }: Hit): Forward | undefined {
  const owners = plan.addresses.find(({ address }) => address === claim.address)?.owners;
  const owner = owners?.[socket.proto === 'tcp' ? Proto.TCP : Proto.UDP][socket.port];
  return plan.forwards.find(({ id }) => id === owner);
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
