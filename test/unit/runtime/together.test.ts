/** So many at a time, in order, and whole or not at all. */
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { together } from '../../../src/runtime/together.js';

test.each([
  [1, 1],
  [3, 3],
  [20, 10],
])('up to %i at a time, of ten', async (limit, most) => {
  let underWay = 0;
  let seen = 0;
  const results = await together([...Array(10).keys()], limit, async (item) => {
    underWay += 1;
    seen = Math.max(seen, underWay);
    // The first take longest.
    await delay(10 - item);
    underWay -= 1;
    return item * item;
  });
  expect([results, seen]).toEqual([[0, 1, 4, 9, 16, 25, 36, 49, 64, 81], most]);
});

test('nothing is begun after a failure, and nothing is left under way', async () => {
  const begun: number[] = [];
  const ended: number[] = [];
  const all = together([0, 1, 2, 3, 4], 2, async (item) => {
    begun.push(item);
    await delay(item === 0 ? 1 : 20);
    if (item === 0) throw new Error('the first');
    ended.push(item);
  });
  await expect(all).rejects.toThrow('the first');
  expect([begun, ended]).toEqual([[0, 1], [1]]);
});

test('of nothing, nothing', async () => {
  expect(await together([], 4, async () => 1)).toEqual([]);
});
