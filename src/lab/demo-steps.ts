/**
 * The steps of the demo, in the order in which they are shown. A step plays its traffic and says what it saw; what is
 * expected stands beside it as a sentence, and `ok` is computed from the same values that are shown.
 */
import type { Daemon } from './daemon.js';
import { iperf } from './iperf.js';
import { diffState, type KernelState, kernelState } from './kernel-state.js';
import { INTERNET, LAN, P, type Topology } from './topology.js';

export interface Stage extends Topology {
  readonly daemon: Daemon;
}

export interface Step {
  readonly title: string;
  readonly expected: string;
  /** Without it the others cannot succeed. */
  readonly vital?: boolean;
  run(stage: Stage): Promise<{ ok: boolean; seen: string }>;
}

const MIB = 1024 * 1024;
const METRICS = 'http://127.0.0.1:9469/metrics';

/** What was there before the daemon: compared with at the end. */
let before: KernelState;
/** A connection that stays open while status and flows are asked. */
let standing: { say(text: string): Promise<{ text: string }>; hangUp(): Promise<void>; local: string };

function addressOf(endpoint: string): string {
  return endpoint.slice(0, endpoint.lastIndexOf(':'));
}

export const steps: readonly Step[] = [
  {
    title: 'tungate up',
    expected: 'the daemon says "ready"',
    vital: true,
    async run({ daemon, router, a, b, one, two }) {
      await Promise.all([
        router.serve({ tcp: [22] }),
        a.serve({ tcp: [22, 10000, 10007, 10999], http: [10080] }),
        b.serve({ tcp: [8000, 8099], udp: [8000, 8042] }),
        one.serve({ tcp: [7, 2222], udp: [7], http: [8080] }),
        two.serve({ tcp: [7] }),
      ]);
      before = await kernelState(router.ns);
      const begun = performance.now();
      await daemon.up();
      return { ok: true, seen: `ready after ${((performance.now() - begun) / 1000).toFixed(1)} s` };
    },
  },
  {
    title: 'download through SNAT',
    expected: `64 MiB, checksum right, the server sees ${P}`,
    async run({ a }) {
      const got = await a.download(`http://${INTERNET.one}:8080/${64 * MIB}`);
      const rate = ((got.bytes * 8) / got.seconds / 1e9).toFixed(1);
      return {
        ok: got.intact && got.bytes === 64 * MIB && addressOf(got.peer) === P,
        seen: `${got.bytes / MIB} MiB at ${rate} Gb/s, checksum ${got.intact ? 'right' : 'WRONG'}, the server saw ${got.peer}`,
      };
    },
  },
  {
    title: 'ping out',
    expected: '3 of 3 echoes answered',
    async run({ a }) {
      const { stdout } = await a.ns.run(['ping', '-n', '-c', '3', '-i', '0.2', '-W', '2', INTERNET.one]);
      const answered = Number(/(\d+) received/.exec(stdout)?.[1] ?? 0);
      const average = /= [\d.]+\/([\d.]+)\//.exec(stdout)?.[1];
      return { ok: answered === 3, seen: `${answered} of 3 answered${average ? `, ${average} ms on average` : ''}` };
    },
  },
  {
    title: 'traceroute out',
    expected: `${LAN.gateway}, ${INTERNET.gateway}, ${INTERNET.one}`,
    async run({ a }) {
      const { stdout } = await a.ns.run(['traceroute', '-n', '-q', '1', '-w', '1', '-m', '6', INTERNET.one]);
      const hops = stdout
        .split('\n')
        .slice(1)
        .filter((line) => line.trim() !== '')
        .map((line) => line.trim().split(/\s+/)[1]!);
      return { ok: hops.join() === [LAN.gateway, INTERNET.gateway, INTERNET.one].join(), seen: hops.join(', ') };
    },
  },
  {
    title: 'TCP ports 10000-10999 of P',
    expected: `client-a answers on the same ports and sees ${INTERNET.one}`,
    async run({ one }) {
      const answers = [];
      for (const port of [10000, 10007, 10999]) answers.push(await one.askTcp({ to: P, port }));
      const ok = answers.every(
        (answer, i) =>
          answer.host === 'client-a' &&
          answer.peer === answer.from &&
          answer.local === `${LAN.a}:${[10000, 10007, 10999][i]}`,
      );
      return { ok, seen: answers.map((answer) => `${answer.local} saw ${addressOf(answer.peer)}`).join('; ') };
    },
  },
  {
    title: 'UDP and TCP ports 30000-30099 of P',
    expected: `client-b answers 22000 ports lower: 30042 → ${LAN.b}:8042`,
    async run({ two }) {
      const udp = await two.askUdp({ to: P, port: 30042 });
      const tcp = await two.askTcp({ to: P, port: 30099 });
      const ok =
        udp.host === 'client-b' &&
        udp.local.endsWith(':8042') &&
        udp.peer === udp.from &&
        tcp.local === `${LAN.b}:8099` &&
        tcp.peer === tcp.from;
      return {
        ok,
        seen: `udp ${udp.host}:${udp.local.split(':')[1]}, tcp ${tcp.local}; both saw ${addressOf(udp.peer)}`,
      };
    },
  },
  {
    title: 'forward for one source (2222)',
    expected: 'host-1 gets in, host-2 is not answered',
    async run({ one, two }) {
      const first = await one.tryAsk('tcp', { to: P, port: 2222 });
      const second = await two.tryAsk('tcp', { to: P, port: 2222, seconds: 1 });
      return { ok: first === 'client-a' && second === 'timeout', seen: `host-1: ${first}; host-2: ${second}` };
    },
  },
  {
    title: 'hairpin from the other client',
    expected: `client-b reaches client-a by ${P}, which sees ${P}`,
    async run({ b }) {
      const answer = await b.askTcp({ to: P, port: 10007 });
      return {
        ok: answer.host === 'client-a' && addressOf(answer.peer) === P,
        seen: `${answer.host} answered and saw ${answer.peer}`,
      };
    },
  },
  {
    title: 'hairpin to oneself',
    expected: `client-a reaches itself by ${P} and sees ${P}`,
    async run({ a }) {
      const answer = await a.askTcp({ to: P, port: 10000 });
      return {
        ok: answer.host === 'client-a' && addressOf(answer.peer) === P,
        seen: `${answer.host} answered and saw ${answer.peer}`,
      };
    },
  },
  {
    title: "the host's own service on P",
    expected: 'P:22 is answered by the router itself, for all',
    async run({ one, a, router }) {
      const outside = await one.tryAsk('tcp', { to: P, port: 22 });
      const inside = await a.tryAsk('tcp', { to: P, port: 22 });
      const own = await router.tryAsk('tcp', { to: P, port: 22 });
      return {
        ok: [outside, inside, own].every((who) => who === 'router'),
        seen: `for host-1: ${outside}; for client-a: ${inside}; for the host: ${own}`,
      };
    },
  },
  {
    title: 'tungate status',
    expected: 'exit 0, phase ready, flows counted',
    async run({ a, daemon }) {
      standing = await a.connect({ to: INTERNET.one, port: 7 });
      await standing.say('still here');
      const text = await daemon.cli('status');
      const status = await daemon.json<{ phase: string; flows: { live: number; limit: number } }>('status');
      return {
        ok: text.code === 0 && text.stdout.length > 0 && status.phase === 'ready' && status.flows.live > 0,
        seen: `exit ${text.code}, ${status.phase}, ${status.flows.live} of ${status.flows.limit} flows`,
      };
    },
  },
  {
    title: 'tungate flows',
    expected: 'the connection that is open now, with both its tuples',
    async run({ daemon }) {
      const { stdout, code } = await daemon.cli('flows', '-o', 'conntrack', '-s', LAN.a);
      const line = stdout.split('\n').find((each) => each.includes(` sport=${standing.local.split(':')[1]} `));
      const ok = line?.includes('ESTABLISHED') === true && line.includes(`src=${INTERNET.one} dst=${P}`);
      await standing.hangUp();
      return { ok: code === 0 && ok, seen: line ?? `exit ${code}, not listed` };
    },
  },
  {
    title: 'throughput, 5 s',
    expected: 'one TCP stream out (3 s) and in (2 s), above 0.1 Gb/s',
    async run({ a, one }) {
      const out = await iperf(one.ns, a.ns, INTERNET.one, { seconds: 3 });
      const back = await iperf(one.ns, a.ns, INTERNET.one, { seconds: 2, reverse: true });
      return {
        ok: out.gbps > 0.1 && back.gbps > 0.1,
        seen: `out ${out.gbps.toFixed(2)} Gb/s, in ${back.gbps.toFixed(2)} Gb/s`,
      };
    },
  },
  {
    title: 'scrape of /metrics',
    expected: 'tungate_ metrics, the forward "game" counted',
    async run({ router }) {
      const { status, text } = await router.fetch(METRICS);
      const names = new Set([...text.matchAll(/^# TYPE (tungate_\S+)/gm)].map((match) => match[1]));
      const forward = text.split('\n').find((line) => line.includes('game') && /[1-9]\d*$/.test(line));
      return {
        ok: status === 200 && names.size > 5 && forward !== undefined,
        seen: `HTTP ${status}, ${names.size} metrics, ${forward ?? 'the forward is not counted'}`,
      };
    },
  },
  {
    title: 'SIGTERM',
    expected: 'exit 0; rules, routes, tc and sysctl as they were',
    async run({ daemon, router }) {
      const code = await daemon.stop();
      const differences = diffState(before, await kernelState(router.ns));
      return {
        ok: code === 0 && differences.length === 0,
        seen: `exit ${code}, ${differences.length === 0 ? 'nothing differs' : differences.slice(0, 3).join('; ')}`,
      };
    },
  },
];
