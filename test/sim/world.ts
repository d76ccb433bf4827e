/**
 * A cluster without machines: the real planners on the memory store, agents that only move task states, users and
 * accidents drawn from a seed. Nothing waits: a step runs one planner, one agent or one event, and time is a number.
 */
import assert from 'node:assert';
import { isAttachment } from '../../src/model/attachments.js';
import type { ServiceId } from '../../src/model/ids.js';
import type { Node, Service, Task } from '../../src/model/objects.js';
import type { ServiceSpec } from '../../src/model/service-spec.js';
import type { TaskState } from '../../src/model/task-state.js';
import { atLeast, compareStates, isTerminal, taskStates } from '../../src/model/task-state.js';
import { deleteNode } from '../../src/controlplane/api/nodes.js';
import { controlLoops } from '../../src/controlplane/loops.js';
import { applyPlanner } from '../../src/controlplane/plan.js';
import type { MemoryStore } from '../../src/controlplane/store/memory.js';
import type { Transaction } from '../../src/controlplane/store/store.js';
import {
  FakeTime,
  cluster,
  network,
  node,
  ports,
  seededBytes,
  seededNumbers,
  serviceSpec,
  storeOf,
  taskSpec,
} from '../support/cluster-objects.js';
import { Containers } from './containers.js';
import { checkChange, checkView } from './laws.js';

const agentLadder: readonly TaskState[] = [
  'assigned',
  'accepted',
  'preparing',
  'ready',
  'starting',
  'running',
];

export class World {
  readonly #time = new FakeTime(1_000_000);
  readonly #next: () => number;
  readonly #loops;
  readonly #servicesMax: number;
  #named = 0;
  #faults = true;
  store!: MemoryStore;
  #containers!: Containers;

  private constructor(seed: number) {
    this.#next = seededNumbers(seed);
    this.#loops = controlLoops(seededBytes(seed + 1));
    this.#servicesMax = 6;
  }

  static async create(seed: number): Promise<World> {
    const world = new World(seed);
    const nodes = Array.from({ length: 3 + world.#int(3) }, (_, i) =>
      node(`node${i + 1}`, { labels: { rack: `r${i % 2}` } }),
    );
    world.store = await storeOf(
      {
        node: nodes,
        // Small subnets with the cursor near their end, so that addresses come round early.
        cluster: [{ ...cluster(), subnetSize: 26 }],
        network: [
          { ...network('ingress', { ingress: true }), addressCursor: 40 },
          { ...network('net1', { subnet: '10.9.0.0/26', attachable: true }), addressCursor: 50 },
        ],
      },
      world.#time,
    );
    world.#containers = new Containers(world.store, world.#next, seededBytes(seed + 2), world.#time.nowMs);
    world.store.subscribe(({ changes }) => changes.forEach(checkChange));
    return world;
  }

  /** One random step, then the laws. */
  async step(): Promise<void> {
    const dice = this.#next();
    if (dice < 0.45) await this.#runLoop(this.#pick(this.#loops).name);
    else if (dice < 0.8) await this.#runAgent(this.#pick(this.store.view().list('node')));
    else if (dice < 0.86) this.#time.ms += this.#int(3000);
    else if (dice < 0.92) await this.#containers.step();
    else if (dice < 0.97) await this.#userActs();
    else await this.#accident();
    checkView(this.store.view());
  }

  /** Ends all faults and runs until nothing changes. */
  async settle(): Promise<void> {
    this.#faults = false;
    await this.store.update((tx) => {
      for (const each of tx.list('node')) tx.update('node', healthy(each));
    });
    // Delays, monitoring and the wait for old tasks are all shorter than this many seconds together.
    for (let round = 0, quiet = 0; quiet < 70; round++) {
      assert(round < 2000, 'the cluster does not come to rest');
      const before = this.store.view().revision;
      for (const loop of this.#loops) await this.#runLoop(loop.name);
      for (const each of this.store.view().list('node')) await this.#runAgent(each);
      await this.#containers.settle();
      this.#time.ms += 1000;
      checkView(this.store.view());
      quiet = this.store.view().revision === before ? quiet + 1 : 0;
    }
  }

  /** What a cluster at rest looks like. */
  checkConverged(): void {
    const view = this.store.view();
    this.#containers.check();
    for (const service of view.list('service')) {
      const tasks = view.tasksOfService(service.id).filter((task) => task.desiredState === 'running');
      const { mode } = service.spec;
      const wanted = mode.kind === 'replicated' ? mode.replicas : view.list('node').length;
      for (const task of tasks) assert.equal(task.status.state, 'running', `${task.id} of ${service.id}`);
      const instances = new Set(tasks.map((task) => task.slot || task.nodeId)).size;
      assert.equal(instances, wanted, `${service.id} has ${instances} of ${wanted} instances`);
      const state = service.updateStatus?.state;
      assert(state !== 'updating' && state !== 'rollback_started', `${service.id} is still ${state}`);
      // A paused update is left as it stands: mixed, and with start-first both tasks in the slot that failed.
      if (state === 'paused' || state === 'rollback_paused') continue;
      assert.equal(tasks.length, wanted, `${service.id} has two tasks in one slot`);
      const images = new Set(tasks.map((task) => task.spec.container.image));
      assert(images.size <= 1, `${service.id} runs ${[...images].join(' and ')}`);
    }
    for (const task of view.list('task')) {
      if (isAttachment(task)) continue;
      assert(view.get('service', task.serviceId), `${task.id} outlived its service`);
      assert(task.desiredState !== 'ready', `${task.id} still waits`);
      // A record that never got its addresses was never anyone's to stop.
      const ended = isTerminal(task.status.state) || task.status.state === 'new';
      if (task.desiredState !== 'running') assert(ended, `${task.id} is still ${task.status.state}`);
    }
    for (const { id, attachments } of view.list('node')) {
      const used = view
        .tasksOnNode(id)
        .filter((task) => !isTerminal(task.status.state))
        .flatMap((task) => task.networks.map(({ networkId }) => networkId));
      const wanted = new Set<string>(['ingress', ...used]);
      assert.deepEqual(new Set(attachments.map(({ networkId }) => networkId as string)), wanted, id);
    }
  }

  #int(below: number): number {
    return Math.floor(this.#next() * below);
  }

  #pick<T>(items: readonly T[]): T {
    const item = items[this.#int(items.length)];
    assert(item !== undefined, 'nothing to pick from');
    return item;
  }

  async #runLoop(name: string): Promise<void> {
    const loop = this.#loops.find((each) => each.name === name);
    assert(loop);
    await applyPlanner(this.store, loop.plan, this.#time.nowMs);
  }

  /** Each task of a node that is up takes one step, or none. */
  async #runAgent({ id, status }: Node): Promise<void> {
    if (status.state === 'down') return;
    await this.store.update((tx) => {
      for (const task of tx.tasksOnNode(id)) {
        const state = this.#nextState(task);
        if (state && state !== task.status.state)
          tx.update('task', {
            ...task,
            status: {
              state,
              message: state,
              timestampMs: this.#time.ms,
              appliedAtMs: this.#time.ms,
            },
          });
      }
    });
  }

  #nextState(task: Task): TaskState | undefined {
    const { state } = task.status;
    if (isAttachment(task)) return undefined;
    if (isTerminal(state) || compareStates(state, 'assigned') < 0) return undefined;
    if (atLeast(task.desiredState, 'shutdown')) return this.#next() < 0.8 ? 'shutdown' : undefined;
    if (this.#faults && this.#next() < 0.02) return atLeast(state, 'starting') ? 'failed' : 'rejected';
    if (this.#faults && task.spec.container.image.endsWith('bad') && state === 'starting') return 'failed';
    if (this.#faults && state === 'running') return this.#next() < 0.02 ? 'complete' : undefined;
    if (state === 'ready' && taskStates[task.desiredState] < taskStates.running) return undefined;
    return agentLadder[agentLadder.indexOf(state) + 1];
  }

  async #userActs(): Promise<void> {
    const services = this.store.view().list('service');
    const dice = this.#next();
    if (services.length === 0 || (dice < 0.3 && services.length < this.#servicesMax)) {
      await this.store.update((tx) => this.#createService(tx));
    } else if (dice < 0.4) {
      const { id } = this.#pick(services);
      await this.store.update((tx) => tx.delete('service', id));
    } else {
      const { id } = this.#pick(services);
      await this.store.update((tx) => this.#updateService(tx, id));
    }
  }

  #createService(tx: Transaction): void {
    const name = `service${(this.#named += 1)}`;
    const order = this.#next() < 0.5 ? 'stop-first' : 'start-first';
    const failureAction = this.#pick(['pause', 'continue', 'rollback'] as const);
    const update = {
      parallelism: this.#int(3),
      delayNs: this.#int(2) * 1e9,
      failureAction,
      monitorNs: 5e9,
      maxFailureRatio: 0,
      order,
    } as const;
    const spec = serviceSpec(name, {
      mode: this.#next() < 0.2 ? { kind: 'global' } : { kind: 'replicated', replicas: this.#int(8) },
      taskTemplate: this.#template('image:1'),
      updateConfig: update,
      ...(this.#next() < 0.5 ? { endpointSpec: ports([80], [53, undefined, 'udp']) } : {}),
    });
    tx.create('service', { id: name as ServiceId, spec, specVersion: tx.revision });
  }

  #template(image: string): ServiceSpec['taskTemplate'] {
    return taskSpec(
      {
        networks: this.#next() < 0.6 ? [{ target: 'net1', aliases: [] }] : [],
        restartPolicy: {
          condition: 'any',
          delayNs: this.#int(3) * 1e9,
          maxAttempts: 0,
          windowNs: 0,
        },
      },
      image,
    );
  }

  #updateService(tx: Transaction, id: ServiceId): void {
    const service = tx.get('service', id);
    assert(service);
    const { spec, updateStatus: _, ...rest } = service;
    const dice = this.#next();
    const next: ServiceSpec =
      dice < 0.4 && spec.mode.kind === 'replicated'
        ? { ...spec, mode: { kind: 'replicated', replicas: this.#int(8) } }
        : dice < 0.8
          ? { ...spec, taskTemplate: this.#template(`image:${this.#next() < 0.15 ? 'bad' : this.#int(9)}`) }
          : {
              ...spec,
              endpointSpec: this.#pick([ports([80]), ports([80], [81]), { mode: 'dnsrr', ports: [] }]),
            };
    const updated: Service = {
      ...rest,
      spec: next,
      specVersion: tx.revision,
      previousSpec: spec,
      previousSpecVersion: service.specVersion,
    };
    tx.update('service', updated);
  }

  async #accident(): Promise<void> {
    const nodes = this.store.view().list('node');
    const { id, status } = this.#pick(nodes);
    const dice = this.#next();
    if (status.state === 'down' && nodes.length > 2 && this.#next() < 0.2) {
      await this.store.update((tx) => deleteNode(tx, { id }, this.#time.ms));
      this.#containers.forget(id);
      return;
    }
    await this.store.update((tx) => {
      const each = tx.get('node', id);
      assert(each);
      const isDown = each.status.state === 'down';
      const { availability } = each.spec;
      tx.update(
        'node',
        dice < 0.5
          ? { ...each, status: { ...each.status, state: isDown ? 'ready' : 'down' } }
          : {
              ...each,
              spec: {
                ...each.spec,
                availability: availability !== 'active' ? 'active' : dice < 0.8 ? 'drain' : 'pause',
              },
            },
      );
    });
  }
}

const healthy = (each: Node): Node => ({
  ...each,
  spec: { ...each.spec, availability: 'active' },
  status: { ...each.status, state: 'ready' },
});
