/** What long commands show while they run: a line that is written anew on a terminal, a line for each step elsewhere. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { showProgress } from '../../../src/cli/progress.js';

let nowMs = 0;
let lines: string[];
let written: string[];
const plain = { out: () => expect.unreachable(), err: (line: string) => void lines.push(line), env: {} };
const onScreen = { ...plain, screen: { columns: 30, write: (text: string) => void written.push(text) } };
const clock = { nowMs: () => nowMs };
/** Lets this time pass. */
const pass = (ms: number): void => {
  const stepMs = 10;
  for (let passedMs = 0; passedMs < ms; passedMs += stepMs) {
    nowMs += stepMs;
    vi.advanceTimersByTime(stepMs);
  }
};

beforeEach(() => {
  vi.useFakeTimers();
  nowMs = 5_000;
  lines = [];
  written = [];
});
afterEach(() => vi.useRealTimers());

test('elsewhere than on a terminal each step is one line', () => {
  {
    using progress = showProgress(plain, clock);
    progress.step('first');
    pass(2_340);
    progress.step('second');
    pass(10_000);
  }
  expect(lines).toEqual(['[   0.0 s] first', '[   2.3 s] second']);
});

test('on a terminal one line is written anew, cut to its width, and goes at the end', () => {
  {
    using progress = showProgress(onScreen, clock);
    progress.step('a step that is too long for it');
    pass(1_000);
  }
  expect(written[0]).toBe('\r[   0.0 s] a step that is too\x1b[K');
  expect(written.at(-2)).toBe('\r[   1.0 s] a step that is too\x1b[K');
  expect(written.at(-1)).toBe('\r\x1b[K');
  expect(lines).toEqual([]);
});

test('nothing is written after the end', () => {
  {
    using progress = showProgress(onScreen, clock);
    progress.step('first');
  }
  const { length } = written;
  pass(10_000);
  expect(written).toHaveLength(length);
});

test.each([
  ['a terminal', onScreen],
  ['a file', plain],
])('quiet, %s has nothing', (_name, terminal) => {
  {
    using progress = showProgress(terminal, { ...clock, quiet: true });
    progress.step('first');
    pass(10_000);
  }
  expect([lines, written]).toEqual([[], []]);
});

test('with patience, what is done soon says nothing, what takes long says it once', () => {
  {
    using progress = showProgress(plain, { ...clock, patienceMs: 1_000 });
    progress.step('short');
    pass(900);
  }
  expect(lines).toEqual([]);
  {
    using progress = showProgress(plain, { ...clock, patienceMs: 1_000 });
    progress.step('long');
    pass(5_000);
  }
  expect(lines).toEqual(['[   1.0 s] long']);
  {
    using progress = showProgress(onScreen, { ...clock, patienceMs: 1_000 });
    progress.step('short');
    pass(900);
  }
  expect(written).toEqual([]);
});
