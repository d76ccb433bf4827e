/**
 * Whoever is told of changes. Batches go out in revision order to all listeners, also when a listener writes to the
 * store while it is told; a listener that throws is logged and harms nobody else.
 */
import type { Log } from '../../runtime/log.js';
import type { ChangeBatch } from './store.js';

export class Subscribers {
  readonly #listeners = new Set<{ readonly call: (batch: ChangeBatch) => void }>();
  readonly #queue: ChangeBatch[] = [];
  #delivering = false;

  constructor(private readonly log: Log) {}

  add(listener: (batch: ChangeBatch) => void): () => void {
    const entry = { call: listener };
    this.#listeners.add(entry);
    return () => void this.#listeners.delete(entry);
  }

  deliver(batch: ChangeBatch): void {
    this.#queue.push(batch);
    if (this.#delivering) return;
    this.#delivering = true;
    for (let next = this.#queue.shift(); next; next = this.#queue.shift())
      for (const listener of [...this.#listeners]) this.#tell(listener, next);
    this.#delivering = false;
  }

  clear(): void {
    this.#listeners.clear();
  }

  #tell(listener: { readonly call: (batch: ChangeBatch) => void }, batch: ChangeBatch): void {
    // Unsubscribed by a listener before it in this round.
    if (!this.#listeners.has(listener)) return;
    try {
      listener.call(batch);
    } catch (err) {
      this.log.error({ err, revision: batch.revision }, 'a store listener failed');
    }
  }
}
