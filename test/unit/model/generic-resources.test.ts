import { describe, expect, test } from 'vitest';
import {
  claimResources,
  holdsResources,
  parseGenericResources,
  resourceEnvironment,
  withoutResources,
} from '../../../src/model/generic-resources.js';
import type { DiscreteResource, GenericResource } from '../../../src/model/generic-resources.js';
import { seededNumbers } from '../../support/cluster-objects.js';

const named = (kind: string, ...names: string[]): GenericResource[] => names.map((name) => ({ kind, name }));
const gpus = named('gpu', 'a', 'b', 'c');
const ssd = (count: number): DiscreteResource => ({ kind: 'ssd', count });
const gpu = (count: number): DiscreteResource => ({ kind: 'gpu', count });

describe('claimResources', () => {
  test.each<[string, GenericResource[], DiscreteResource[], GenericResource[] | undefined]>([
    ['nothing of nothing', [], [], []],
    ['none of a kind that is not there', gpus, [ssd(0)], []],
    ['a number', [ssd(3)], [ssd(2)], [ssd(2)]],
    ['more than there is', [ssd(3)], [ssd(4)], undefined],
    ['more than is left', [ssd(-1)], [ssd(1)], undefined],
    ['names in their order', gpus, [gpu(2)], named('gpu', 'a', 'b')],
    ['more than has a name', gpus, [gpu(4)], undefined],
    ['a kind that is not there', gpus, [ssd(1)], undefined],
    ['the same kind twice', gpus, [gpu(1), gpu(2)], gpus],
    ['the same kind twice, more than there is', gpus, [gpu(2), gpu(2)], undefined],
    ['the same number twice', [ssd(3)], [ssd(2), ssd(2)], undefined],
    ['kinds as they are written', gpus, [{ kind: 'GPU', count: 1 }], undefined],
    ['several kinds', [...gpus, ssd(3)], [ssd(1), gpu(1)], [ssd(1), ...named('gpu', 'a')]],
  ])('%s', (_, free, reserved, expected) => {
    expect(claimResources(free, reserved)).toEqual(expected);
  });

  test('nothing is given to two at once, and all comes back', () => {
    const next = seededNumbers(7);
    const all: readonly GenericResource[] = [...gpus, ssd(5)];
    const held: (readonly GenericResource[])[] = [];
    const free = (): readonly GenericResource[] =>
      held.reduce((left, claim) => withoutResources(left, claim), all);
    for (let i = 0; i < 500; i++) {
      if (held.length > 0 && next() < 0.5) held.splice(Math.floor(next() * held.length), 1);
      else {
        const before = free();
        const claim = claimResources(before, [gpu(Math.floor(next() * 3)), ssd(Math.floor(next() * 3))]);
        if (!claim) continue;
        expect(holdsResources(before, claim)).toBe(true);
        held.push(claim);
      }
      const names = held.flat().flatMap((one) => ('name' in one ? [one.name] : []));
      expect(new Set(names).size).toBe(names.length);
      const counted = held.flat().reduce((sum, one) => ('count' in one ? sum + one.count : sum), 0);
      expect(counted).toBeLessThanOrEqual(5);
    }
    held.length = 0;
    expect(free()).toEqual(all);
  });
});

test.each<[string, GenericResource[], GenericResource[], boolean]>([
  ['what is there', gpus, named('gpu', 'c'), true],
  ['a name that went', gpus, named('gpu', 'd'), false],
  ['fewer than were given', [ssd(1)], [ssd(2)], false],
  ['names that became a number', [gpu(3)], named('gpu', 'a'), false],
  ['nothing', [], [], true],
])('holdsResources: %s', (_, resources, claimed, expected) => {
  expect(holdsResources(resources, claimed)).toBe(expected);
});

test('a container finds what is its own in its environment', () => {
  expect(resourceEnvironment([...named('gpu', 'a', 'b'), ssd(3)])).toEqual([
    'DOCKER_RESOURCE_GPU=a,b',
    'DOCKER_RESOURCE_SSD=3',
  ]);
});

describe('parseGenericResources', () => {
  test('takes what nodes send', () => {
    expect(parseGenericResources([{ kind: 'gpu', name: 'a' }, ssd(0)])).toEqual([
      ...named('gpu', 'a'),
      ssd(0),
    ]);
  });
  test.each([[[{ kind: 'a' }]], [[ssd(-1)]], [[ssd(NaN)]], [Array.from({ length: 1025 }, () => ssd(1))]])(
    'refuses what is none, and too many',
    (sent) => {
      expect(() => parseGenericResources(sent)).toThrow('in a node’s description');
    },
  );
});
