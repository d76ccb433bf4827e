/** The agent's worker as the agent wires it, on a test's engine, with what it reported. */
import { expect } from 'vitest';
import { ContainerController } from '../../src/controlplane/agent/task-controller.js';
import { LegWatch } from '../../src/controlplane/agent/leg-watch.js';
import { LocalNetworks } from '../../src/controlplane/agent/local-networks.js';
import type { TaskNetwork } from '../../src/controlplane/agent/node-network.js';
import { HostPayloadFiles } from '../../src/controlplane/agent/payload-files.js';
import { NodePayloads } from '../../src/controlplane/agent/task-payloads.js';
import { watchHostProcess } from '../../src/controlplane/agent/process-watch.js';
import type { TaskReport } from '../../src/controlplane/agent/task-runner.js';
import { TaskImages } from '../../src/controlplane/agent/task-images.js';
import { TaskWorker } from '../../src/controlplane/agent/worker.js';
import type { Engine } from '../../src/controlplane/dockerd/client.js';
import { ContainerEvents } from '../../src/controlplane/dockerd/events.js';
import { nothingAllowed } from '../../src/model/host-access.js';
import type { NodeId, TaskId } from '../../src/model/ids.js';
import type { Task } from '../../src/model/objects.js';
import type { ContainerSpec } from '../../src/model/service-spec.js';
import { emptyContainer } from '../../src/model/service-spec.js';
import { systemClock } from '../../src/runtime/clock.js';
import { createLog } from '../../src/runtime/log.js';

export const nodeId = 'node00000000000000000000x' as NodeId;
export const log = createLog('test');
log.level = process.env['SKEP_LOG'] ?? 'silent';

const none = (): never => expect.fail('a task without networks asked for one');
const noNetwork: TaskNetwork = {
  overlays: none,
  knownOverlays: () => new Map(),
  endpointsProgrammed: async () => undefined,
  sandboxProgrammed: none,
  drained: none,
  requireEsp: none,
  ended: () => undefined,
};

/** A worker and its events, as the agent wires them, and what it reported. */
export class RunningWorker {
  readonly reports: { taskId: TaskId; report: TaskReport; atMs: number }[] = [];
  readonly worker: TaskWorker;
  readonly #stop = new AbortController();
  readonly #watching: Promise<unknown>;
  readonly #waiters = new Set<() => void>();

  /** What tasks are given as files. */
  readonly payloads = new NodePayloads();

  /** @param tasksDir where the files of secrets and configs are; by default nowhere */
  constructor(
    engine: Engine,
    network: TaskNetwork = noNetwork,
    allowance = nothingAllowed,
    tasksDir = '/nonexistent',
  ) {
    const common = { clock: systemClock, log };
    const events = new ContainerEvents(engine, common);
    const legWatch = new LegWatch({ nodeId, engine, ...common });
    this.#watching = Promise.all([events, legWatch].map((one) => one.run(this.#stop.signal)));
    const localNetworks = new LocalNetworks(engine, log);
    const images = new TaskImages({ engine, preferOffline: false, log });
    const { payloads } = this;
    const payloadFiles = new HostPayloadFiles(tasksDir);
    const node = () => ({
      id: nodeId,
      hostname: 'host-1',
      platform: { architecture: 'x86_64', os: 'linux' },
    });
    this.worker = new TaskWorker({
      nodeId,
      engine,
      localNetworks,
      payloadFiles,
      controllerFor: (task, calls) =>
        new ContainerController(
          task,
          {
            ...{ engine, events, legWatch, network, localNetworks, images, payloads, payloadFiles },
            ...{ node, allowance, watchProcess: watchHostProcess(log), ...common },
          },
          calls,
        ),
      report: (taskId, report) => {
        this.reports.push({ taskId, report, atMs: Date.now() });
        for (const wake of this.#waiters) wake();
      },
      ...common,
    });
  }

  states(id: TaskId): string[] {
    return this.reports.filter(({ taskId }) => taskId === id).map(({ report }) => report.state);
  }

  /** The first report of that state; fails after 15 s. */
  async until(id: TaskId, state: string): Promise<{ report: TaskReport; atMs: number }> {
    const found = (): { report: TaskReport; atMs: number } | undefined =>
      this.reports.find(({ taskId, report }) => taskId === id && report.state === state);
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        const hit = found();
        if (!hit) return;
        this.#waiters.delete(settle);
        clearTimeout(timer);
        resolve(hit);
      };
      const timer = setTimeout(
        () => reject(new Error(`no ${state}, only ${JSON.stringify(this.reports)}`)),
        15_000,
      );
      this.#waiters.add(settle);
      settle();
    });
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error('test over'));
    await this.worker.close();
    await this.#watching;
  }
}

let count = 0;
export function makeTask(container: Partial<ContainerSpec>, more: Partial<Task> = {}): Task {
  count += 1;
  return {
    id: `task${count}`.padEnd(25, '0') as TaskId,
    version: 1,
    createdAtMs: 0,
    updatedAtMs: 0,
    serviceId: 'service000000000000000000',
    serviceName: 'web',
    serviceLabels: { tier: 'front' },
    slot: count,
    nodeId,
    specVersion: 1,
    desiredState: 'running',
    status: { timestampMs: 0, appliedAtMs: 0, state: 'assigned', message: '' },
    networks: [],
    spec: {
      forceUpdate: 0,
      container: {
        ...emptyContainer,
        image: 'busybox:test',
        args: ['sleep', '600'],
        ...container,
      },
    },
    ...more,
  } as Task;
}
