import { expect, test } from 'vitest';
import { isTaskDirty } from '../../../src/model/service-laws.js';
import type { Service } from '../../../src/model/objects.js';
import { node, ports, service, task, taskSpec } from '../../support/cluster-objects.js';

const web = service('web', { taskTemplate: taskSpec() });
const placed = (...constraints: string[]): Partial<Service['spec']> => ({
  taskTemplate: taskSpec({ placement: { constraints, preferences: [], maxReplicas: 0, platforms: [] } }),
});
/** Spread, and at most two a node, where the node may be one too many for that already. */
const spread = {
  constraints: [],
  preferences: [{ spreadDescriptor: 'node.labels.zone' }],
  maxReplicas: 2,
  platforms: [],
};
const withAuth = (registryAuth: string): Partial<Service['spec']> => {
  const template = taskSpec();
  return { taskTemplate: { ...template, container: { ...template.container, registryAuth } } };
};

test.each<[string, Partial<Service['spec']>, boolean]>([
  ['nothing', {}, false],
  ['service labels', { labels: { a: 'b', 'skep.lb.scheduler': 'lc', 'skep.privileged': 'false' } }, false],
  ['labels of host access', { labels: { 'skep.devices': '/dev/fuse' } }, true],
  ['replicas', { mode: { kind: 'replicated', replicas: 9 } }, false],
  ['image', { taskTemplate: taskSpec({}, 'image:2') }, true],
  ['force update', { taskTemplate: taskSpec({ forceUpdate: 1 }) }, true],
  [
    'restart policy',
    { taskTemplate: taskSpec({ restartPolicy: { condition: 'none', maxAttempts: 0, windowNs: 0 } }) },
    true,
  ],
  ['published port', { endpointSpec: ports([80, 8080]) }, true],
  ['constraint that the node meets', placed('node.role==worker'), false],
  ['constraint that the node fails', placed('node.role==manager'), true],
  ['preferences and replicas per node', { taskTemplate: taskSpec({ placement: spread }) }, false],
  ['registry credentials of a running task', withAuth('x'), false],
])('a change of %s: dirty %s', (_, change, dirty) => {
  const updated = service('web', { ...web.spec, ...change }, { specVersion: 2 });
  expect(isTaskDirty(updated, task('t', web, 'running', { node: 'n1' }), node('n1'))).toBe(dirty);
});

test('registry credentials matter to a task that has yet to pull', () => {
  const updated = service('web', { ...web.spec, ...withAuth('x') }, { specVersion: 2 });
  expect(isTaskDirty(updated, task('t', web, 'pending'), undefined)).toBe(true);
});
