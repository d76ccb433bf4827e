/** Sequences of schedulers: shares by weight, spread, and how few clients move when real servers come and go. */
import assert from 'node:assert/strict';
import { test } from 'vitest';
import { maglevSizes } from '../../../../src/dataplane/ebpf/maglev.js';
import type { SlotCandidate } from '../../../../src/dataplane/ebpf/slots.js';
import { planSlots, weightedSlotsMax } from '../../../../src/dataplane/ebpf/slots.js';
import type { Scheduler } from '../../../../src/model/balancing.js';
import type { Mac } from '../../../../src/model/addresses.js';

/** The task of that number, as its virtual server's real server. */
const task = (number: number, weight = 1, index = number): SlotCandidate => ({
  index,
  weight,
  mac: `02:42:0a:00:${(number >> 8).toString(16).padStart(2, '0')}:${(number & 255).toString(16).padStart(2, '0')}` as Mac,
  port: 80,
});
const tasks = (count: number): SlotCandidate[] => Array.from({ length: count }, (_, i) => task(i + 1));

const sharesOf = (slots: Uint32Array): Map<number, number> => {
  const shares = new Map<number, number>();
  for (const index of slots) shares.set(index, (shares.get(index) ?? 0) + 1);
  return shares;
};

const sequences: [name: string, scheduler: Scheduler, candidates: SlotCandidate[], slots: number[]][] = [
  ['rr: each once, by task', 'rr', [task(3), task(1), task(2)], [1, 2, 3]],
  ['rr: weights but 0 make no difference', 'rr', [task(1, 5), task(2, 0), task(3)], [1, 3]],
  ['lc: each once', 'lc', [task(2, 9), task(1)], [1, 2]],
  ['wrr: spread, not in blocks', 'wrr', [task(1, 5), task(2), task(3)], [1, 1, 2, 1, 3, 1, 1]],
  ['wrr: reduced by what is common', 'wrr', [task(1, 300), task(2, 100)], [1, 1, 2, 1]],
  ['wrr: equal weights are rr', 'wrr', [task(1, 1000), task(2, 1000), task(3, 1000)], [1, 2, 3]],
  ['wrr: draining ones are in no slot', 'wrr', [task(1, 0), task(2, 4)], [2]],
  ['nobody serves', 'rr', [task(1, 0)], []],
  ['nobody serves, wrr', 'wrr', [], []],
  ['nobody serves, mh', 'mh', [task(1, 0)], []],
];
for (const [name, scheduler, candidates, slots] of sequences)
  test(name, () => assert.deepEqual([...planSlots(scheduler, candidates)], slots));

test('wrr: weights without a common divisor stay within the longest sequence, each at its share', () => {
  const candidates = [
    task(1, 1000),
    task(2, 999),
    task(3, 1),
    ...tasks(60)
      .slice(3)
      .map((t) => ({ ...t, weight: 97 })),
  ];
  const slots = planSlots('wrr', candidates);
  assert.ok(slots.length <= weightedSlotsMax + candidates.length, `${slots.length} slots`);
  const shares = sharesOf(slots);
  const sum = candidates.reduce((total, { weight }) => total + weight, 0);
  for (const { index, weight } of candidates) {
    const share = (shares.get(index) ?? 0) / slots.length;
    assert.ok(Math.abs(share - weight / sum) < 0.002, `${index}: ${share} of ${weight / sum}`);
  }
});

test('mh: the size grows with the number of real servers, and is prime', () => {
  for (const { size, realServersMax } of maglevSizes) {
    assert.equal(planSlots('mh', tasks(Math.min(realServersMax, 400))).length, size);
    for (let divisor = 2; divisor * divisor <= size; divisor++) assert.notEqual(size % divisor, 0);
  }
});

test('mh: every real server gets its share within a few percent', () => {
  for (const count of [1, 2, 3, 7, 8, 28, 29, 100, 300]) {
    const slots = planSlots('mh', tasks(count));
    const shares = sharesOf(slots);
    assert.equal(shares.size, count);
    for (const share of shares.values())
      assert.ok(Math.abs(share - slots.length / count) <= 1, `${share} of ${count}`);
  }
});

test('mh: shares follow weights', () => {
  const candidates = [task(1, 1), task(2, 2), task(3, 5), task(4, 0), task(5, 10), ...tasks(20).slice(5)];
  const slots = planSlots('mh', candidates);
  const sum = candidates.reduce((total, { weight }) => total + weight, 0);
  const shares = sharesOf(slots);
  for (const { index, weight } of candidates) {
    const share = (shares.get(index) ?? 0) / slots.length;
    assert.ok(Math.abs(share - weight / sum) < 0.005, `task ${index}: ${share} of ${weight / sum}`);
  }
});

test('mh: the table hangs on the tasks alone, not on their order, number or address here', () => {
  const mine = planSlots('mh', tasks(9));
  const others = planSlots(
    'mh',
    tasks(9)
      .reverse()
      .map((t) => ({ ...t, index: t.index + 1000 })),
  );
  assert.deepEqual(
    [...others].map((index) => index - 1000),
    [...mine],
  );
});

test('mh: when one real server comes, (n-1)/n of the clients keep theirs, and so when one goes', () => {
  for (const count of [2, 3, 6, 9, 15, 27, 50, 111, 200]) {
    const before = planSlots('mh', tasks(count));
    const after = planSlots('mh', tasks(count + 1));
    if (before.length !== after.length) continue;
    const kept = before.filter((index, place) => after[place] === index).length / before.length;
    const ideal = count / (count + 1);
    assert.ok(kept >= ideal - 0.05, `${count} -> ${count + 1}: ${kept} kept, ideal ${ideal}`);
    // Read backwards this is removal: those of the others who moved although their real server stayed.
    const moved = after.filter((index, place) => index !== count + 1 && before[place] !== index).length;
    assert.ok(
      moved / after.length < 0.05,
      `${moved} of ${after.length} moved between real servers that stayed`,
    );
  }
});

test('mh: one that drains leaves its places to the others, who keep theirs', () => {
  const before = planSlots('mh', tasks(20));
  const after = planSlots(
    'mh',
    tasks(20).map((t) => (t.index === 7 ? { ...t, weight: 0 } : t)),
  );
  assert.ok(!after.includes(7));
  const moved = before.filter((index, place) => index !== 7 && after[place] !== index).length;
  assert.ok(moved / before.length < 0.05, `${moved} of ${before.length} moved`);
});
