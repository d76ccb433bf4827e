/** When a process that has needed much for a moment gives it back. */
import { expect, test } from 'vitest';
import { Garbage } from '../../../src/runtime/garbage.js';
import { TestClock } from '../../support/test-clock.js';

function make(heapBytes = 100 * 2 ** 20) {
  const clock = new TestClock();
  const seen = { collected: 0 };
  const collect = (): void => void (seen.collected += 1);
  return { clock, seen, garbage: new Garbage({ clock, collect, heapBytes: () => heapBytes }) };
}

const { signal } = new AbortController();

test('is collected once for all who asked meanwhile, and again for who asks later', async () => {
  const { clock, seen, garbage } = make();
  void garbage.collect(10_000, signal);
  await clock.pass(9_000);
  void garbage.collect(10_000, signal);
  expect(seen.collected).toBe(0);
  await clock.pass(1_000);
  expect(seen.collected).toBe(1);
  await clock.pass(20_000);
  expect(seen.collected).toBe(1);
  void garbage.collect(10_000, signal);
  await clock.pass(10_000);
  expect(seen.collected).toBe(2);
});

test('is left to V8 where it would take long', async () => {
  const { clock, seen, garbage } = make(2 ** 30);
  void garbage.collect(10_000, signal);
  await clock.pass(10_000);
  expect(seen.collected).toBe(0);
});

test('who has gone meanwhile holds up nobody else', async () => {
  const { clock, seen, garbage } = make();
  const gone = new AbortController();
  const asked = garbage.collect(10_000, gone.signal);
  gone.abort(new Error('the session is over'));
  await asked;
  void garbage.collect(10_000, signal);
  await clock.pass(10_000);
  expect(seen.collected).toBe(1);
});
