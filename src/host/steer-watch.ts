/**
 * A bell that rings when somebody, ourselves included, has changed qdiscs or filters. While a LAN's filter is missing the
 * kernel routes that LAN by itself where ip_forward is on, untranslated: so the steering is looked at now and not at the
 * next round. What a notification says is not read: whoever hears the bell compares everything (verifySteering).
 */
import { native } from '../native.js';
import { NETLINK_ROUTE } from './netlink.js';

const RTNLGRP_TC = 4;
/** Filters come and go in bursts (one each interface): wait for the end of one, but not for long. */
const REST_MS = 20;

export interface SteeringWatch {
  close(): void;
}

/** Never rings within this call. */
export function watchSteering(ring: () => void): SteeringWatch {
  const bell = native.netlinkOpen(NETLINK_ROUTE, [RTNLGRP_TC]);
  const scrap = new Uint8Array(64 * 1024);
  let timer: NodeJS.Timeout | undefined;
  const heard = (): void => {
    // Lost or torn notifications (negative) are as good as any other. None is left when the kernel says 0.
    for (let most = 1000; most > 0 && native.netlinkReceive(bell, scrap, 0) !== 0; most--);
    timer ??= setTimeout(() => {
      timer = undefined;
      ring();
    }, REST_MS);
  };
  let unwatch: () => void;
  try {
    unwatch = native.watch(bell, heard);
  } catch (error) {
    native.closeFd(bell);
    throw error;
  }
  return {
    close() {
      clearTimeout(timer);
      unwatch();
      native.closeFd(bell);
    },
  };
}
