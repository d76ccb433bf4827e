/** Free entries and free space of maps: what is handed out belongs to nobody else, and what rests is not handed out. */
import assert from 'node:assert/strict';
import { test } from 'vitest';
import type { Extent } from '../../../../src/dataplane/ebpf/extent-pool.js';
import { ExtentPool } from '../../../../src/dataplane/ebpf/extent-pool.js';
import { IndexPool, restMs } from '../../../../src/dataplane/ebpf/index-pool.js';
import { MapFullError } from '../../../../src/dataplane/ebpf/map-full-error.js';
import { seededNumbers } from '../../../support/cluster-objects.js';

const map = { name: 'skep_slots', entriesMax: 1000 };

test.each([1, 2, 3, 4, 5])('extents never overlap, rest, and join again (seed %i)', (seed) => {
  const random = seededNumbers(seed);
  let nowMs = 0;
  const pool = new ExtentPool({ map, clock: { nowMs: () => nowMs } }, []);
  const held: Extent[] = [];
  /** From when on a place may be used again; Infinity while it is held. */
  const freeFromMs = new Float64Array(map.entriesMax);
  for (let step = 0; step < 3000; step++) {
    nowMs += random() * 400;
    if (held.length > 0 && random() < 0.5) {
      const [gone] = held.splice(Math.floor(random() * held.length), 1);
      assert(gone);
      pool.giveBack(gone);
      freeFromMs.fill(nowMs + restMs, gone.first, gone.first + gone.count);
      continue;
    }
    try {
      const taken = pool.take(1 + Math.floor(random() * 40));
      for (let place = taken.first; place < taken.first + taken.count; place++) {
        assert.ok((freeFromMs[place] ?? Infinity) <= nowMs, `place ${place} is held or rests`);
        freeFromMs[place] = Infinity;
      }
      held.push(taken);
    } catch (err) {
      assert.ok(err instanceof MapFullError, String(err));
    }
  }
  for (const extent of held) pool.giveBack(extent);
  nowMs += restMs;
  assert.deepEqual(pool.take(map.entriesMax), { first: 0, count: map.entriesMax });
});

test('extents that were taken and not written are had again at once', () => {
  const pool = new ExtentPool({ map, clock: { nowMs: () => 0 } }, [{ first: 10, count: 5 }]);
  const [a, b] = [pool.take(600), pool.take(300)];
  assert.throws(() => pool.take(300), MapFullError);
  pool.putBack([b, a]);
  assert.deepEqual(pool.take(985), { first: 15, count: 985 });
});

test('indices: those that others left free rest first; used ones before new ones', () => {
  let nowMs = 0;
  const options = { map: { name: 'skep_real_servers', entriesMax: 8 }, clock: { nowMs: () => nowMs } };
  const pool = new IndexPool(options, 1, 5, (index) => index === 2 || index === 4);
  assert.deepEqual([pool.take(), pool.take(), pool.take()], [5, 6, 7]);
  assert.throws(
    () => pool.take(),
    (err) => err instanceof MapFullError && err.retryable,
  );
  nowMs += restMs;
  assert.deepEqual([pool.take(), pool.take()], [1, 3]);
  assert.throws(
    () => pool.take(),
    (err) => err instanceof MapFullError && !err.retryable,
  );
  pool.giveBack(6);
  pool.putBack(7);
  assert.equal(pool.take(), 7);
});

test('an index that somebody else uses is given to nobody until it is given back', () => {
  let nowMs = 0;
  const options = { map: { name: 'skep_real_servers', entriesMax: 8 }, clock: { nowMs: () => nowMs } };
  const pool = new IndexPool(options, 1, 3, (index) => index === 2);
  pool.claim(1); // rests
  pool.claim(5); // never used, nor what is before it
  assert.deepEqual([pool.take(), pool.take()], [4, 3]);
  pool.claim(6);
  assert.equal(pool.take(), 7);
  pool.giveBack(5);
  nowMs += restMs;
  assert.equal(pool.take(), 5);
  assert.throws(() => pool.take(), MapFullError);
});
