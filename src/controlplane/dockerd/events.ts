/**
 * One stream of events of containers and their networks for the whole agent. An event only wakes whoever watches that
 * container, and they look for themselves; so when the stream was interrupted, waking everybody makes up for whatever was missed.
 */
import { createInterface } from 'node:readline';
import { backoffMs } from '../../runtime/backoff.js';
import type { Clock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';
import type { Engine } from './client.js';

const retryMsMax = 2_000;

export class ContainerEvents {
  readonly #watchers = new Map<string, Set<() => void>>();
  readonly #allWatchers = new Set<() => void>();

  constructor(
    private readonly engine: Pick<Engine, 'containerEvents'>,
    private readonly options: { readonly clock: Clock; readonly log: Log },
  ) {}

  /** Calls `wake` after each event of the container, and whenever events may have been missed. */
  watch(containerId: string, wake: () => void): Disposable {
    const watchers = this.#watchers.get(containerId) ?? new Set();
    watchers.add(wake);
    this.#watchers.set(containerId, watchers);
    return {
      [Symbol.dispose]: () => {
        watchers.delete(wake);
        if (watchers.size === 0 && this.#watchers.get(containerId) === watchers)
          this.#watchers.delete(containerId);
      },
    };
  }

  /**
   * Calls `wake` when a container is gone, has another name, or has left a network without anybody watching it, and whenever
   * events may have been missed.
   */
  watchAll(wake: () => void): Disposable {
    this.#allWatchers.add(wake);
    return { [Symbol.dispose]: () => void this.#allWatchers.delete(wake) };
  }

  /** Keeps the stream open until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.options;
    for (let failures = 0; !signal.aborted;) {
      try {
        const stream = await this.engine.containerEvents(signal);
        failures = 0;
        this.#wakeAll();
        for await (const line of createInterface({ input: stream })) this.#take(line);
      } catch (err) {
        failures += 1;
        if (!signal.aborted) log.warn({ err, failures }, 'lost the engine, will reconnect');
      }
      await clock.sleep(backoffMs(Math.max(1, failures), retryMsMax), signal).catch(() => undefined);
    }
  }

  #take(line: string): void {
    const { Type: type, Action: action, Actor: actor } = JSON.parse(line) as EngineEvent;
    const ofNetwork = type === 'network';
    const watchers = this.#watchers.get((ofNetwork ? actor?.Attributes?.['container'] : actor?.ID) ?? '');
    for (const wake of watchers ?? []) wake();
    // Whoever watches a container looks after its networks himself.
    if (ofNetwork ? watchers === undefined : action === 'destroy' || action === 'rename')
      for (const wake of this.#allWatchers) wake();
  }

  #wakeAll(): void {
    for (const watchers of [...this.#watchers.values(), this.#allWatchers])
      for (const wake of watchers) wake();
  }
}

/** As far as it is looked at. A network's names the container among its attributes. */
interface EngineEvent {
  readonly Type?: string;
  readonly Action?: string;
  readonly Actor?: { readonly ID?: string; readonly Attributes?: Readonly<Record<string, string>> };
}
