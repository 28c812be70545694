/**
 * The MAC address of a TAP, the same after every start: neighbours' tables, a bridge's own address, DHCP leases and static entries of the far sides hang on it.
 *
 * Made of /etc/machine-id, which is the key and cannot be read back out of it (as systemd asks of applications), the TAP's name, and the tunnel: its VNI and its own
 * outer address, which no other site of the same network has, so that machines cloned with their id differ. Where there is no machine-id, the host's
 * name is taken. Locally administered (IEEE 802, 8.2), of a single station.
 */
import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import type { VxlanLinkConfig } from './model.js';

const MACHINE_ID = '/etc/machine-id';

type Named = Pick<VxlanLinkConfig, 'mac' | 'tap' | 'vni'>;

/** Six bytes. `local`: own outer address. */
export function macOf(link: Named, local: string, machine: string = machineId()): Uint8Array {
  if (link.mac !== '') return Uint8Array.from(link.mac.split(':'), (pair) => Number.parseInt(pair, 16));
  const text = `tungate TAP\0${link.tap}\0${link.vni}\0${local}`;
  const mac = Uint8Array.from(createHmac('sha256', machine).update(text).digest().subarray(0, 6));
  mac[0] = (mac[0]! & 0xfc) | 2;
  return mac;
}

function machineId(): string {
  try {
    const id = readFileSync(MACHINE_ID, 'latin1').trim();
    if (/^[0-9a-f]{32}$/.test(id)) return id;
  } catch {
    // A container often has none.
  }
  return hostname();
}
