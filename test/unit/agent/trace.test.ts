/** A node's own lines about its tasks and its network, and the requests that they come from. */
import { afterEach, expect, test } from 'vitest';
import { TaskBarrier } from '../../../src/controlplane/agent/task-barrier.js';
import { TaskRunner } from '../../../src/controlplane/agent/task-runner.js';
import type { TaskController } from '../../../src/controlplane/agent/task-controller.js';
import type { AssignmentChange } from '../../../src/controlplane/rpc/assignment.js';
import type { NodeNetworkState } from '../../../src/dataplane/state.js';
import { OutsideError, SkepError } from '../../../src/model/errors.js';
import type { TaskId } from '../../../src/model/ids.js';
import type { TraceId } from '../../../src/model/trace.js';
import { systemClock } from '../../../src/runtime/clock.js';
import { assignedNetwork, put } from '../../support/assigned-network.js';
import { endpointAssignment, nodeAssignment, overlayAssignment } from '../../support/assignment-items.js';
import { collectedLog, eventsIn } from '../../support/collected-log.js';
import { service, task } from '../../support/cluster-objects.js';

let stop = new AbortController();
afterEach(() => {
  stop.abort();
  stop = new AbortController();
});
const traceOf = (digit: string): TraceId => digit.repeat(32) as TraceId;
const web = service('web');
const assigned = task('t1', web, 'assigned', { node: 'n1', trace: traceOf('a') });

/** A container that does what it is told, or fails to. */
const controller = (over: Partial<TaskController> = {}): TaskController =>
  ({
    container: async () => undefined,
    prepare: async () => undefined,
    start: async () => undefined,
    wait: (signal: AbortSignal) =>
      new Promise<void>((_, reject) =>
        signal.addEventListener('abort', () => reject(new Error('interrupted')), { once: true }),
      ),
    shutdown: async () => undefined,
    release: async () => undefined,
    remove: async () => undefined,
    ...over,
  }) as unknown as TaskController;

function run(parts: Partial<TaskController> = {}) {
  const { log, lines } = collectedLog('info');
  const runner = new TaskRunner(assigned, {
    ...{ controller: controller(parts), report: () => undefined, clock: systemClock, log },
  });
  return { runner, lines };
}

test('each step of a task is a line with the trace of the request that it comes from', async () => {
  const { runner, lines } = run();
  await expect.poll(() => runner.state).toBe('running');
  runner.update({ ...assigned, desiredState: 'shutdown', trace: traceOf('b') });
  await expect.poll(() => runner.state).toBe('shutdown');
  await runner.close();
  const about = { event: 'task.step', task: 't1', service: 'web' };
  expect(eventsIn(lines)).toEqual([
    ...['accepted', 'preparing', 'ready', 'starting', 'running'].map((state) => ({
      ...{ ...about, state, trace_id: traceOf('a') },
      step: expect.any(String) as unknown,
    })),
    { ...about, step: 'shutdown', state: 'shutdown', trace_id: traceOf('b') },
  ]);
});

test('a step that fails says why', async () => {
  const { runner, lines } = run({
    prepare: () => Promise.reject(new SkepError('invalidArgument', 'No such image: nothing:1')),
  });
  await expect.poll(() => runner.state).toBe('rejected');
  await runner.close();
  expect(eventsIn(lines, 'task.step-failed')).toMatchObject([
    {
      ...{ task: 't1', service: 'web', step: 'prepare', state: 'rejected', trace_id: traceOf('a') },
      err: { message: 'No such image: nothing:1' },
    },
  ]);
});

const endpoint = (taskId: string): AssignmentChange =>
  put(
    endpointAssignment({
      overlayId: 'a',
      taskId,
      serviceId: 'web',
      nodeId: 'n1',
      address: `10.0.1.${taskId}`,
    }),
  );

test('the dataplane is given the traces of all that has changed since it took the last state, and once', async () => {
  const given: [NodeNetworkState, readonly TraceId[]][] = [];
  let isAway = true;
  let asked = 0;
  const { log, lines } = collectedLog('info');
  const { network, set: assign } = assignedNetwork(
    async (state, traces) => {
      asked += 1;
      if (isAway) throw new OutsideError('the dataplane is away', true);
      given.push([state, traces]);
    },
    log,
    stop.signal,
  );
  const set = (traces: readonly string[], ...changes: readonly AssignmentChange[]): void =>
    assign(changes, false, traces.map(traceOf));
  set(['a'], put(nodeAssignment('n1')), put(overlayAssignment('a', '10.0.1')), endpoint('11'));
  await expect.poll(() => asked).toBeGreaterThan(0);
  set(['b'], endpoint('12'));
  isAway = false;
  await expect.poll(() => given.at(-1)?.[0].revision).toBe(2);
  expect(given.map(([, traces]) => traces)).toEqual([[traceOf('a'), traceOf('b')]]);
  set([], endpoint('13'));
  await expect.poll(() => given.at(-1)?.[0].revision).toBe(3);
  expect(given.at(-1)?.[1]).toEqual([]);
  // A state that is the same but for where it comes from is the same.
  expect(JSON.stringify(given.at(-1)?.[0])).not.toContain(traceOf('a'));

  network.ended('12' as TaskId);
  network.ended('12' as TaskId);
  expect(eventsIn(lines, 'endpoint.withdrawn')).toMatchObject([{ task: '12' }]);
});

test('the barrier of a task that stops is opened and passed, and one that nobody answers is not waited for without end', async () => {
  const { log, lines } = collectedLog('info');
  let nowMs = 0;
  const clock = {
    nowMs: () => nowMs,
    steadyMs: () => nowMs,
    sleep: async (delayMs: number) => {
      await new Promise(setImmediate);
      nowMs += delayMs;
    },
  };
  const barrier = new TaskBarrier({ programmedPast: () => new Promise(() => undefined), clock, log });
  await barrier.wait('t1' as TaskId, true, stop.signal);
  await barrier.wait('t2' as TaskId, false, stop.signal);
  expect(eventsIn(lines)).toMatchObject([
    { event: 'drain.opened', task: 't1' },
    { event: 'drain.timed-out', task: 't1', drained: true },
    { event: 'drain.timed-out', task: 't2', drained: false },
  ]);
  lines.length = 0;
  const client = {
    acknowledgeRevisions: () => ({ stream: { on: () => undefined }, done: new Promise(() => undefined) }),
    awaitAcknowledged: async () => ({ missing: ['n3'], atWork: false }),
  };
  void barrier.run(client as never, 's', stop.signal).catch(() => undefined);
  await barrier.wait('t3' as TaskId, true, stop.signal);
  expect(eventsIn(lines, 'drain.opened', 'drain.passed')).toEqual([
    { event: 'drain.opened', task: 't3' },
    { event: 'drain.passed', task: 't3', durationMs: expect.any(Number) as unknown, missing: ['n3'] },
  ]);
});
