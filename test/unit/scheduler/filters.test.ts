import { describe, expect, test } from 'vitest';
import { explain, failingFilter, filters } from '../../../src/controlplane/scheduler/filters.js';
import { NodeLoad } from '../../../src/controlplane/scheduler/node-load.js';
import type { Node, Service, Task } from '../../../src/model/objects.js';
import type { Placement, TaskSpec } from '../../../src/model/service-spec.js';
import { node, ports, service, task, taskSpec } from '../../support/cluster-objects.js';

const noPlacement: Placement = { constraints: [], preferences: [], maxReplicas: 0, platforms: [] };
const placed = (placement: Partial<Placement>): Partial<TaskSpec> => ({
  placement: { ...noPlacement, ...placement },
});
const reserving = (nanoCpus: number, memoryBytes: number): Partial<TaskSpec> => ({
  resources: { reservations: { nanoCpus, memoryBytes } },
});
const gpus = ['a', 'b'].map((name) => ({ kind: 'gpu', name }));
const wanting = (count: number): Partial<TaskSpec> => ({
  resources: {
    reservations: { nanoCpus: 0, memoryBytes: 0, genericResources: [{ kind: 'gpu', count }] },
  },
});
const volume = (driver: string): Partial<TaskSpec> => ({
  container: {
    ...taskSpec().container,
    mounts: [
      {
        type: 'volume',
        source: 'v',
        target: '/v',
        readOnly: false,
        volumeOptions: { driverConfig: { name: driver, options: {} } },
      },
    ],
  },
});
const withPlugins = (...plugins: { type: string; name: string }[]): Node => {
  const plain = node('n1');
  return {
    ...plain,
    description: {
      ...(plain.description as NonNullable<Node['description']>),
      engine: { engineVersion: '', labels: {}, plugins },
    },
  };
};
const allowing = (what: string): Node => {
  const plain = withPlugins();
  const description = plain.description as NonNullable<Node['description']>;
  return {
    ...plain,
    description: { ...description, engine: { ...description.engine, labels: { 'skep.allow': what } } },
  };
};
const withoutDescription = ({ description: _, ...rest }: Node): Node => rest;
const web = service('web');
const hostPort = service('web', { endpointSpec: ports([80, 8080, 'tcp', 'host']) });

const judge = (of: Service, on: Node, there: readonly Task[] = []): string | undefined =>
  failingFilter(task('new', of, 'pending'), new NodeLoad(on, there, 0))?.explain(1);
const made = (spec: Partial<TaskSpec>): Service => service('web', { taskTemplate: taskSpec(spec) });

describe('failingFilter', () => {
  test.each<[string, Service, Node, readonly Task[], string | undefined]>([
    ['all is well', web, node('n1'), [], undefined],
    [
      'host access that the node does not allow',
      service('web', { labels: { 'skep.privileged': 'true' } }),
      allowing('shm-size'),
      [],
      'host access not allowed on 1 node',
    ],
    [
      'host access that it allows',
      service('web', { labels: { 'skep.privileged': 'true', 'skep.devices': '/dev/fuse' } }),
      allowing('privileged,devices=/dev/f*'),
      [],
      undefined,
    ],
    ['node down', web, node('n1', { state: 'down' }), [], '1 node not available for new tasks'],
    ['node drained', web, node('n1', { availability: 'drain' }), [], '1 node not available for new tasks'],
    ['node unknown', web, node('n1', { state: 'unknown' }), [], '1 node not available for new tasks'],
    ['CPU', made(reserving(5e9, 0)), node('n1'), [], 'insufficient resources on 1 node'],
    ['all the memory there is', made(reserving(0, 2 ** 32)), node('n1'), [], undefined],
    [
      'memory that another task has reserved',
      made(reserving(0, 2 ** 32)),
      node('n1'),
      [task('t', made(reserving(0, 1)), 'running')],
      'insufficient resources on 1 node',
    ],
    [
      'memory of a task that has stopped',
      made(reserving(0, 2 ** 32)),
      node('n1'),
      [task('t', made(reserving(0, 1)), 'failed')],
      undefined,
    ],
    [
      'nothing reserved where too much is',
      made(reserving(0, 0)),
      node('n1', { nanoCpus: 0 }),
      [task('t', made(reserving(1e9, 0)), 'running')],
      undefined,
    ],
    ['a resource by name', made(wanting(2)), node('n1', { genericResources: gpus }), [], undefined],
    [
      'more than have a name',
      made(wanting(3)),
      node('n1', { genericResources: gpus }),
      [],
      'insufficient resources on 1 node',
    ],
    ['a resource that no node has', made(wanting(1)), node('n1'), [], 'insufficient resources on 1 node'],
    [
      'a resource that another task has',
      made(wanting(2)),
      node('n1', { genericResources: gpus }),
      [task('t', made(wanting(1)), 'running', { assignedGenericResources: gpus.slice(0, 1) })],
      'insufficient resources on 1 node',
    ],
    [
      'a resource of a task that has ended',
      made(wanting(2)),
      node('n1', { genericResources: gpus }),
      [task('t', made(wanting(1)), 'complete', { assignedGenericResources: gpus.slice(0, 1) })],
      undefined,
    ],
    [
      'a resource of a task that is being stopped',
      made(wanting(2)),
      node('n1', { genericResources: gpus }),
      [
        task('t', made(wanting(1)), 'running', {
          assignedGenericResources: gpus.slice(0, 1),
          desiredState: 'shutdown',
        }),
      ],
      'insufficient resources on 1 node',
    ],
    ['local volume', made(volume('local')), node('n1'), [], undefined],
    ['volume driver', made(volume('nfs')), node('n1'), [], 'missing plugin on 1 node'],
    [
      'volume driver on a node that has not said what it has',
      made(volume('nfs')),
      withoutDescription(node('n1')),
      [],
      undefined,
    ],
    [
      'volume driver, tagged',
      made(volume('nfs')),
      withPlugins({ type: 'Volume', name: 'nfs:latest' }),
      [],
      undefined,
    ],
    [
      'log driver on a node that names none',
      made({ logDriver: { name: 'x', options: {} } }),
      node('n1'),
      [],
      undefined,
    ],
    [
      'log driver',
      made({ logDriver: { name: 'x', options: {} } }),
      withPlugins({ type: 'Log', name: 'json-file' }),
      [],
      'missing plugin on 1 node',
    ],
    [
      'constraint',
      made(placed({ constraints: ['node.labels.a==b'] })),
      node('n1'),
      [],
      'scheduling constraints not satisfied on 1 node',
    ],
    [
      'platform by its other name',
      made(placed({ platforms: [{ architecture: 'amd64', os: 'linux' }] })),
      node('n1'),
      [],
      undefined,
    ],
    [
      'platform',
      made(placed({ platforms: [{ architecture: 'arm64', os: 'linux' }] })),
      node('n1'),
      [],
      'unsupported platform on 1 node',
    ],
    [
      'host port',
      hostPort,
      node('n1'),
      [task('t', hostPort, 'starting')],
      'host-mode port already in use on 1 node',
    ],
    ['host port of a stopped task', hostPort, node('n1'), [task('t', hostPort, 'shutdown')], undefined],
    [
      'replicas per node',
      made(placed({ maxReplicas: 1 })),
      node('n1'),
      [task('t', web, 'running')],
      'max replicas per node limit exceed',
    ],
    [
      'the first failure counts',
      made({ ...placed({ constraints: ['node.labels.a==b'] }), ...reserving(5e9, 0) }),
      node('n1'),
      [],
      'insufficient resources on 1 node',
    ],
  ])('%s', (_, of, on, there, expected) => {
    expect(judge(of, on, there)).toBe(expected);
  });
});

test('explain puts the most frequent reason first', () => {
  const [ready, resources] = filters;
  if (!ready || !resources) throw new Error('no filters');
  expect(explain([ready, resources, resources])).toBe(
    'insufficient resources on 2 nodes; 1 node not available for new tasks',
  );
  expect(explain([])).toBe('');
});
