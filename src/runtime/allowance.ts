/**
 * So much a second, in the mean. Whoever comes while something is left is let through whole, and the debt is waited for: what
 * is only worth doing completely is done completely or not at all.
 */
import type { Clock } from './clock.js';

export class Allowance {
  #left: number;
  #atMs: number;

  /** @param perSecond what comes back; as much is there to begin with, and never more */
  constructor(
    private readonly perSecond: number,
    private readonly clock: Pick<Clock, 'nowMs'>,
  ) {
    this.#left = perSecond;
    this.#atMs = clock.nowMs();
  }

  /** False when nothing is left; then nothing is taken. */
  take(amount: number): boolean {
    const nowMs = this.clock.nowMs();
    // A clock that was put back gives nothing, and takes nothing away.
    const back = (Math.max(0, nowMs - this.#atMs) * this.perSecond) / 1000;
    this.#left = Math.min(this.perSecond, this.#left + back);
    this.#atMs = nowMs;
    if (this.#left <= 0) return false;
    this.#left -= amount;
    return true;
  }
}
