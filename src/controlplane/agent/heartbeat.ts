/**
 * The agent's heartbeats within one session. Each says which nodes do not answer this one, so that a manager knows of that as long as
 * it knows of the witness itself. One goes out when the period is over, and at once when there is something to say or a manager asks.
 */
import type { Clock } from '../../runtime/clock.js';
import { Trigger } from '../../runtime/loop.js';
import type { SessionClient } from '../rpc/clients.js';
import type { Silence } from './silence.js';

/** However much there is to say, so long is between two. */
const gapMs = 100;

export interface HeartbeatOptions {
  readonly silence: Pick<Silence, 'nodes' | 'subscribe'>;
  readonly clock: Clock;
}

export class Heartbeat {
  readonly #due = new Trigger();
  #asked: number | undefined;

  constructor(private readonly options: HeartbeatOptions) {}

  /** A session message's count of questions for a sign of life; the first one only says where counting begins. */
  asked(count: number): void {
    const isNews = this.#asked !== undefined && count !== this.#asked;
    this.#asked = count;
    if (isNews) this.#due.fire();
  }

  /** Beats until the signal aborts; rejects when a beat fails. */
  async run(client: Pick<SessionClient, 'heartbeat'>, sessionId: string, signal: AbortSignal): Promise<void> {
    const { silence, clock } = this.options;
    using _subscription = silence.subscribe(this.#due.fire);
    while (!signal.aborted) {
      const { nodes } = silence;
      const { periodMs } = await client.heartbeat({
        sessionId,
        silent: nodes && { nodeIds: [...nodes] },
      });
      await clock.sleep(Math.min(gapMs, periodMs), signal).catch(() => undefined);
      await this.#due.wait(Math.max(0, periodMs - gapMs), clock, signal);
    }
  }
}
