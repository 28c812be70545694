/**
 * What happens to a router in its years, one thing after the other: for the tests (fault-survived.test.ts) and the soak
 * (test/soak). A fault strikes a running stage and is healed by whoever would heal it: the administrator, or the router itself.
 */
import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { INTERNET, LAN, P, pause, type Stage } from './stage.js';

const PUPPET = fileURLToPath(new URL('./puppet.js', import.meta.url));

export interface Fault {
  readonly name: string;
  strike(stage: Stage): Promise<unknown> | unknown;
  heal?(stage: Stage): Promise<unknown> | unknown;
  /** How long it lasts. */
  readonly seconds?: number;
  /** Packets flow meanwhile. */
  readonly flowing?: boolean;
  /** Open connections end by it: their address is gone. */
  readonly endsFlows?: boolean;
  /** What the router must have said. */
  readonly says?: RegExp;
}

/** The daemon as a puppet (see puppet.ts) instead of `tungate up`. */
export async function upAsPuppet({ daemon }: Stage): Promise<void> {
  daemon.process = daemon.ns.spawn([process.execPath, '--expose-gc', PUPPET, daemon.runtimeDir, daemon.configFile], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  await daemon.process.waitFor(/\bready\b/);
}

export function order({ daemon }: Stage, line: string): void {
  daemon.process.child.stdin!.write(`${line}\n`);
}

async function tun({ daemon }: Stage): Promise<string> {
  return (await daemon.json<{ tun: string }>('status')).tun;
}

const OTHER = '203.0.113.99';

export const FAULTS: readonly Fault[] = [
  {
    name: 'the uplink goes down and comes up',
    strike: ({ router }) => router.ns.ip('link set vmbr0 down'),
    heal: ({ router }) => router.ns.ip('link set vmbr0 up', `route replace default via ${INTERNET.gateway}`),
    seconds: 2,
  },
  {
    name: 'the cable of the uplink is pulled and put back',
    strike: ({ inet }) => inet.ip('link set wan down'),
    heal: ({ inet }) => inet.ip('link set wan up'),
    seconds: 2,
  },
  {
    name: "the uplink's address changes, and changes back",
    strike: ({ router }) =>
      router.ns.ip(
        `addr del ${P}/24 dev vmbr0`,
        `addr add ${OTHER}/24 dev vmbr0`,
        `route replace default via ${INTERNET.gateway}`,
      ),
    heal: async ({ router, a }) => {
      await pause(1000);
      const seen = await a.askTcp({ to: INTERNET.one, port: 7 });
      assert.ok(seen.peer.startsWith(`${OTHER}:`), `new flows leave from ${seen.peer}`);
      router.ns.ip(
        `addr del ${OTHER}/24 dev vmbr0`,
        `addr add ${P}/24 dev vmbr0`,
        `route replace default via ${INTERNET.gateway}`,
      );
    },
    endsFlows: true,
  },
  {
    name: 'the LAN bridge is deleted and made again',
    strike: ({ router }) => router.ns.ip('link del vmbr1'),
    heal: ({ router }) =>
      router.ns.ip(
        'link add vmbr1 type bridge stp_state 0 forward_delay 0 mcast_snooping 0',
        'link set vm170 master vmbr1',
        'link set vm20 master vmbr1',
        'link set vmbr1 up',
        `addr add ${LAN.gateway}/24 dev vmbr1`,
      ),
    seconds: 1.5,
    says: /no longer: .*vmbr1/,
  },
  {
    name: 'the TUN is deleted',
    strike: async (stage) => stage.router.ns.ip(`link del ${await tun(stage)}`),
    says: /is back; flows are kept/,
  },
  {
    name: "somebody deletes the uplink's filters",
    strike: ({ router }) => router.ns.must(['tc', 'filter', 'del', 'dev', 'vmbr0', 'ingress']),
    says: /somebody changed the steering; putting it back/,
  },
  {
    name: "somebody deletes the LAN's qdisc",
    strike: ({ router }) => router.ns.must(['tc', 'qdisc', 'del', 'dev', 'vmbr1', 'clsact']),
    says: /somebody changed the steering; putting it back/,
  },
  {
    name: 'somebody writes sysctls that stop routing',
    strike: ({ router }) => {
      router.ns.sysctl('net.ipv4.ip_forward=1');
      router.ns.sysctl('net.ipv4.ip_forward=0');
      router.ns.sysctl('net.ipv4.conf.all.rp_filter=1');
    },
    seconds: 6, // has no bell: found by the next look
    says: /somebody changed the TUN; putting it back/,
  },
  {
    name: 'a worker thread is killed',
    strike: (stage) => order(stage, 'kill-worker'),
    says: /worker \d+ ended with code 1; starting all workers again/,
  },
  {
    name: 'the control thread stalls for 10 s',
    strike: (stage) => order(stage, 'stall 10'),
    seconds: 11,
    flowing: true,
    says: /puppet: done stall 10/,
  },
  {
    name: 'the clock jumps a day ahead',
    strike: (stage) => order(stage, 'clock 86400'),
    seconds: 3,
    flowing: true,
  },
  {
    name: 'the clock jumps two days back',
    strike: (stage) => order(stage, 'clock -86400'),
    heal: (stage) => order(stage, 'clock 0'),
    seconds: 3,
    flowing: true,
  },
  {
    name: 'other processes take all the CPU',
    strike: ({ lab }) => {
      // One for each core and one more, at the same priority; each ends by itself.
      for (let i = 0; i < 3; i++)
        lab.spawn([process.execPath, '-e', 'for (const end = Date.now() + 4000; Date.now() < end; );'], 'hog');
    },
    seconds: 4.5,
    flowing: true,
  },
  {
    name: 'the daemon is killed and started again',
    strike: (stage) => stage.daemon.kill(),
    heal: (stage) => upAsPuppet(stage),
    seconds: 0.5,
    says: /took over \d+ live flows/,
  },
];
