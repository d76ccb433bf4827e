/**
 * One stream of container events for the whole agent. An event only wakes whoever watches that container, and they
 * look for themselves; so when the stream was interrupted, waking everybody makes up for whatever was missed.
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
    private readonly engine: Engine,
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

  /** Calls `wake` when a container is gone or has another name, and whenever events may have been missed. */
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
    const event = JSON.parse(line) as { Action?: string; Actor?: { ID?: string } };
    for (const wake of this.#watchers.get(event.Actor?.ID ?? '') ?? []) wake();
    if (event.Action === 'destroy' || event.Action === 'rename') for (const wake of this.#allWatchers) wake();
  }

  #wakeAll(): void {
    for (const watchers of [...this.#watchers.values(), this.#allWatchers])
      for (const wake of watchers) wake();
  }
}
