/** What nodes share, followed from change to change: the same as made of the whole, and no dearer than what changes. */
import { describe, expect, test } from 'vitest';
import type { NodeAssignments } from '../../../src/controlplane/dispatcher/assignments.js';
import { changesBetween, nodeAssignments } from '../../../src/controlplane/dispatcher/assignments.js';
import type { SharedAssignments } from '../../../src/controlplane/dispatcher/shared-assignments.js';
import { followShared } from '../../../src/controlplane/dispatcher/followed-assignments.js';
import { sharedAssignments } from '../../../src/controlplane/dispatcher/shared-assignments.js';
import type { Assignment } from '../../../src/controlplane/rpc/assignment.js';
import { applyChanges } from '../../../src/controlplane/rpc/assignment.js';
import type { Change, Store, View } from '../../../src/controlplane/store/store.js';
import type { Cidr, Ip, Mac } from '../../../src/model/addresses.js';
import type { NetworkId, NodeId, TaskId, Vni } from '../../../src/model/ids.js';
import type { Network, Node, Service, Task } from '../../../src/model/objects.js';
import type { TaskState } from '../../../src/model/task-state.js';
import { taskStates } from '../../../src/model/task-state.js';
import { assignmentsFor } from '../../support/assignments.js';
import {
  attachment,
  network,
  node,
  seededNumbers,
  service,
  storeOf,
  task,
} from '../../support/cluster-objects.js';

const networkIds = ['ingress', 'mynet', 'other'] as const;
const mac = '02:00:00:00:00:01' as Mac;
const allocated = (id: string): Network => ({
  ...network(id, { ingress: id === 'ingress' }),
  allocation: { vni: 4097 as Vni, subnet: '10.0.0.0/16' as Cidr, gateway: '10.0.0.1' as Ip },
});
const legs = (ids: readonly string[], host: number) =>
  ids.map((id) => ({
    networkId: id as NetworkId,
    address: `10.0.${host >> 8}.${host & 255}` as Ip,
    prefixLength: 16,
    mac,
    aliases: [],
  }));
const member = (id: string, host: number, ids: readonly string[] = networkIds): Node => ({
  ...node(id),
  dataPathAddr: `192.0.2.${host}` as Ip,
  attachments: legs(ids, host),
});
const published = (name: string, publishedPort: number, vip: number): Service => ({
  ...service(name),
  endpoint: {
    spec: { mode: 'vip', ports: [] },
    ports: [{ protocol: 'tcp', targetPort: 80, publishedPort, publishMode: 'ingress' }],
    virtualIps: (['ingress', 'mynet'] as const).map((id) => ({
      networkId: id as NetworkId,
      address: `10.0.200.${vip}` as Ip,
      prefixLength: 16,
    })),
  },
});
const taskOf = (of: Service, id: string, state: TaskState, on: string, host: number): Task => ({
  ...task(id, of, state, { node: on, networks: legs(['ingress', 'mynet'], host) }),
  ...(of.endpoint && { endpoint: of.endpoint }),
});

/** Follows a store as the dispatcher does. */
class Follower {
  shared: SharedAssignments;
  #changes: Change[] = [];

  constructor(readonly store: Store) {
    this.shared = sharedAssignments(store.view());
    store.subscribe(({ changes }) => this.#changes.push(...changes));
  }

  follow(view: View = this.store.view()): SharedAssignments {
    this.shared = followShared(this.shared, this.#changes, view);
    this.#changes = [];
    return this.shared;
  }
}

describe('followed', () => {
  test.each([1, 2, 3, 4, 5, 6])('they are those of the whole, whatever changes (seed %i)', async (seed) => {
    const next = seededNumbers(seed);
    const below = (limit: number): number => Math.floor(next() * limit);
    const pick = <T>(from: readonly T[]): T => from[below(from.length)] as T;
    const services = [published('api', 8080, 1), published('web', 8081, 2)];
    const store = await storeOf({
      node: ['n1', 'n2', 'n3'].map((id, index) => member(id, 11 + index)),
      network: networkIds.map(allocated),
      service: services,
      task: services.flatMap((of, index) => [
        taskOf(of, `${of.id}1`, 'running', 'n1', 20 + index),
        taskOf(of, `${of.id}2`, 'running', 'n2', 30 + index),
      ]),
    });
    const follower = new Follower(store);
    let known: NodeAssignments | null = null;
    let held = new Map<string, Assignment>();
    let kept = 0;
    for (let step = 0; step < 150; step++) {
      for (let some = 1 + below(3); some > 0; some--)
        await store.update((tx) => {
          const one = tx.list('task').length > 0 ? pick(tx.list('task')) : undefined;
          const host = pick(tx.list('node'));
          const of = tx.list('service').length > 0 ? pick(tx.list('service')) : undefined;
          const steps: readonly (() => void)[] = [
            () => one && tx.delete('task', one.id),
            () =>
              of &&
              tx.create('task', taskOf(of, `t${step}-${some}`, 'assigned', pick(['n1', 'n2']), 40 + step)),
            () =>
              one &&
              tx.update('task', {
                ...one,
                status: { ...one.status, state: pick(Object.keys(taskStates) as TaskState[]) },
              }),
            () => one && tx.update('task', { ...one, status: { ...one.status, state: 'running' } }),
            () => one && tx.update('task', { ...one, desiredState: 'shutdown' }),
            () =>
              tx.update('node', {
                ...host,
                attachments: legs(
                  networkIds.filter(() => next() < 0.7),
                  10 + below(3),
                ),
              }),
            () =>
              tx.update('node', {
                ...host,
                spec: { ...host.spec, labels: { 'skep.lb.weight': String(1 + below(9)) } },
              }),
            () => tx.update('node', { ...host, status: { ...host.status, state: pick(['down', 'ready']) } }),
            () =>
              of &&
              tx.update('service', {
                ...of,
                spec: { ...of.spec, labels: { 'skep.lb.weight': String(1 + below(9)) } },
              }),
            () =>
              of &&
              next() < 0.3 &&
              tx.update('service', {
                ...of,
                endpoint: published('', 8080 + below(4), 1 + below(4)).endpoint!,
              }),
            () => of && next() < 0.2 && tx.delete('service', of.id),
            () =>
              tx.list('service').length < 2 &&
              tx.create('service', published(`s${step}-${some}`, 8080 + below(4), 1 + below(4))),
            () => {
              const other = tx.get('network', 'other' as NetworkId);
              if (!other || next() > 0.3) return;
              const { allocation, ...bare } = other;
              tx.update(
                'network',
                allocation ? bare : { ...other, allocation: allocated('other').allocation! },
              );
            },
            () => {
              // Containers on two networks, their attachments made and removed in any order.
              const on = pick(['n1', 'n2']);
              const container = `c0ffee${on}${below(2)}`.padEnd(64, '0');
              const leg = {
                networkId: pick(['mynet', 'other']),
                address: `10.0.9.${1 + below(9)}`,
                aliases: [],
              };
              const bound = { containerId: container, containerName: 'box', nameservers: [] };
              tx.create('task', attachment(`a${step}-${some}`, on, leg, bound));
            },
          ];
          pick(steps)();
        });
      const view = store.view();
      const before = follower.shared;
      const shared = follower.follow();
      const whole = sharedAssignments(view);
      expect(new Map([...shared.byNetwork].map(([id, list]) => [id, [...list]]))).toEqual(
        new Map([...whole.byNetwork].map(([id, list]) => [id, [...list]])),
      );
      expect([...shared.publishedPorts]).toEqual([...whole.publishedPorts]);
      if ([...before.byNetwork].some(([id, list]) => shared.byNetwork.get(id) === list)) kept += 1;

      const after = nodeAssignments(view, 'n1' as NodeId, shared);
      const changes = changesBetween(known, after, 'n1' as NodeId);
      held = applyChanges(held, changes);
      expect(
        changes.filter(({ assignment: { kind, item } }) => kind === 'peer' && item.nodeId === 'n1'),
      ).toEqual([]);
      const wanted = assignmentsFor(view, 'n1' as NodeId);
      expect([...held.keys()].sort()).toEqual([...wanted.keys()].sort());
      // A task's report coming back is not said again.
      for (const [key, assignment] of wanted)
        if (assignment.kind !== 'task') expect(held.get(key)).toEqual(assignment);
      known = after;
    }
    expect(kept).toBeGreaterThan(20);
  });
});

describe('among thousands of tasks', () => {
  /** The store's view, with a count of what is read. */
  function counted(view: View): { readonly view: View; readonly reads: () => number } {
    let reads = 0;
    const count = <T>(found: T): T => {
      reads += Array.isArray(found) ? found.length : 1;
      return found;
    };
    return {
      view: {
        revision: view.revision,
        get: (kind, id) => count(view.get(kind, id)),
        list: (kind) => count(view.list(kind)),
        cluster: () => view.cluster(),
        tasksOfService: (id) => count(view.tasksOfService(id)),
        tasksOnNode: (id) => count(view.tasksOnNode(id)),
        servicesOfTasks: () => view.servicesOfTasks(),
        waitingTasks: () => count(view.waitingTasks()),
        byName: (kind, name) => count(view.byName(kind, name)),
      },
      reads: () => reads,
    };
  }

  const world = (tasks: number): Promise<Store> => {
    const services = Array.from({ length: tasks / 10 }, (_, index) =>
      published(`s${index}`, 9000 + index, 1),
    );
    return storeOf({
      node: Array.from({ length: 20 }, (_, index) => member(`n${index}`, 11 + index)),
      network: networkIds.map(allocated),
      service: services,
      task: Array.from({ length: tasks }, (_, index) =>
        taskOf(
          services[index % services.length]!,
          `t${index}`,
          'running',
          `n${1 + (index % 19)}`,
          1_000 + index,
        ),
      ),
    });
  };

  test.each([200, 4_000])(
    'a task that stops serving costs a few reads and says two things (among %i)',
    async (tasks) => {
      const store = await world(tasks);
      const follower = new Follower(store);
      const self = 'n0' as NodeId; // runs none of them
      const before = nodeAssignments(store.view(), self, follower.shared);
      const other = follower.shared.byNetwork.get('other' as NetworkId);
      await store.update((tx) => {
        const one = tx.get('task', 't7' as TaskId);
        if (one) tx.update('task', { ...one, desiredState: 'shutdown' });
      });
      const { view, reads } = counted(store.view());
      const shared = follower.follow(view);
      const changes = changesBetween(before, nodeAssignments(view, self, shared), self);
      expect(
        changes.map(({ remove, assignment: { kind, item } }) => [
          remove,
          kind,
          kind === 'endpoint' && item.serving,
        ]),
      ).toEqual([
        [false, 'endpoint', false],
        [false, 'endpoint', false],
      ]);
      expect(shared.byNetwork.get('other' as NetworkId)).toBe(other);
      expect(reads()).toBeLessThan(25);
    },
  );
});
