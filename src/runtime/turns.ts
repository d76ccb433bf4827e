/**
 * So many at a time, in the order of asking, and none for longer than a while: whoever takes longer goes on without a turn, and holds
 * up nobody. For work that is one piece to its asker and would otherwise all be under way at once.
 */
import type { Clock } from './clock.js';
import { Waiters } from './waiters.js';

export class Turns {
  readonly #waiters = new Waiters();
  #taken = 0;

  /** @param max turns at a time. @param turnMsMax after which one is the next asker's */
  constructor(
    private readonly max: number,
    private readonly turnMsMax: number,
    private readonly clock: Clock,
  ) {}

  /** Waits for a turn, which lasts until it is disposed of. Throws the signal's reason. */
  async take(signal: AbortSignal): Promise<Disposable> {
    await this.#waiters.until(() => this.#claim(), signal);
    const ended = new AbortController();
    const end = (): void => {
      if (ended.signal.aborted) return;
      ended.abort();
      this.#taken -= 1;
      this.#waiters.check();
    };
    void this.clock.sleep(this.turnMsMax, ended.signal).then(end, () => undefined);
    return { [Symbol.dispose]: end };
  }

  #claim(): boolean {
    if (this.#taken >= this.max) return false;
    this.#taken += 1;
    return true;
  }
}
