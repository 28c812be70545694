/** iperf3 between two namespaces: TCP, one stream or several, judged by what the receiving end counted. */
import type { Namespace } from './namespace.js';

export interface Throughput {
  readonly bytes: number;
  readonly seconds: number;
  /** 10^9 bits a second. */
  readonly gbps: number;
}

/**
 * `reverse`: the server sends (`in`, seen from a client behind the router). Each measurement has a server of its own (-1):
 * one that still winds up its last test would answer "busy".
 */
export async function iperf(
  server: Namespace,
  client: Namespace,
  to: string,
  options: { seconds: number; reverse?: boolean; streams?: number },
): Promise<Throughput> {
  const listener = server.spawn(['iperf3', '-s', '-1', '--forceflush']);
  await listener.waitFor(/listening/);
  const direction = options.reverse ? ['-R'] : [];
  const streams = ['-P', String(options.streams ?? 1)];
  const text = await client.must(['iperf3', '-J', '-c', to, '-t', String(options.seconds), ...streams, ...direction], {
    seconds: options.seconds + 20,
  });
  await listener.stop();
  const result = JSON.parse(text) as { error?: string; end?: { sum_received?: { bytes: number; seconds: number } } };
  const received = result.end?.sum_received;
  if (!received) throw new Error(`iperf3 from ${client.role} to ${to}: ${result.error ?? 'no result'}`);
  return { ...received, gbps: (received.bytes * 8) / received.seconds / 1e9 };
}
