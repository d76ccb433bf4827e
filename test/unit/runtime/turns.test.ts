import { expect, test } from 'vitest';
import { Turns } from '../../../src/runtime/turns.js';
import { TestClock, settled } from '../../support/test-clock.js';

function turnsOf(max: number): {
  readonly clock: TestClock;
  readonly ask: (name: string, signal?: AbortSignal) => void;
  readonly had: Map<string, Disposable>;
  readonly refused: string[];
} {
  const clock = new TestClock();
  const turns = new Turns(max, 1_000, clock);
  const had = new Map<string, Disposable>();
  const refused: string[] = [];
  const ask = (name: string, signal = new AbortController().signal): void =>
    void turns.take(signal).then(
      (turn) => had.set(name, turn),
      (err: unknown) => refused.push(`${name}: ${(err as Error).message}`),
    );
  return { clock, ask, had, refused };
}

test('so many at a time, in the order of asking', async () => {
  const { ask, had, clock } = turnsOf(2);
  for (const name of ['a', 'b', 'c', 'd']) ask(name);
  await settled();
  expect([...had.keys()]).toEqual(['a', 'b']);
  had.get('b')?.[Symbol.dispose]();
  // Ended twice is ended once.
  had.get('b')?.[Symbol.dispose]();
  await settled();
  expect([...had.keys()]).toEqual(['a', 'b', 'c']);
  for (const turn of had.values()) turn[Symbol.dispose]();
  await settled();
  had.get('d')?.[Symbol.dispose]();
  await settled();
  expect([[...had.keys()], clock.sleepers]).toEqual([['a', 'b', 'c', 'd'], 0]);
});

test('one that takes too long is the next one’s, and its end gives nothing back', async () => {
  const { ask, had, clock } = turnsOf(1);
  for (const name of ['a', 'b', 'c']) ask(name);
  await settled();
  await clock.pass(999);
  expect([...had.keys()]).toEqual(['a']);
  await clock.pass(1);
  expect([...had.keys()]).toEqual(['a', 'b']);
  had.get('a')?.[Symbol.dispose]();
  await settled();
  expect([...had.keys()]).toEqual(['a', 'b']);
});

test('who asks no more has no turn', async () => {
  const { ask, had, refused } = turnsOf(1);
  const leaving = new AbortController();
  ask('a');
  ask('b', leaving.signal);
  ask('c');
  await settled();
  leaving.abort(new Error('left'));
  had.get('a')?.[Symbol.dispose]();
  await settled();
  expect([[...had.keys()], refused]).toEqual([['a', 'c'], ['b: left']]);
});
