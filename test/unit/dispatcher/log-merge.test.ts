/** One order of many tasks' lines. Times are of the test: a step is what happens at a moment, `>` is what goes out. */
import { expect, test } from 'vitest';
import { LogMerge } from '../../../src/controlplane/dispatcher/log-merge.js';
import type { NodeId, TaskId } from '../../../src/model/ids.js';
import type { TaskLines } from '../../../src/controlplane/task-logs.js';
import { packed, unpacked } from '../../support/log-lines.js';

const patienceMs = 100;
/** One piece: a line for each of the times. */
const lines = (task: string, ...times: readonly (string | number)[]): TaskLines => ({
  taskId: task as TaskId,
  nodeId: 'n' as NodeId,
  packed: packed(...times.map((time) => ({ timestamp: `${String(time).padStart(29, '0')}Z` }))),
});

/** What went out: each line's task and time. */
const said = (taken: readonly TaskLines[]): string[] =>
  taken.flatMap((piece) =>
    unpacked(piece.packed).map(({ timestamp }) => piece.taskId + timestamp.replace(/^0*|Z$/g, '')),
  );

/** `open a b`, `a1,2 b2 …` (pieces of lines: task, then times), `end a`, each at its moment; what then goes out, and how long is waited. */
type Step = readonly [atMs: number, does: string, out: string, waitMs?: number];

function run(isFollowing: boolean, steps: readonly Step[]): void {
  const merge = new LogMerge(patienceMs, isFollowing);
  for (const [atMs, does, out, waitMs] of steps) {
    const [verb = '', ...tasks] = does.split(' ');
    if (verb === 'open') for (const task of tasks) merge.open(task as TaskId, atMs);
    else if (verb === 'end') for (const task of tasks) merge.end(task as TaskId);
    else if (does !== '')
      for (const each of does.split(' ')) merge.push(lines(each[0]!, ...each.slice(1).split(',')), atMs);
    const taken = merge.take(atMs, 10_000);
    expect(said(taken.lines).join(' '), `${atMs}: ${does}`).toBe(out);
    expect(taken.waitMs, `${atMs}: ${does}`).toBe(waitMs);
  }
}

test.each<[name: string, steps: Step[]]>([
  [
    'one task waits for nobody',
    [
      [0, 'open a', ''],
      [0, 'a1 a2', 'a1 a2'],
      [9, 'a3', 'a3'],
    ],
  ],
  [
    'lines go out when all others are further',
    [
      [0, 'open a b', ''],
      [0, 'a1 a3', '', 100],
      [5, 'b2', 'a1 b2', 100],
      [6, 'end b', 'a3'],
    ],
  ],
  [
    'a silent task is waited for once, and again when it has spoken',
    [
      [0, 'open a b', ''],
      [0, 'a1', '', 100],
      [60, '', '', 40],
      [100, '', 'a1'],
      [101, 'a2 a3', 'a2 a3'],
      // It is the first one’s turn to be waited for.
      [200, 'b4', '', 100],
      [220, 'a5', 'b4', 100],
      [320, '', 'a5'],
    ],
  ],
  [
    'late lines come when they come, in the order of their task',
    [
      [0, 'open a b', ''],
      [0, 'a5', '', 100],
      [100, '', 'a5'],
      [110, 'a6', 'a6'],
      [111, 'b1 b2', '', 100],
      [112, 'a7', 'b1 b2', 100],
      [212, '', 'a7'],
    ],
  ],
  [
    'an ended task’s lines go out in their turn',
    [
      [0, 'open a b', ''],
      [0, 'b2 b4', '', 100],
      [0, 'end b', '', 100],
      [1, 'a1 a3', 'a1 b2 a3', 100],
      [2, 'end a', 'b4'],
    ],
  ],
  [
    'pieces go out as far as no other has an older line',
    [
      [0, 'open a b', ''],
      [0, 'a1,2,3,5,9 b3,4,7,8', 'a1 a2 a3 b3 b4 a5 b7 b8', 100],
      [1, 'a10,11', '', 99],
      [2, 'end b', 'a9 a10 a11'],
    ],
  ],
  [
    'tasks join',
    [
      [0, 'open a', ''],
      [0, 'a1', 'a1'],
      [1, 'open b', ''],
      [1, 'a2', '', 100],
      [2, 'b3', 'a2', 100],
      [3, 'end a', 'b3'],
    ],
  ],
])('%s', (_, steps) => run(false, steps));

test.each<[name: string, steps: Step[]]>([
  [
    'no line waits for longer than others are waited for',
    [
      [0, 'open a b', ''],
      [0, 'a1', '', 100],
      [10, 'b2', 'a1', 100],
      [50, '', '', 60],
      [110, '', 'b2'],
      [111, 'b3', 'b3'],
    ],
  ],
  [
    'those that are silent for long are waited for no more',
    [
      [0, 'open a b', ''],
      [500, 'a1', '', 100],
      [600, '', 'a1'],
      [601, 'a2', 'a2'],
      [700, 'b3', '', 100],
      [750, 'a4', 'b3', 100],
      [850, '', 'a4'],
    ],
  ],
])('following: %s', (_, steps) => run(true, steps));

test('whatever comes in any order goes out whole, each task in order, and sorted when nobody is late', () => {
  const tasks = Array.from({ length: 20 }, (_, i) => String.fromCharCode(97 + i));
  const merge = new LogMerge(patienceMs, false);
  tasks.forEach((task) => merge.open(task as TaskId, 0));
  // A linear congruential generator: the same lines each time.
  let seed = 7;
  const next = (below: number): number => (seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31) % below;
  const at = new Map(tasks.map((task) => [task, 0]));
  const out: string[] = [];
  let [pushed, done] = [0, 0];
  const take = (bytesMax: number): number => {
    const taken = merge.take(0, bytesMax);
    out.push(...said(taken.lines));
    done += taken.done.length;
    return taken.lines.length;
  };
  for (let i = 0; i < 20_000;) {
    const task = tasks[next(tasks.length)]!;
    const times: number[] = [];
    for (const count = 1 + next(4); times.length < count && i < 20_000; i++) {
      at.set(task, at.get(task)! + 1 + next(100));
      times.push(at.get(task)!);
    }
    merge.push(lines(task, ...times), 0);
    pushed += 1;
    if (i % 10 === 0) take(300);
  }
  tasks.forEach((task) => merge.end(task as TaskId));
  while (take(5_000) > 0);
  expect(done).toBe(pushed);
  const times = out.map((each) => Number(each.slice(1)));
  expect(times).toHaveLength(20_000);
  expect(times).toEqual([...times].sort((a, b) => a - b));
});
