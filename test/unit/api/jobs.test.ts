import assert from 'node:assert';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ServiceId } from '../../../src/model/ids.js';
import type { Service, Task } from '../../../src/model/objects.js';
import type { TaskState } from '../../../src/model/task-state.js';
import { Harness, filters, taskOf } from './harness.js';

let api: Harness;
beforeEach(async () => void (api = await Harness.start()));
afterEach(() => api[Symbol.asyncDispose]());

interface Shown {
  readonly ID: string;
  readonly Version: { readonly Index: number };
  readonly Spec: { readonly Mode: object; readonly Labels: Readonly<Record<string, string>> };
  readonly PreviousSpec?: object;
  readonly UpdateStatus?: object;
  readonly JobStatus?: { readonly JobIteration: object; readonly LastExecution: string };
  readonly ServiceStatus?: object;
}

const stored = (id: string): Service => {
  const service = api.store.view().get('service', id as ServiceId);
  assert(service);
  return service;
};
const inspect = async (id: string): Promise<Shown> =>
  (await api.call('GET', `/services/${id}`)).json as Shown;
const withStatus = async (): Promise<object | undefined> =>
  ((await api.call('GET', '/services?status=true')).json as Shown[])[0]?.ServiceStatus;

async function update(id: string, change: object, query = ''): Promise<number> {
  const { Version, Spec } = await inspect(id);
  const body = { ...Spec, ...change };
  return (await api.call('POST', `/services/${id}/update?version=${Version.Index}${query}`, body)).status;
}

/** Tasks of the job, `[slot or node, run, desired, observed]`. */
async function put(id: string, tasks: readonly (readonly [number | string, number, TaskState, TaskState])[]) {
  await api.store.update((tx) => {
    for (const [at, [place, jobIteration, desiredState, state]] of tasks.entries()) {
      const { slot: _, ...task }: Task = taskOf(stored(id), `task${at}`, { jobIteration, desiredState });
      const where =
        typeof place === 'number' ? { slot: place } : { nodeId: place as Task['nodeId'] & string };
      tx.create('task', { ...task, ...where, status: { ...task.status, state } });
    }
  });
}

describe('a job', () => {
  test.each([
    [{ ReplicatedJob: {} }, { ReplicatedJob: { MaxConcurrent: 1, TotalCompletions: 1 } }],
    [{ ReplicatedJob: { MaxConcurrent: 3 } }, { ReplicatedJob: { MaxConcurrent: 3, TotalCompletions: 3 } }],
    [
      { ReplicatedJob: { MaxConcurrent: 2, TotalCompletions: 10 } },
      { ReplicatedJob: { MaxConcurrent: 2, TotalCompletions: 10 } },
    ],
    [
      { ReplicatedJob: { TotalCompletions: 0 } },
      { ReplicatedJob: { MaxConcurrent: 1, TotalCompletions: 0 } },
    ],
    [{ GlobalJob: {} }, { GlobalJob: {} }],
  ])('%j is stored as %j and has begun its first run', async (Mode, mode) => {
    const shown = await inspect(await api.createService({ Name: 'job', Mode }));
    expect(shown.Spec.Mode).toEqual(mode);
    expect(shown.JobStatus).toEqual({
      JobIteration: {},
      LastExecution: expect.stringMatching(/^20.*Z$/) as string,
    });
  });

  test('is run anew by each update, whatever that changes, and has no update status', async () => {
    const id = await api.createService({ Name: 'job', Mode: { ReplicatedJob: {} } });
    const first = stored(id).jobStatus;
    expect(await update(id, { Labels: { a: 'b' } })).toBe(200);
    expect(await update(id, {})).toBe(200);
    const shown = await inspect(id);
    expect(shown.JobStatus).toMatchObject({ JobIteration: { Index: 2 } });
    expect(stored(id).jobStatus?.lastExecutionMs).toBeGreaterThanOrEqual(first?.lastExecutionMs ?? Infinity);
    expect(shown.UpdateStatus).toBeUndefined();
  });

  test('is run anew with the spec before when it is rolled back', async () => {
    const id = await api.createService({
      Name: 'job',
      Mode: { ReplicatedJob: {} },
      Labels: { spec: 'first' },
    });
    await update(id, { Labels: { spec: 'second' } });
    expect(await update(id, {}, '&rollback=previous')).toBe(200);
    const shown = await inspect(id);
    expect(shown.Spec.Labels).toEqual({ spec: 'first' });
    expect(shown.JobStatus).toMatchObject({ JobIteration: { Index: 2 } });
    expect(shown.UpdateStatus).toBeUndefined();
  });

  test('an update that is refused does not run it', async () => {
    const id = await api.createService({ Name: 'job', Mode: { ReplicatedJob: {} } });
    const { Version, Spec } = await inspect(id);
    const post = async (version: number, change: object) =>
      (await api.call('POST', `/services/${id}/update?version=${version}`, { ...Spec, ...change })).json;
    expect(await post(Version.Index + 1, {})).toMatchObject({
      message: expect.stringContaining('update out of sequence') as string,
    });
    for (const [change, message] of [
      [{ Mode: { GlobalJob: {} } }, 'service mode change is not allowed'],
      [{ UpdateConfig: {} }, 'Jobs may not have an update config'],
      [{ Labels: { 'skep.schedule': 'daily' } }, 'must be five fields'],
    ] as const)
      expect(await post(Version.Index, change)).toMatchObject({
        message: expect.stringContaining(message) as string,
      });
    expect(stored(id).jobStatus?.iteration).toBe(0);
  });

  test('to clients before 1.41 there are no jobs', async () => {
    const body = {
      Name: 'old',
      TaskTemplate: { ContainerSpec: { Image: 'busybox' } },
      Mode: { GlobalJob: {} },
    };
    const reply = await api.call('POST', '/v1.40/services/create', body);
    expect((await inspect((reply.json as Shown).ID)).Spec.Mode).toEqual({ Replicated: { Replicas: 1 } });
  });

  test('the filter by mode', async () => {
    await api.createService({ Name: 'job', Mode: { ReplicatedJob: {} } });
    await api.createService({ Name: 'everywhere', Mode: { GlobalJob: {} } });
    await api.createService({ Name: 'web' });
    for (const [mode, names] of [
      ['replicated-job', ['job']],
      ['global-job', ['everywhere']],
      ['replicated', ['web']],
    ] as const) {
      const shown = (await api.call('GET', `/services?${filters({ mode: [mode] })}`)).json as {
        Spec: { Name: string };
      }[];
      expect(shown.map(({ Spec }) => Spec.Name)).toEqual(names);
    }
  });
});

describe('what is counted of a job', () => {
  test('a replicated one: the present run, each slot once', async () => {
    const Mode = { ReplicatedJob: { MaxConcurrent: 2, TotalCompletions: 5 } };
    const id = await api.createService({ Name: 'job', Mode });
    await update(id, {});
    await put(id, [
      [0, 0, 'complete', 'complete'],
      [1, 0, 'remove', 'running'],
      [0, 1, 'complete', 'complete'],
      [1, 1, 'shutdown', 'complete'],
      [1, 1, 'complete', 'complete'],
      [2, 1, 'shutdown', 'failed'],
      [2, 1, 'complete', 'running'],
    ]);
    expect(await withStatus()).toEqual({ RunningTasks: 1, DesiredTasks: 2, CompletedTasks: 2 });
  });

  test('a global one: what of the present run is to complete', async () => {
    const id = await api.createService({ Name: 'job', Mode: { GlobalJob: {} } });
    await put(id, [
      ['n1', 0, 'complete', 'complete'],
      ['n2', 0, 'complete', 'running'],
      ['n3', 0, 'complete', 'preparing'],
      ['n4', 0, 'shutdown', 'failed'],
      ['n4', 0, 'ready', 'ready'],
      ['n5', 0, 'shutdown', 'failed'],
    ]);
    expect(await withStatus()).toEqual({ RunningTasks: 1, DesiredTasks: 3, CompletedTasks: 1 });
  });
});

test('tasks say which run they are of, and only those of the present one are up to date', async () => {
  const id = await api.createService({ Name: 'job', Mode: { ReplicatedJob: {} } });
  await put(id, [[0, 0, 'complete', 'complete']]);
  const [first] = (await api.call('GET', '/tasks')).json as Record<string, unknown>[];
  expect(first).toMatchObject({ ServiceID: id, DesiredState: 'complete', JobIteration: {} });
  expect(first).not.toHaveProperty('Slot');
  const upToDate = async () =>
    ((await api.call('GET', `/tasks?${filters({ '_up-to-date': ['true'] })}`)).json as Shown[]).length;
  expect(await upToDate()).toBe(1);
  await update(id, { Labels: { only: 'a label' } });
  expect(await upToDate()).toBe(0);
});
