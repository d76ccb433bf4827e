import { expect, test } from 'vitest';
import { requireRoom, storeWarnings } from '../../../src/controlplane/upkeep/store-state.js';
import type { StoreState } from '../../../src/controlplane/upkeep/store-state.js';

const mebibyte = 1024 * 1024;
const well: StoreState = {
  revision: 1,
  databaseBytes: 100 * mebibyte,
  usedBytes: 90 * mebibyte,
  quotaBytes: 2048 * mebibyte,
  diskFreeBytes: 50_000 * mebibyte,
  isFull: false,
  isCorrupt: false,
  hasDirectory: true,
};

const cases: readonly (readonly [
  string,
  Partial<StoreState>,
  warning: RegExp | undefined,
  refused: boolean,
])[] = [
  ['a store with room', {}, undefined, false],
  ['free space in the file is no use of it', { databaseBytes: 2000 * mebibyte }, undefined, false],
  [
    'most of the quota',
    { usedBytes: 1700 * mebibyte },
    /1700 MiB of at most 2048 MiB.*task-history-limit/,
    true,
  ],
  ['the quota', { usedBytes: 100, isFull: true }, /no changes but removals/, true],
  ['a disk that fills up', { diskFreeBytes: 400 * mebibyte }, /has 400 MiB left.*docker system prune/, false],
  ['a disk that is nearly full', { diskFreeBytes: 100 * mebibyte }, /has 100 MiB left/, true],
  ['copies that differ', { isCorrupt: true }, /--force-new-cluster/, false],
  ['a directory that is gone', { hasDirectory: false }, /skep backup FILE/, false],
];

test.each(cases)('%s', (_, change, warning, refused) => {
  const state = { ...well, ...change };
  const warnings = storeWarnings(state);
  if (warning) expect(warnings).toEqual([expect.stringMatching(warning)]);
  else expect(warnings).toEqual([]);
  if (refused) expect(() => requireRoom(state)).toThrow(warnings[0]);
  else expect(() => requireRoom(state)).not.toThrow();
});
