/**
 * Looks now and then whether running containers of tasks still have their legs. The engine tells of each that is disconnected, and
 * drops events where they come too fast: this bounds one that was lost. One listing for all containers, never one each.
 */
import type { NodeId } from '../../model/ids.js';
import { taskLabels } from '../../model/task-labels.js';
import type { Clock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';
import type { Engine } from '../dockerd/client.js';

/** With the repair itself well below the five seconds in which drift is to be repaired. */
const lookMs = 3_000;

interface Watch {
  readonly containerId: string;
  readonly networks: () => readonly string[];
  readonly wake: () => void;
}

export interface LegWatchOptions {
  readonly nodeId: NodeId;
  readonly engine: Pick<Engine, 'connectedContainers'>;
  readonly clock: Clock;
  readonly log: Log;
}

export class LegWatch {
  readonly #watches = new Set<Watch>();

  constructor(private readonly options: LegWatchOptions) {}

  /**
   * Calls `wake` when the container runs and lacks one of its networks.
   * @param networks the engine's names of those that it is to have; asked for at each look
   */
  watch(containerId: string, networks: () => readonly string[], wake: () => void): Disposable {
    const watch = { containerId, networks, wake };
    this.#watches.add(watch);
    return { [Symbol.dispose]: () => void this.#watches.delete(watch) };
  }

  /** Looks until the signal aborts. An engine that does not answer is asked again. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.options;
    while (!signal.aborted) {
      await clock.sleep(lookMs, signal).catch(() => undefined);
      if (signal.aborted) continue;
      await this.#look().catch((err: unknown) => log.debug({ err }, 'cannot look for legs'));
    }
  }

  async #look(): Promise<void> {
    const { engine, nodeId } = this.options;
    // A listing takes a busy engine's time, and tasks without networks have nothing to lose.
    if (![...this.#watches].some(({ networks }) => networks().length > 0)) return;
    const running = await engine.connectedContainers({ [taskLabels.nodeId]: nodeId });
    const has = new Map(running.map(({ id, networks }) => [id, new Set(networks.map(({ name }) => name))]));
    for (const { containerId, networks, wake } of [...this.#watches]) {
      const connected = has.get(containerId);
      if (connected && networks().some((name) => !connected.has(name))) wake();
    }
  }
}
