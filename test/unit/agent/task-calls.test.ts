/** What a task asks of its engine from its assignment until it runs: thirty replicas ask it thirty times, on each deployment. */
import { expect, test } from 'vitest';
import { ContainerController } from '../../../src/controlplane/agent/task-controller.js';
import type { ControllerParts } from '../../../src/controlplane/agent/task-controller.js';
import { NodePayloads } from '../../../src/controlplane/agent/task-payloads.js';
import { TaskRunner } from '../../../src/controlplane/agent/task-runner.js';
import type { TaskReport } from '../../../src/controlplane/agent/task-runner.js';
import type { ContainerView } from '../../../src/controlplane/dockerd/client.js';
import { EngineError } from '../../../src/controlplane/dockerd/client.js';
import { nothingAllowed } from '../../../src/model/host-access.js';
import { taskLabels } from '../../../src/model/task-labels.js';
import type { Ip, Mac } from '../../../src/model/addresses.js';
import type { NetworkId, NodeId } from '../../../src/model/ids.js';
import { systemClock } from '../../../src/runtime/clock.js';
import { createLog } from '../../../src/runtime/log.js';
import { service, task } from '../../support/cluster-objects.js';

const log = createLog('test');
log.level = 'silent';

const overlay = { id: 'mynet', name: 'mynet', ingress: false, driverOptions: {} };
const leg = {
  ...{ networkId: 'mynet' as NetworkId, address: '10.0.1.5' as Ip, prefixLength: 24, aliases: [] },
  mac: '02:00:00:00:00:01' as Mac,
};
const web = { ...task('t1', service('web', {}), 'assigned', { node: 'n1' }), networks: [leg] };

const made: ContainerView = {
  ...{ id: 'c1', labels: { [taskLabels.taskId]: 't1' }, status: 'created', pid: 0, exitCode: 0 },
  ...{ health: null, ports: [], tty: false, networks: ['mynet'], dns: [], driverOptions: new Map() },
};

/** An engine that does what it is asked, and what it was asked. */
class FakeEngine {
  readonly asked: string[] = [];
  container: ContainerView | undefined;
  startFault: EngineError | undefined;
  readonly processes = new Map<number, () => void>();
  readonly #watchers = new Set<() => void>();

  /** How many wait for its events. */
  get watches(): number {
    return this.#watchers.size;
  }

  watch(wake: () => void): Disposable {
    this.#watchers.add(wake);
    return { [Symbol.dispose]: () => void this.#watchers.delete(wake) };
  }

  /** As the kernel does, at once. */
  watchProcess(pid: number, onEnd: () => void): Disposable {
    this.processes.set(pid, onEnd);
    return { [Symbol.dispose]: () => void this.processes.delete(pid) };
  }

  happen(over: Partial<ContainerView>): void {
    this.container = this.container && { ...this.container, ...over };
    for (const wake of this.#watchers) wake();
  }

  readonly calls: object = {
    container: async () => (this.asked.push('container'), this.container),
    connectedTo: async () => (this.asked.push('connectedTo'), ['c1']),
    createContainer: async () => {
      this.asked.push('createContainer');
      if (this.container) throw new EngineError('the container name is already in use', 409);
      this.container = made;
      return made.id;
    },
    removeContainer: async () => {
      this.asked.push('removeContainer');
      this.container = undefined;
    },
    startContainer: async () => {
      this.asked.push('startContainer');
      if (!this.container) throw new EngineError('No such container', 404);
      if (this.startFault) throw this.startFault;
      if (this.container) this.container = { ...this.container, status: 'running', pid: 7 };
    },
  };
}

function partsOf(engine: FakeEngine): ControllerParts {
  const nothing = { [Symbol.dispose]: () => undefined };
  return {
    ...{ engine: engine.calls, clock: systemClock, log, allowance: nothingAllowed },
    events: { watch: (_id: string, wake: () => void) => engine.watch(wake) },
    legWatch: { watch: () => nothing },
    watchProcess: (pid: number, onEnd: () => void) => engine.watchProcess(pid, onEnd),
    network: {
      overlays: async () => new Map([['mynet', overlay]]),
      knownOverlays: () => new Map([['mynet', overlay]]),
      requireEsp: () => undefined,
      endpointsProgrammed: async () => undefined,
      sandboxProgrammed: async () => undefined,
      drained: async () => undefined,
      ended: (taskId: string) => void engine.asked.push(`ended ${taskId}`),
    },
    localNetworks: { hold: () => undefined, ensure: async () => 'net', release: async () => undefined },
    images: { provide: async () => null },
    payloads: new NodePayloads(),
    payloadFiles: { directoryOf: () => '/run/t1', remove: async () => undefined },
    node: () => ({
      id: 'n1' as NodeId,
      hostname: 'node1',
      platform: { architecture: 'x86_64', os: 'linux' },
    }),
  } as unknown as ControllerParts;
}

test('its container is looked at for what may have changed, and not again for what a step has just seen', async () => {
  const engine = new FakeEngine();
  const reports: TaskReport[] = [];
  const runner = new TaskRunner(web, {
    controller: new ContainerController(web, partsOf(engine), {
      started: () => undefined,
      draining: () => undefined,
    }),
    report: (_, report) => void reports.push(report),
    ...{ clock: systemClock, log },
  });
  await expect.poll(() => reports.at(-1)?.state).toBe('running');
  // Whether an earlier agent made it; and what became of it when it was started.
  expect(engine.asked).toEqual(['container', 'createContainer', 'startContainer', 'container']);
  expect(reports.map(({ state, container }) => [state, container?.containerId, container?.pid])).toEqual([
    ['accepted', undefined, undefined],
    ['preparing', undefined, undefined],
    ['ready', 'c1', 0],
    ['starting', 'c1', 0],
    ['running', 'c1', 7],
  ]);
  // While it runs, what is known of it is believed until an event tells of it.
  expect(engine.watches).toBe(1);
  engine.happen({ status: 'exited' });
  await expect.poll(() => reports.at(-1)?.state).toBe('complete');
  expect(engine.asked).toHaveLength(6);
  expect(engine.watches).toBe(0);
  await runner.close();
});

test('one that an earlier agent made, and did not start, is made again', async () => {
  const engine = new FakeEngine();
  engine.container = { ...made, id: 'c0' };
  const controller = new ContainerController(web, partsOf(engine), {
    started: () => undefined,
    draining: () => undefined,
  });
  await controller.prepare(new AbortController().signal);
  expect(engine.asked).toEqual(['createContainer', 'container', 'removeContainer', 'createContainer']);
});

test('one that is gone when it is to be started is said to be, and another fault of starting is told', async () => {
  const signal = new AbortController().signal;
  const calls = { started: () => undefined, draining: () => undefined };
  const engine = new FakeEngine();
  const controller = new ContainerController(web, partsOf(engine), calls);
  await controller.prepare(signal);
  engine.container = undefined;
  await expect(controller.start(signal)).rejects.toThrow('dockerexec: container destroyed');
  await controller.prepare(signal);
  engine.startFault = new EngineError('exec: "nothing": executable file not found in $PATH', 404);
  await expect(controller.start(signal)).rejects.toThrow('starting container failed: exec: "nothing"');
  expect(engine.watches).toBe(0);
});

test('a task whose process has ended takes no more, long before the engine has cleaned up', async () => {
  const engine = new FakeEngine();
  const reports: TaskReport[] = [];
  const controller = new ContainerController(web, partsOf(engine), {
    started: () => undefined,
    draining: (container) => runner.drain(container),
  });
  const report = (_: unknown, one: TaskReport): void => void reports.push(one);
  const runner: TaskRunner = new TaskRunner(web, { controller, report, clock: systemClock, log });
  await expect.poll(() => [...engine.processes.keys()]).toEqual([7]);
  const asked = engine.asked.length;
  engine.processes.get(7)?.();
  await expect.poll(() => reports.at(-1)).toMatchObject({ state: 'running', draining: true });
  // This node's network knows first. The engine is not asked: it is known what the container was.
  expect(engine.asked.slice(asked)).toEqual(['ended t1']);
  expect(reports.at(-1)?.container?.containerId).toBe('c1');
  engine.happen({ status: 'exited', exitCode: 137 });
  await expect
    .poll(() => reports.at(-1))
    .toMatchObject({ state: 'failed', err: 'task: non-zero exit (137)' });
  expect(reports.at(-1)).not.toHaveProperty('draining');
  expect(engine.processes.size).toBe(0);
  await runner.close();
});
