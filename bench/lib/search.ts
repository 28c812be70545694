/**
 * The highest rate that loses next to nothing, in a bounded number of trials.
 *
 * First one trial without a limit: what arrives then is close to what the router can do, and what the generator sends is a
 * bound. Then halving between what held and what did not. A trial holds when at most `loss` of what was sent is missing; its
 * rate is what arrived a second, so that a generator that could not send as fast as it was told flatters nobody.
 */
export interface Trial {
  /** Packets a second that were sent, and that arrived. */
  readonly sent: number;
  readonly received: number;
}

export interface SearchOptions {
  /** Share of the packets that may be missing. */
  readonly loss: number;
  /** Trials after the first; RESCUE more, each at half the rate, while none has held. */
  readonly trials: number;
}

const RESCUE = 4;

export const lossOf = ({ sent, received }: Trial) => (sent === 0 ? 1 : Math.max(0, 1 - received / sent));

/** `attempt` is told a rate, 0 = as fast as it goes. Returns the packets a second that arrived in the best trial that held. */
export async function highestRate(
  attempt: (rate: number) => Promise<Trial>,
  { loss, trials }: SearchOptions,
): Promise<number> {
  const open = await attempt(0);
  if (lossOf(open) <= loss) return open.received;
  let best = 0;
  let low = 0;
  let high = open.sent;
  let next = Math.min(open.received, open.sent);
  for (let i = 0; i < trials + (low === 0 ? RESCUE : 0) && (low === 0 || high / low > 1.02); i++) {
    const trial = await attempt(next);
    if (lossOf(trial) <= loss) {
      best = Math.max(best, trial.received);
      low = next;
      // What held near what arrived without a limit seldom holds far above it.
      next = i === 0 ? Math.min(low * 1.15, (low + high) / 2) : (low + high) / 2;
    } else {
      high = next;
      next = low === 0 ? high * (i < trials - 1 ? 0.75 : 0.5) : (low + high) / 2;
    }
  }
  return best;
}
