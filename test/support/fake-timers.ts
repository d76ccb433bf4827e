/** Timers that a test moves, for loops that run until a signal. */
import { afterEach, beforeEach, vi } from 'vitest';

/** For each test of the file. @returns the signal of the test that runs: it aborts with the test's end */
export function fakeTimers(): { readonly signal: AbortSignal } {
  let stop = new AbortController();
  beforeEach(() => {
    vi.useFakeTimers();
    stop = new AbortController();
  });
  afterEach(() => {
    stop.abort(new Error('test over'));
    vi.useRealTimers();
  });
  return {
    get signal() {
      return stop.signal;
    },
  };
}
