/** Simulated nodes plan what they are told, and it is seen when each has planned a task's coming and going. */
import { expect, test } from 'vitest';
import { Following, isServed } from '../../../bench/cluster/following.js';
import { operationsBetween } from '../../../bench/cluster/planning-dataplane.js';
import { networkOf, withOneChange } from '../../../bench/program/network.js';
import { allOf, opsBetween } from '../../../bench/program/processes.js';
import { opLine } from '../../../src/dataplane/plan/diff.js';
import { ipvsPlan } from '../../../src/dataplane/plan/ipvs.js';
import type { TaskId } from '../../../src/model/ids.js';

const size = { services: 20, endpoints: 3 };
const whole = networkOf(size);
const without = withOneChange(whole, size);
const taskIdsOf = ({ overlays }: typeof whole): TaskId[] =>
  overlays.flatMap(({ endpoints }) => [...endpoints].map(({ taskId }) => taskId));
const [changed] = taskIdsOf(whole).filter((id) => !taskIdsOf(without).includes(id)) as [TaskId];
const lines = (ops: readonly Parameters<typeof opLine>[0][]): string[] => ops.map(opLine).sort();

test.each([
  ['an endpoint goes', whole, without],
  ['an endpoint comes', without, withOneChange(without, size)],
] as const)('%s: the part that differs plans what the whole does', (_, before, after) => {
  const ops = operationsBetween(before, after);
  expect(ops.some(({ object }) => object.kind === 'realServer')).toBe(true);
  expect(lines(ops)).toEqual(lines(allOf(opsBetween(before, after, ipvsPlan))));
});

test('a node follows when it has planned that nothing is sent to the task any more', async () => {
  let nowMs = 0;
  const following = new Following(() => (nowMs += 1));
  const gone = operationsBetween(whole, without);
  expect([isServed(whole, changed), isServed(without, changed)]).toEqual([true, false]);
  const atMs = await following.until(
    { taskId: changed, serving: false },
    2,
    () => {
      following.planned('node1', whole, gone); // not so yet
      following.planned('node1', without, []); // nothing to be done
      following.planned('node1', without, gone);
      following.planned('node1', without, gone); // known
      following.planned('node2', without, gone);
    },
    AbortSignal.timeout(1_000),
  );
  expect(atMs).toEqual([1, 2]);
});
