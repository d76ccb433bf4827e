/** KeyedList against a Map, over walks drawn from a seed. */
import { isDeepStrictEqual } from 'node:util';
import { expect, test } from 'vitest';
import { difference, KeyedList } from '../../../src/runtime/keyed-list.js';
import { random } from '../dataplane/plan/changing-network.js';

interface Item {
  readonly id: string;
  readonly value: number;
}
const keyOf = ({ id }: Item): string => id;
const seed = Number(process.env['SKEP_SEED'] ?? 20_261);
const itemsOf = (model: ReadonlyMap<string, Item>): Item[] =>
  [...model.values()].sort((a, b) => (a.id < b.id ? -1 : 1));

test(`is what its changes make of it, whatever they are, and leaves what was (seed ${seed})`, () => {
  const next = random(seed);
  const below = (limit: number): number => Math.floor(next() * limit);
  const model = new Map<string, Item>();
  let list = KeyedList.of<Item>([], keyOf);
  for (let step = 0; step < 1_500; step++) {
    const before = { list, items: [...list] };
    const keys = Array.from({ length: 1 + below(4) }, () => `k${below(600)}`);
    const removed = keys.filter(() => next() < 0.4);
    const put = [...new Set(keys)].filter((key) => !removed.includes(key)).map((id) => ({ id, value: step }));
    list = list.with(put, removed);
    for (const item of put) model.set(item.id, item);
    for (const key of removed) model.delete(key);

    const expected = itemsOf(model);
    expect([...list]).toEqual(expected);
    expect(list.length).toBe(expected.length);
    for (const id of keys) expect(list.get(id)).toBe(model.get(id));
    // However it came about, it is cut alike.
    expect(list).toEqual(KeyedList.of(expected, keyOf));
    expect([...before.list]).toEqual(before.items);
    const { gone, come } = difference(before.list, list);
    expect(new Set(gone)).toEqual(new Set(before.items.filter((item) => !expected.includes(item))));
    expect(new Set(come)).toEqual(new Set(expected.filter((item) => !before.items.includes(item))));
    if (gone.length + come.length > 0) expect(isDeepStrictEqual(before.list, list)).toBe(false);
  }
  expect(list.chunks.length).toBeGreaterThan(2);
  for (const key of model.keys()) list = list.with([], [key]);
  expect(list.chunks).toEqual([]);
});

test('is read as an array is', () => {
  const items = Array.from({ length: 500 }, (_, index) => ({
    id: String(index).padStart(3, '0'),
    value: index,
  }));
  const list = KeyedList.of([...items].reverse(), keyOf);
  expect([...list]).toEqual(items);
  expect(list.map(({ value }) => value)).toEqual(items.map(({ value }) => value));
  expect(list.flatMap(({ value }) => [value, value])).toHaveLength(1_000);
  expect(list.filter(({ value }) => value % 2 === 0)).toEqual(items.filter(({ value }) => value % 2 === 0));
  expect([list.find(({ value }) => value === 321), list.find(() => false)]).toEqual([items[321], undefined]);
  expect([list.some(({ value }) => value === 321), list.some(() => false)]).toEqual([true, false]);
  expect(JSON.stringify(list)).toBe(JSON.stringify(items));
  expect(KeyedList.of(list, keyOf)).toBe(list);
  expect(list.with([], [])).toBe(list);
});

test('among fifty thousand a change makes anew some hundredths of what there is', () => {
  const items = Array.from({ length: 50_000 }, (_, index) => ({ id: `task${index * 7919}`, value: index }));
  const list = KeyedList.of(items, keyOf);
  const [one] = items;
  const changed = list.with([{ id: one?.id ?? '', value: -1 }], []);
  const made = changed.chunks.filter((chunk, index) => chunk !== list.chunks[index]);
  expect(made).toHaveLength(1);
  expect(changed.chunks.length + (made[0]?.length ?? 0)).toBeLessThan(50_000 / 25);
  expect(Math.max(...list.chunks.map(({ length }) => length))).toBeLessThan(1_000);
});
