/** Which old versions of secrets and configs are deleted. */
import { expect, test } from 'vitest';
import { oldVersionsPlanner } from '../../../src/controlplane/orchestrator/old-versions.js';
import type { Plan } from '../../../src/controlplane/plan.js';
import { asOldVersion } from '../../../src/model/payload-versions.js';
import type { TaskState } from '../../../src/model/task-state.js';
import { payload, reference, service, task, taskSpec, viewOf } from '../../support/cluster-objects.js';

const template = taskSpec();
const using = (id: string) => ({
  taskTemplate: { ...template, container: { ...template.container, configs: [reference(id)] } },
});
const plain = { taskTemplate: template };
const labels = { 'skep.version-of': 'site' };
const site = payload<'config'>('old', 'one', { name: 'site', labels });
const objects = {
  config: [
    asOldVersion(site),
    payload<'config'>('new', 'two', { name: 'site', labels }),
    payload<'config'>('other'),
  ],
  secret: [payload<'secret'>('own', 'three')],
};

const deletedBy = ({ writes }: Plan): unknown[] => writes.map((write) => write.op === 'delete' && write.id);

test.each<[what: string, given: object, deleted: string[]]>([
  ['a service has it', { service: [service('web', using('old'))] }, []],
  [
    'a service would have it by its rollback',
    { service: [service('web', using('new'), { previousSpec: service('web', using('old')).spec })] },
    [],
  ],
  ...(['assigned', 'running', 'shutdown', 'failed'] as const).map(
    (state: TaskState): [string, object, string[]] => [
      `a task with it is ${state}`,
      {
        service: [service('web', plain)],
        task: [task('t1', service('web', using('old')), state, { node: 'n1' })],
      },
      ['assigned', 'running'].includes(state) ? [] : ['old'],
    ],
  ),
  ['nobody has it', {}, ['old']],
])('%s', async (_, given, deleted) => {
  const plan = oldVersionsPlanner();
  const view = await viewOf({ ...objects, ...given });
  expect(deletedBy(plan(view, 0)), 'not before it has been so for a while').toEqual([]);
  expect(deletedBy(plan(view, 20_000))).toEqual(deleted);
});

test('one that somebody lists as the last service with it goes can still be removed by him', async () => {
  const plan = oldVersionsPlanner();
  const used = await viewOf({ ...objects, service: [service('web', using('old'))] });
  const unused = await viewOf(objects);
  const none = plan(used, 0);
  expect([none.writes, none.wakeAtMs]).toEqual([[], undefined]);
  expect(plan(unused, 30_000)).toMatchObject({ writes: [], wakeAtMs: 50_000 });
  expect(deletedBy(plan(used, 45_000)), 'somebody has it again').toEqual([]);
  expect(plan(unused, 50_000)).toMatchObject({ writes: [], wakeAtMs: 70_000 });
  expect(deletedBy(plan(unused, 70_000))).toEqual(['old']);
});
