import { describe, expect, test } from 'vitest';
import { noMemory, planUpkeep } from '../../../src/controlplane/upkeep/upkeep-plan.js';
import type { UpkeepMemory, UpkeepState } from '../../../src/controlplane/upkeep/upkeep-plan.js';

const mebibyte = 1024 * 1024;
const nowMs = 1_000_000;
const well: UpkeepState = {
  nowMs,
  revision: 50_000,
  databaseBytes: 20 * mebibyte,
  usedBytes: 18 * mebibyte,
  quotaBytes: 2048 * mebibyte,
  diskFreeBytes: 50_000 * mebibyte,
  isFull: false,
  isCorrupt: false,
  hasDirectory: true,
  leadsRaft: false,
  successor: '2',
  allWell: true,
  isOutdated: false,
};
const alone = { leadsRaft: true, successor: undefined } as unknown as Partial<UpkeepState>;
const seen = (...ages: readonly (readonly [agoMs: number, revision: number])[]): UpkeepMemory['seen'] =>
  ages.map(([agoMs, revision]) => ({ atMs: nowMs - agoMs, revision }));
const line = (op: ReturnType<typeof planUpkeep>['ops'][number]): string =>
  [
    op.op,
    ...('revision' in op ? [op.revision] : []),
    ...('inTurn' in op && !op.inTurn ? ['at once'] : []),
  ].join(' ');
const half = { databaseBytes: 100 * mebibyte, usedBytes: 40 * mebibyte };
const large = { databaseBytes: 800 * mebibyte, usedBytes: 300 * mebibyte };
const waited = { waitingSinceMs: nowMs - 60_000 };

const cases: readonly (readonly [string, Partial<UpkeepState>, Partial<UpkeepMemory>, readonly string[]])[] =
  [
    ['nothing to do', {}, {}, []],
    [
      'history is forgotten after a minute',
      { leadsRaft: true },
      { seen: seen([70_000, 40_000], [30_000, 45_000]) },
      ['compact 40000'],
    ],
    ['by who leads Raft alone', {}, { seen: seen([70_000, 40_000]) }, []],
    ['not sooner', { leadsRaft: true }, { seen: seen([50_000, 40_000]) }, []],
    [
      'not for a few',
      { leadsRaft: true },
      { seen: seen([70_000, 40_000]), compacted: 39_500, compactedAtMs: nowMs - 90_000 },
      [],
    ],
    [
      'all of it when half of the quota is used',
      { leadsRaft: true, databaseBytes: 1100 * mebibyte, usedBytes: 1090 * mebibyte },
      {},
      ['compact 50000'],
    ],
    ['free space is given back when it is more than half', half, {}, ['defragment']],
    ['not while somebody is away', { ...half, allWell: false }, {}, []],
    ['not on a disk without room for it', { ...half, diskFreeBytes: 50 * mebibyte }, {}, []],
    ['not again and again', half, { defragmentedAtMs: nowMs - 300_000 }, []],
    ['not into a directory that is gone', { ...half, hasDirectory: false }, {}, []],
    ['a small database is left alone', { databaseBytes: 12 * mebibyte, usedBytes: mebibyte }, {}, []],
    ['who leads waits for the others', { ...half, leadsRaft: true }, {}, []],
    ['and is then the last', { ...half, leadsRaft: true }, waited, ['defragment']],
    ['having handed over where it takes long', { ...large, leadsRaft: true }, waited, ['handOver']],
    ['one alone waits for nobody', { ...large, ...alone }, {}, ['defragment']],
    [
      'a full store is mended at once, without a turn',
      { ...half, databaseBytes: 2048 * mebibyte, isFull: true, allWell: false },
      {},
      ['defragment at once'],
    ],
    [
      'and takes changes again',
      { ...half, isFull: true, leadsRaft: true },
      { compacted: 50_000, defragmentedAtMs: nowMs },
      ['disarm'],
    ],
    [
      'a store full of what is in use stays closed',
      { isFull: true, databaseBytes: 2048 * mebibyte, usedBytes: 2040 * mebibyte },
      {},
      [],
    ],
    ['other settings: etcd is started anew', { isOutdated: true }, {}, ['restart']],
    ['by who leads after it has handed over', { isOutdated: true, leadsRaft: true }, waited, ['handOver']],
    ['never while somebody is away', { isOutdated: true, allWell: false }, waited, []],
  ];

describe('planUpkeep', () => {
  test.each(cases)('%s', (_, state, memory, ops) => {
    expect(planUpkeep({ ...well, ...state }, { ...noMemory, ...memory }).ops.map(line)).toEqual(ops);
  });

  test('three members come to rest, one at a time, who leads last, and none is done twice', () => {
    const members = [0, 1, 2].map((id) => ({ id, memory: noMemory, ...large, isOutdated: true }));
    let leader = 1;
    let restMs = 0;
    const done: string[] = [];
    for (let atMs = 0; restMs < 3_600_000; atMs += 10_000) {
      restMs += 10_000;
      for (const member of members) {
        const { ops, memory } = planUpkeep(
          {
            ...well,
            nowMs: atMs,
            ...member,
            leadsRaft: leader === member.id,
            successor: String((member.id + 1) % 3),
          },
          member.memory,
        );
        member.memory = memory;
        for (const op of ops) {
          done.push(`${op.op} ${member.id}`);
          restMs = 0;
          if (op.op === 'handOver') leader = Number(op.successor);
          if (op.op === 'restart') member.isOutdated = false;
          if (op.op === 'defragment') {
            member.databaseBytes = member.usedBytes;
            member.memory = { ...memory, defragmentedAtMs: atMs };
          }
        }
      }
      expect(done.length).toBeLessThan(20);
    }
    expect(done.filter((text) => text.startsWith('defragment')).sort()).toEqual(
      [0, 1, 2].map((id) => `defragment ${id}`),
    );
    expect(done.filter((text) => text.startsWith('restart')).sort()).toEqual(
      [0, 1, 2].map((id) => `restart ${id}`),
    );
    expect(done.slice(0, 2).map((text) => text.slice(-1))).not.toContain('1');
  });

  test('remembers no more looks than history lasts', () => {
    let memory = noMemory;
    for (let i = 0; i < 1_000; i++)
      ({ memory } = planUpkeep({ ...well, nowMs: nowMs + i * 10_000, revision: i }, memory));
    expect(memory.seen.length).toBeLessThan(10);
  });
});
