/** What the peers with a TAP in the client's namespace share. */
import type { Namespace, Process } from '../../src/lab/index.js';

/** Waits for the TAP to have gone with its process; then the default route is the wire's again. */
export async function returnToWire(client: Namespace, tap: string): Promise<void> {
  await client.must([
    'sh',
    '-c',
    `for i in $(seq 50); do ip link show ${tap} 2>/dev/null || exit 0; sleep 0.1; done; exit 1`,
  ]);
  client.ip('route replace default via 172.22.161.1');
}

/** Waits until the peer has set its TAP up, with the default route that goes with it. */
export async function tapReady(client: Namespace, tap: string, peer: Process): Promise<void> {
  const look = `for i in $(seq 50); do ip route show default | grep -q ${tap} && exit 0; sleep 0.1; done; exit 1`;
  const { code } = await client.run(['sh', '-c', look]);
  if (code !== 0) throw new Error(`${peer.title} did not set ${tap} up within 5 s: ${peer.tail()}`);
}
