/**
 * Which nodes do not answer this one, as its dataplane has found out: what the agent tells managers with each heartbeat. Known only
 * while the dataplane answers: a node whose dataplane is away judges nobody.
 */
import type { Clock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';

/** Between two questions, after one has failed. */
const retryMs = 500;

/** skep-dataplane, as far as it hears of other nodes. */
export interface PeerListener {
  /** Resolves with the nodes that do not answer this one once they are others than `known`; null: at once. */
  waitSilent(known: ReadonlySet<string> | null, signal: AbortSignal): Promise<readonly string[]>;
}

export interface SilenceOptions {
  readonly dataplane: PeerListener;
  readonly clock: Clock;
  readonly log: Log;
}

export class Silence {
  #nodes: ReadonlySet<string> | null = null;
  readonly #listeners = new Set<() => void>();

  constructor(private readonly options: SilenceOptions) {}

  /** Ids of the nodes that do not answer; null: that is not known now. */
  get nodes(): ReadonlySet<string> | null {
    return this.#nodes;
  }

  /** Calls `listener` after each change of {@link nodes}, until disposed of. */
  subscribe(listener: () => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** Follows the dataplane until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { dataplane, clock, log } = this.options;
    while (!signal.aborted) {
      try {
        this.#take(new Set(await dataplane.waitSilent(this.#nodes, signal)));
      } catch (err) {
        if (signal.aborted) return;
        if (this.#nodes !== null) log.debug({ err }, 'the dataplane does not say which nodes are silent');
        this.#take(null);
        await clock.sleep(retryMs, signal).catch(() => undefined);
      }
    }
  }

  #take(nodes: ReadonlySet<string> | null): void {
    if (nodes === null && this.#nodes === null) return;
    this.#nodes = nodes;
    for (const listener of [...this.#listeners]) listener();
  }
}
