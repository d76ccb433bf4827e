/**
 * When the streams to nodes look at the store again: after a change that they have not seen, and no sooner than a while after they
 * last spoke. A change concerns all of them, a thousand in a large cluster: so one subscription and one timer serve them all, those
 * that have rested longest first, so many in a row before whatever else has come is heard.
 */
import assert from 'node:assert';
import type { Clock } from '../../runtime/clock.js';
import type { Store } from '../store/store.js';

export interface StreamPaceOptions {
  readonly store: Pick<Store, 'subscribe'>;
  readonly clock: Clock;
  /** How long a stream rests, at least. */
  readonly gapMs: number;
  readonly inARow: number;
}

/** One stream's place among the others, until it is disposed of. */
export interface StreamPlace extends Disposable {
  /** Resolves when the stream is to look at the store: the first time in its turn; at once when its signal has aborted. */
  rest(): Promise<void>;
}

interface Resting {
  /** Changes of the store that it has seen. */
  readonly seen: number;
  readonly notBeforeMs: number;
  readonly resume: () => void;
}

export class StreamPace implements Disposable {
  readonly #resting = new Set<Resting>();
  readonly #over = new AbortController();
  readonly #unsubscribe: () => void;
  #changes = 0;
  #isServing = false;
  #hasTimer = false;

  constructor(private readonly options: StreamPaceOptions) {
    this.#unsubscribe = options.store.subscribe(() => {
      this.#changes += 1;
      this.#serve();
    });
  }

  [Symbol.dispose](): void {
    this.#unsubscribe();
    this.#over.abort(new Error('over'));
  }

  /** @param signal aborts with the stream */
  enter(signal: AbortSignal): StreamPlace {
    let resting: Resting | undefined;
    let seen: number | undefined;
    let resolve: (() => void) | undefined;
    const resume = (): void => {
      if (resting) this.#resting.delete(resting);
      resting = undefined;
      seen = this.#changes;
      resolve?.();
    };
    signal.addEventListener('abort', resume, { once: true });
    return {
      rest: () => {
        assert(!resting, 'a stream rests once at a time');
        if (signal.aborted) return Promise.resolve();
        const { clock, gapMs } = this.options;
        resting = {
          seen: seen ?? -1,
          notBeforeMs: clock.steadyMs() + (seen === undefined ? 0 : gapMs),
          resume,
        };
        this.#resting.add(resting);
        if (seen !== this.#changes) this.#serve();
        return new Promise((done) => (resolve = done));
      },
      [Symbol.dispose]: () => signal.removeEventListener('abort', resume),
    };
  }

  /** In the next turn of the event loop, and in as many more as there are streams to be served. */
  #serve(): void {
    if (this.#isServing) return;
    this.#isServing = true;
    setImmediate(() => {
      this.#isServing = false;
      this.#serveSome();
    });
  }

  #serveSome(): void {
    const { clock, inARow } = this.options;
    const nowMs = clock.steadyMs();
    let served = 0;
    let nextMs = Infinity;
    for (const { seen, notBeforeMs, resume } of this.#resting) {
      if (seen === this.#changes) continue;
      if (notBeforeMs > nowMs) nextMs = Math.min(nextMs, notBeforeMs);
      else if (served === inARow) return this.#serve();
      else {
        served += 1;
        resume();
      }
    }
    if (nextMs === Infinity || this.#hasTimer) return;
    // Whoever rests later is due later: none is before the timer that there is.
    this.#hasTimer = true;
    void clock.sleep(nextMs - nowMs, this.#over.signal).then(
      () => {
        this.#hasTimer = false;
        this.#serve();
      },
      () => undefined,
    );
  }
}
