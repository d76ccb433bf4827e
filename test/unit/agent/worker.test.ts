/** The worker between a manager and its tasks' runners. */
import { pino } from 'pino';
import { expect, test } from 'vitest';
import type { TaskController } from '../../../src/controlplane/agent/task-controller.js';
import { TaskWorker } from '../../../src/controlplane/agent/worker.js';
import type { NodeId, TaskId } from '../../../src/model/ids.js';
import { systemClock } from '../../../src/runtime/clock.js';
import { service, task } from '../../support/cluster-objects.js';

const web = service('web');

const container = { id: 'c1', pid: 1, exitCode: 0, ports: [] };

/** Of a container that runs until it is told to stop. */
const controller: TaskController = {
  container: async () => undefined,
  prepare: async () => container,
  start: async () => container,
  wait: (signal) =>
    new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error))),
  shutdown: async () => undefined,
  release: async () => undefined,
  remove: async () => undefined,
};

test.each<[string, string[], string[]]>([
  [
    'what ran and what ended is told again: no manager may have heard of it',
    [],
    ['ran running', 'ended shutdown'],
  ],
  ['what is started anew is told of when it runs', ['ran'], ['ended shutdown']],
])('after a restart %s', async (_, again, told) => {
  const reports: string[] = [];
  const worker = new TaskWorker({
    nodeId: 'n1' as NodeId,
    engine: { listContainers: async () => [], removeContainer: async () => undefined },
    localNetworks: { sweep: async () => undefined },
    payloadFiles: { list: async () => [], remove: async () => undefined },
    controllerFor: () => controller,
    report: (id, { state }) => reports.push(`${id} ${state}`),
    clock: systemClock,
    log: pino({ enabled: false }),
  });
  worker.resume(
    [task('ran', web, 'running', { node: 'n1' }), task('ended', web, 'shutdown', { node: 'n1' })],
    new Set(again as TaskId[]),
  );
  expect(reports).toEqual(told);
  await worker.close();
});
