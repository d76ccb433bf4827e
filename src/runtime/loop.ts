/**
 * A reconcile loop: events only wake it, a pass always works from whole states. Three promises of the trigger: a
 * minimum gap between passes (bursts become one pass), a longest gap (resync), a retry gap after a failure.
 */
import { AssertionError } from 'node:assert';
import { backoffMs } from './backoff.js';
import type { Clock } from './clock.js';
import type { Log } from './log.js';

/** Made once: an abort without a reason makes one, stack and all. */
const woken = new Error('woken');

/** Wakes one loop. A fire during a pass is kept for the next one. */
export class Trigger {
  #fired = false;
  #wake: (() => void) | undefined;

  fire = (): void => {
    this.#fired = true;
    this.#wake?.();
  };

  /** Returns when fired, when `timeoutMs` have passed, or when the signal aborts. */
  async wait(timeoutMs: number, clock: Clock, signal: AbortSignal): Promise<void> {
    if (!this.#fired && !signal.aborted) {
      const waiting = new AbortController();
      const stop = (): void => waiting.abort(woken);
      this.#wake = stop;
      signal.addEventListener('abort', stop, { once: true });
      await clock.sleep(timeoutMs, waiting.signal).catch(() => undefined);
      signal.removeEventListener('abort', stop);
      this.#wake = undefined;
    }
    this.#fired = false;
  }
}

export interface LoopOptions {
  readonly name: string;
  readonly trigger: Trigger;
  readonly clock: Clock;
  readonly log: Log;
  /** Longest time without a pass. */
  readonly resyncMs: number;
  /** Shortest time between the starts of two passes. */
  readonly gapMs: number;
  readonly retryMsMax: number;
}

/**
 * Runs `pass` until the signal aborts. A pass may return the delay in ms after which it wants to run again even
 * if nothing wakes it. Failures are logged and retried with backoff; an AssertionError is a bug and is rethrown.
 */
export async function runLoop(
  options: LoopOptions,
  pass: (signal: AbortSignal) => Promise<number | void> | number | void,
  signal: AbortSignal,
): Promise<void> {
  const { name, trigger, clock, log, resyncMs, gapMs, retryMsMax } = options;
  let failures = 0;
  while (!signal.aborted) {
    let nextMs = resyncMs;
    try {
      const wanted = await pass(signal);
      if (typeof wanted === 'number') nextMs = Math.min(resyncMs, Math.max(0, wanted));
      failures = 0;
    } catch (err) {
      if (signal.aborted) return;
      if (err instanceof AssertionError) throw err;
      failures += 1;
      nextMs = backoffMs(failures, retryMsMax);
      log.warn({ loop: name, failures, err }, 'pass failed, will retry');
    }
    await clock.sleep(gapMs, signal).catch(() => undefined);
    await trigger.wait(Math.max(0, nextMs - gapMs), clock, signal);
  }
}
