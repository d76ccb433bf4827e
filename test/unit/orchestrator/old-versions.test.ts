/** Which old versions of secrets and configs are deleted. */
import { expect, test } from 'vitest';
import { planOldVersions } from '../../../src/controlplane/orchestrator/old-versions.js';
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
  const { writes } = planOldVersions(await viewOf({ ...objects, ...given }), 0);
  expect(writes.map((write) => write.op === 'delete' && write.id)).toEqual(deleted);
});
