/** When streams look at the store, and in which order. */
import { expect, test } from 'vitest';
import { StreamPace } from '../../../src/controlplane/dispatcher/stream-pace.js';
import { TestClock, settled } from '../../support/test-clock.js';

class Fixture {
  readonly clock = new TestClock();
  readonly looks: string[] = [];
  readonly #listeners = new Set<() => void>();
  readonly pace = new StreamPace({
    store: {
      subscribe: (listener) => {
        const heard = (): void => listener({ changes: [], revision: 0 });
        this.#listeners.add(heard);
        return () => this.#listeners.delete(heard);
      },
    },
    ...{ clock: this.clock, gapMs: 100, inARow: 3 },
  });

  change(): Promise<void> {
    for (const heard of this.#listeners) heard();
    return settled();
  }

  /** A stream that writes down when it looks, and rests at once. */
  async start(name: string): Promise<AbortController> {
    const gone = new AbortController();
    void (async () => {
      using place = this.pace.enter(gone.signal);
      for (;;) {
        await place.rest();
        if (gone.signal.aborted) break;
        this.looks.push(name);
      }
      this.looks.push(`${name} ends`);
    })();
    await settled();
    return gone;
  }

  taken(): string[] {
    return this.looks.splice(0);
  }
}

test('the first change after a quiet time is looked at at once, what follows soon goes together', async () => {
  const streams = new Fixture();
  await streams.start('a');
  expect(streams.taken(), 'what there is').toEqual(['a']);
  await streams.clock.pass(99);
  await streams.change();
  expect(streams.taken()).toEqual([]);
  await streams.change();
  await streams.clock.pass(1);
  expect(streams.taken()).toEqual(['a']);
  await streams.clock.pass(10_000);
  expect(streams.taken(), 'nothing has changed').toEqual([]);
  await streams.change();
  expect(streams.taken()).toEqual(['a']);
  expect(streams.clock.sleepers).toBe(0);
});

test('each has its own time, and one timer serves all', async () => {
  const streams = new Fixture();
  await streams.start('a');
  await streams.clock.pass(60);
  await streams.start('b');
  streams.taken();
  await streams.change();
  expect([streams.taken(), streams.clock.sleepers]).toEqual([[], 1]);
  await streams.clock.pass(40);
  expect(streams.taken()).toEqual(['a']);
  await streams.change();
  await streams.clock.pass(60);
  expect(streams.taken()).toEqual(['b']);
  await streams.clock.pass(40);
  expect(streams.taken()).toEqual(['a']);
});

test('many are served in the order in which they came to rest, some in a row before anything else is heard', async () => {
  const streams = new Fixture();
  for (const name of 'abcdefgh') await streams.start(name);
  expect(streams.taken().join('')).toBe('abcdefgh');
  await streams.clock.pass(100);
  const changed = streams.change();
  const heard: string[] = [];
  for (let i = 0; i < 4; i++) {
    await new Promise(setImmediate);
    heard.push(streams.taken().join(''));
  }
  await changed;
  expect(heard.filter((some) => some !== '')).toEqual(['abc', 'def', 'gh']);
});

test('one that is over resumes at once and is served no more', async () => {
  const streams = new Fixture();
  const [a] = [await streams.start('a'), await streams.start('b')];
  streams.taken();
  a.abort(new Error('gone'));
  await settled();
  expect(streams.taken()).toEqual(['a ends']);
  await streams.clock.pass(100);
  await streams.change();
  expect(streams.taken()).toEqual(['b']);
});
