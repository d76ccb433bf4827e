import { describe, expect, test } from 'vitest';
import { HostSet } from '../../../src/controlplane/allocator/host-set.js';
import { seededNumbers } from '../../support/cluster-objects.js';

describe('HostSet', () => {
  test.each([
    ['', []],
    ['5', [5]],
    ['2-3,9', [9, 3, 2]],
    ['31-32,4095-4096', [4096, 4095, 32, 31]],
    // Beyond what the operators for bits take.
    ['4294967295-4294967297', [2 ** 32 + 1, 2 ** 32, 2 ** 32 - 1]],
  ])('writes %j and reads it', (text, hosts) => {
    expect(HostSet.of(hosts).format()).toBe(text);
    expect(HostSet.parse(text).minus(HostSet.of())).toEqual([...hosts].reverse());
    expect(HostSet.parse(text).size).toBe(hosts.length);
  });

  test.each(['3-2', 'x', '1,', '1.5'])('%j is no text of hosts', (text) => {
    expect(() => HostSet.parse(text)).toThrow('is no range of hosts');
  });

  test('100,000 in a row are one range', () => {
    const all = HostSet.parse('3-100002');
    expect([all.size, all.format(), all.has(2), all.has(3), all.has(100_002), all.has(100_003)]).toEqual([
      ...[100_000, '3-100002', false, true, true, false],
    ]);
  });

  test('is what a Set is, and copies go their own ways', () => {
    const next = seededNumbers(1);
    const pairs = [{ set: HostSet.of(), model: new Set<number>() }];
    for (let step = 0; step < 20_000; step++) {
      const pair = pairs[Math.floor(next() * pairs.length)] ?? pairs[0];
      if (!pair) throw new Error('there is one');
      const { set, model } = pair;
      const host = Math.floor(next() * 10_000);
      if (next() < 0.55) expect(set.add(host)).toBe(!model.has(host));
      else expect(set.delete(host)).toBe(model.has(host));
      if (set.has(host)) model.add(host);
      else model.delete(host);
      if (step % 4_000 === 1_000) pairs.push({ set: set.clone(), model: new Set(model) });
    }
    expect(pairs).toHaveLength(6);
    const ascending = (hosts: Iterable<number>): number[] => [...hosts].sort((a, b) => a - b);
    for (const { set, model } of pairs) {
      expect(set.size).toBe(model.size);
      expect(set.minus(HostSet.of())).toEqual(ascending(model));
      for (const other of pairs)
        expect(set.minus(other.set)).toEqual(ascending([...model].filter((host) => !other.model.has(host))));
    }
  });
});
