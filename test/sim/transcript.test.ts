/**
 * What users see of the common operations, line by line, with agents that do as they are told in steps of 100 ms. The
 * lines are golden: a change here is a change of behaviour and wants a reason.
 */
import { beforeEach, expect, test } from 'vitest';
import type { ServiceId } from '../../src/model/ids.js';
import type { Service, Task } from '../../src/model/objects.js';
import type { ServiceSpec } from '../../src/model/service-spec.js';
import type { TaskState } from '../../src/model/task-state.js';
import { compareStates, isTerminal } from '../../src/model/task-state.js';
import { controlLoops } from '../../src/controlplane/loops.js';
import { applyPlanner } from '../../src/controlplane/plan.js';
import type { MemoryStore } from '../../src/controlplane/store/memory.js';
import {
  FakeTime,
  network,
  node,
  ports,
  seededBytes,
  service,
  storeOf,
  taskSpec,
} from '../support/cluster-objects.js';

const loops = controlLoops(seededBytes(1));
let time: FakeTime;
let store: MemoryStore;
let lines: string[];
let startedAtMs: number;

const restartPolicy = { condition: 'any', delayNs: 1e9, maxAttempts: 0, windowNs: 0 } as const;
const image = (name: string): Pick<ServiceSpec, 'taskTemplate'> => ({
  taskTemplate: taskSpec({ restartPolicy }, name),
});

beforeEach(async () => {
  time = new FakeTime(1000);
  const web = service('web', {
    ...image('a'),
    mode: { kind: 'replicated', replicas: 2 },
    endpointSpec: ports([80, 8080]),
  });
  store = await storeOf(
    { node: [node('n1'), node('n2')], network: [network('ingress', { ingress: true })], service: [web] },
    time,
  );
  const names = new Map<string, string>();
  store.subscribe(({ changes }) => {
    for (const { kind, id, previous, current } of changes) {
      if (kind === 'service') {
        if (current?.updateStatus?.message !== previous?.updateStatus?.message)
          say(`update: ${current?.updateStatus?.message ?? 'none'}`);
      }
      if (kind !== 'task') continue;
      if (!previous && current) {
        const nth = [...names.values()].filter((name) => name.startsWith(`web.${current.slot}#`)).length;
        names.set(id, `web.${current.slot}#${nth + 1}`);
      }
      const before = previous && picture(previous);
      const after = current ? picture(current) : 'deleted';
      if (before !== after) say(`${names.get(id)} ${after}`);
    }
  });
  lines = [];
  startedAtMs = time.ms;
});

const say = (line: string): number => lines.push(`${((time.ms - startedAtMs) / 1000).toFixed(1)} ${line}`);
const picture = ({ desiredState, status, nodeId }: Task): string =>
  `${desiredState}/${status.state}${nodeId ? ` on ${nodeId}` : ''}`;

const ladder: readonly TaskState[] = ['assigned', 'accepted', 'preparing', 'ready', 'starting', 'running'];

/** The next state as swarmkit's exec.Do has it, without failures. */
function nextState({ status: { state }, desiredState }: Task): TaskState | undefined {
  if (isTerminal(state) || compareStates(state, 'assigned') < 0) return undefined;
  if (compareStates(desiredState, 'shutdown') >= 0) return 'shutdown';
  if (state === 'ready' && desiredState === 'ready') return undefined;
  return ladder[ladder.indexOf(state) + 1];
}

const setState = (task: Task, state: TaskState): Task => ({
  ...task,
  status: { state, message: state, timestampMs: time.ms, appliedAtMs: time.ms },
});

async function play(seconds: number): Promise<string[]> {
  for (let round = 0; round < seconds * 10; round++) {
    for (const loop of loops) await applyPlanner(store, loop.plan, time.nowMs);
    await store.update((tx) => {
      for (const task of tx.list('task')) {
        const state = nextState(task);
        if (state) tx.update('task', setState(task, state));
      }
    });
    time.ms += 100;
  }
  return lines;
}

/** Plays the service's creation, then starts the transcript anew. */
async function created(): Promise<void> {
  await play(2);
  lines = [];
  startedAtMs = time.ms;
}

async function update(change: Partial<ServiceSpec>): Promise<void> {
  await store.update((tx) => {
    const { updateStatus: _, ...web } = tx.get('service', 'web' as ServiceId) as Service;
    const spec = { ...web.spec, ...change };
    tx.update('service', { ...web, spec, specVersion: tx.revision, previousSpec: web.spec });
  });
}

test('create', async () => {
  expect(await play(2)).toMatchInlineSnapshot(`
    [
      "0.0 web.1#1 running/new",
      "0.0 web.2#1 running/new",
      "0.0 web.2#1 running/pending",
      "0.0 web.1#1 running/pending",
      "0.0 web.1#1 running/assigned on n1",
      "0.0 web.2#1 running/assigned on n2",
      "0.0 web.2#1 running/accepted on n2",
      "0.0 web.1#1 running/accepted on n1",
      "0.1 web.2#1 running/preparing on n2",
      "0.1 web.1#1 running/preparing on n1",
      "0.2 web.2#1 running/ready on n2",
      "0.2 web.1#1 running/ready on n1",
      "0.3 web.2#1 running/starting on n2",
      "0.3 web.1#1 running/starting on n1",
      "0.4 web.2#1 running/running on n2",
      "0.4 web.1#1 running/running on n1",
    ]
  `);
});

test('scale up, then down', async () => {
  await created();
  await update({ mode: { kind: 'replicated', replicas: 3 } });
  await play(1);
  await update({ mode: { kind: 'replicated', replicas: 1 } });
  expect(await play(1)).toMatchInlineSnapshot(`
    [
      "0.0 web.3#1 running/new",
      "0.0 web.3#1 running/pending",
      "0.0 web.3#1 running/assigned on n1",
      "0.0 web.3#1 running/accepted on n1",
      "0.1 web.3#1 running/preparing on n1",
      "0.2 web.3#1 running/ready on n1",
      "0.3 web.3#1 running/starting on n1",
      "0.4 web.3#1 running/running on n1",
      "1.0 web.3#1 remove/running on n1",
      "1.0 web.2#1 remove/running on n2",
      "1.0 web.3#1 remove/shutdown on n1",
      "1.0 web.2#1 remove/shutdown on n2",
      "1.1 web.3#1 deleted",
      "1.1 web.2#1 deleted",
    ]
  `);
});

test('a container that is killed', async () => {
  await created();
  await store.update((tx) => {
    const first = tx.list('task').find((task) => task.slot === 1) as Task;
    tx.update('task', setState(first, 'failed'));
  });
  expect(await play(3)).toMatchInlineSnapshot(`
    [
      "0.0 web.1#1 running/failed on n1",
      "0.0 web.1#1 shutdown/failed on n1",
      "0.0 web.1#2 ready/new",
      "0.0 web.1#2 ready/pending",
      "0.0 web.1#2 ready/assigned on n1",
      "0.0 web.1#2 ready/accepted on n1",
      "0.1 web.1#2 ready/preparing on n1",
      "0.2 web.1#2 ready/ready on n1",
      "1.0 web.1#2 running/ready on n1",
      "1.0 web.1#2 running/starting on n1",
      "1.1 web.1#2 running/running on n1",
    ]
  `);
});

test('a rolling update', async () => {
  await created();
  await update(image('b'));
  expect(await play(8)).toMatchInlineSnapshot(`
    [
      "0.0 update: update in progress",
      "0.0 web.1#1 shutdown/running on n1",
      "0.0 web.1#2 ready/new",
      "0.0 web.1#2 ready/pending",
      "0.0 web.1#2 ready/assigned on n1",
      "0.0 web.1#1 shutdown/shutdown on n1",
      "0.0 web.1#2 ready/accepted on n1",
      "0.1 web.1#2 running/accepted on n1",
      "0.1 web.1#2 running/preparing on n1",
      "0.2 web.1#2 running/ready on n1",
      "0.3 web.1#2 running/starting on n1",
      "0.4 web.1#2 running/running on n1",
      "0.5 web.2#1 shutdown/running on n2",
      "0.5 web.2#2 ready/new",
      "0.5 web.2#2 ready/pending",
      "0.5 web.2#2 ready/assigned on n2",
      "0.5 web.2#2 ready/accepted on n2",
      "0.5 web.2#1 shutdown/shutdown on n2",
      "0.6 web.2#2 running/accepted on n2",
      "0.6 web.2#2 running/preparing on n2",
      "0.7 web.2#2 running/ready on n2",
      "0.8 web.2#2 running/starting on n2",
      "0.9 web.2#2 running/running on n2",
      "5.9 update: update completed",
    ]
  `);
});

test('remove', async () => {
  await created();
  await store.update((tx) => tx.delete('service', 'web'));
  expect(await play(1)).toMatchInlineSnapshot(`
    [
      "0.0 web.1#1 remove/running on n1",
      "0.0 web.2#1 remove/running on n2",
      "0.0 web.1#1 remove/shutdown on n1",
      "0.0 web.2#1 remove/shutdown on n2",
      "0.1 web.1#1 deleted",
      "0.1 web.2#1 deleted",
    ]
  `);
});
