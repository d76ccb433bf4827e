/** One order of many tasks' lines. Times are of the test: a step is what happens at a moment, `>` is what goes out. */
import { expect, test } from 'vitest';
import { LogMerge } from '../../../src/controlplane/dispatcher/log-merge.js';
import type { NodeId, TaskId } from '../../../src/model/ids.js';
import type { LogLine } from '../../../src/controlplane/task-logs.js';

const patienceMs = 100;
const line = (task: string, timestamp: string): LogLine => ({
  taskId: task as TaskId,
  nodeId: 'n' as NodeId,
  stream: 1,
  timestamp,
  attrs: {},
  data: Buffer.alloc(0),
});

/** `open a b`, `a1 b2 …` (lines: task, then time), `end a`, each at its moment; what then goes out, and how long is waited. */
type Step = readonly [atMs: number, does: string, out: string, waitMs?: number];

function run(isFollowing: boolean, steps: readonly Step[]): void {
  const merge = new LogMerge(patienceMs, isFollowing);
  for (const [atMs, does, out, waitMs] of steps) {
    const [verb = '', ...tasks] = does.split(' ');
    if (verb === 'open') for (const task of tasks) merge.open(task as TaskId, atMs);
    else if (verb === 'end') for (const task of tasks) merge.end(task as TaskId);
    else if (does !== '')
      for (const each of does.split(' ')) merge.push(each[0] as TaskId, line(each[0]!, each.slice(1)), atMs);
    const taken = merge.take(atMs, 100);
    expect(taken.lines.map(({ taskId, timestamp }) => taskId + timestamp).join(' '), `${atMs}: ${does}`).toBe(
      out,
    );
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
  const out: LogLine[] = [];
  for (let i = 0; i < 20_000; i++) {
    const task = tasks[next(tasks.length)]!;
    at.set(task, at.get(task)! + 1 + next(100));
    merge.push(task as TaskId, line(task, String(at.get(task)).padStart(9, '0')), 0);
    if (i % 10 === 0) out.push(...merge.take(0, 7).lines);
  }
  tasks.forEach((task) => merge.end(task as TaskId));
  for (let some = merge.take(0, 100).lines; some.length > 0; some = merge.take(0, 100).lines)
    out.push(...some);
  const times = out.map(({ timestamp }) => timestamp);
  expect(times).toHaveLength(20_000);
  expect(times).toEqual([...times].sort());
});
