/** Does what managers say of roots, for as long as it takes: what they said last, once, and again only where it failed. */
import type { Clock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';
import { runLoop, Trigger } from '../../runtime/loop.js';
import type { SessionMessage } from '../rpc/messages.js';

export type ToldRoots = Pick<SessionMessage, 'rootCaPem' | 'wantedIssuer'>;

const resyncMs = 60_000;
const retryMsMax = 5_000;

export class RootFollower {
  readonly #trigger = new Trigger();
  #told: ToldRoots | undefined;

  /** @param follow see NodeCertificate; may be called again with the same after it failed */
  constructor(private readonly follow: (told: ToldRoots) => Promise<void>) {}

  tell({ rootCaPem, wantedIssuer }: ToldRoots): void {
    this.#told = { rootCaPem, wantedIssuer };
    this.#trigger.fire();
  }

  /** Runs until the signal aborts. */
  run(clock: Clock, log: Log, signal: AbortSignal): Promise<void> {
    const options = { name: 'root CA', trigger: this.#trigger, clock, log, resyncMs, gapMs: 0, retryMsMax };
    return runLoop(
      options,
      async () => {
        const told = this.#told;
        if (!told) return;
        await this.follow(told);
        // What was said before is not done over what came since, with a renewed certificate.
        if (this.#told === told) this.#told = undefined;
      },
      signal,
    );
  }
}
