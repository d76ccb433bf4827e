import assert from 'node:assert/strict';
import { test } from 'vitest';
import { SortedMap } from '../../../src/controlplane/store/sorted-map.js';

/** A small generator, so that a failure can be run again. */
function* numbers(seed: number): Generator<number> {
  for (let value = seed; ;) yield (value = (value * 1103515245 + 12345) % 2 ** 31);
}

test('SortedMap agrees with a Map over random changes, and old snapshots stay', () => {
  const random = numbers(7);
  const draw = (below: number): number => Number(random.next().value) % below;
  const model = new Map<string, number>();
  let map = SortedMap.empty<number>();
  const kept: Array<[SortedMap<number>, number[]]> = [];
  const sorted = (): number[] => [...model].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, value]) => value);
  for (let step = 0; step < 6_000; step++) {
    const key = `k${draw(900)}`;
    if (draw(3) === 0) {
      map = map.delete(key);
      model.delete(key);
    } else {
      map = map.set(key, step);
      model.set(key, step);
    }
    assert.equal(map.get(key), model.get(key));
    assert.equal(map.size, model.size);
    if (step % 500 === 0) {
      assert.deepEqual(map.values(), sorted());
      kept.push([map, sorted()]);
    }
  }
  for (const [snapshot, values] of kept) assert.deepEqual(snapshot.values(), values);
  for (const key of model.keys()) map = map.delete(key);
  assert.equal(map.size, 0);
  assert.deepEqual(map.values(), []);
});

test('a change to 100,000 entries copies a small part', () => {
  let map = SortedMap.empty<number>();
  for (let i = 0; i < 100_000; i++) map = map.set(String(i * 7919).padStart(12, '0'), i);
  const started = process.hrtime.bigint();
  for (let i = 0; i < 1_000; i++) map = map.set(String(i * 7919 * 50).padStart(12, '0'), -i);
  const perChangeMicros = Number(process.hrtime.bigint() - started) / 1e3 / 1_000;
  assert.equal(map.size, 100_000);
  // A copy of the whole takes milliseconds; this takes some tens of microseconds at worst.
  assert(perChangeMicros < 1_000, `${perChangeMicros} us a change`);
});
