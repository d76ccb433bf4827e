/**
 * The life of a number of tasks: their services created, updated in rolling fashion and removed; how long each took, and what
 * the manager spent on it.
 */
import { maxWrites } from '../../src/controlplane/store/store.js';
import type { Change, Store, Transaction } from '../../src/controlplane/store/store.js';
import type { ServiceId } from '../../src/model/ids.js';
import type { Task } from '../../src/model/objects.js';
import { atLeast, isTerminal } from '../../src/model/task-state.js';
import { systemClock } from '../../src/runtime/clock.js';
import { Waiters } from '../../src/runtime/waiters.js';
import { service, taskSpec } from '../../test/support/cluster-objects.js';
import { heapBytes } from '../../test/support/heap.js';
import type { Manager } from './manager.js';

/** How tasks are spread over services: all in one, or 20 in each. */
export type Shape = 'one service' | 'services of 20';

/** The seconds are from the change until all tasks were so. */
export interface Life {
  readonly tasks: number;
  readonly assignedSeconds: number;
  readonly runningSeconds: number;
  readonly updatedSeconds: number;
  readonly removedSeconds: number;
  /** Processor time of the manager with its simulated nodes, and of etcd, from the creation to the removal. */
  readonly managerSeconds: number;
  readonly etcdSeconds: number;
  /** Of the manager, the highest seen. */
  readonly residentBytesMax: number;
  /** After a collection of garbage: before the creation, and with all tasks running. */
  readonly heapBytesBefore: number;
  readonly heapBytesRunning: number;
}

export interface LifeOptions {
  readonly shape: Shape;
  readonly tasks: number;
  /** For each of the four parts of a life; it fails beyond. */
  readonly partMsMax: number;
}

export async function liveOnce(manager: Manager, { shape, tasks, partMsMax }: LifeOptions): Promise<Life> {
  const { store } = manager;
  const replicas = shape === 'one service' ? tasks : Math.min(20, tasks);
  const ids = Array.from({ length: tasks / replicas }, (_, i) => `service${i}` as ServiceId);
  const [managerBefore, etcdBefore] = [managerSeconds(), await manager.etcdSeconds()];
  const heapBytesBefore = heapBytes();
  using resident = new ResidentMax();
  using tally = new Tally(store);
  const timed = async (change: (tx: Transaction, id: ServiceId) => void) => {
    const startedMs = systemClock.steadyMs();
    for (let i = 0; i < ids.length; i += maxWrites)
      await store.update((tx) => ids.slice(i, i + maxWrites).forEach((id) => change(tx, id)));
    return async (holds: () => boolean): Promise<number> => {
      await tally.until(holds, partMsMax);
      return (systemClock.steadyMs() - startedMs) / 1_000;
    };
  };

  const created = await timed((tx, id) => tx.create('service', serviceOf(id, replicas)));
  const assignedSeconds = await created(() => tally.assigned === tasks);
  const runningSeconds = await created(() => tally.running === tasks);
  const heapBytesRunning = heapBytes();

  const updated = await timed((tx, id) => {
    const { updateStatus: _, ...known } = tx.get('service', id) ?? serviceOf(id, replicas);
    const { spec: previousSpec, specVersion: previousSpecVersion } = known;
    const spec = { ...previousSpec, taskTemplate: taskSpec({}, 'image:2') };
    tx.update('service', { ...known, spec, specVersion: tx.revision, previousSpec, previousSpecVersion });
  });
  const updatedSeconds = await updated(() => tally.completed === ids.length);

  const removed = await timed((tx, id) => tx.delete('service', id));
  const removedSeconds = await removed(() => tally.tasks === 0);
  return {
    ...{ tasks, assignedSeconds, runningSeconds, updatedSeconds, removedSeconds },
    managerSeconds: managerSeconds() - managerBefore,
    etcdSeconds: (await manager.etcdSeconds()) - etcdBefore,
    ...{ residentBytesMax: resident.bytes, heapBytesBefore, heapBytesRunning },
  };
}

/** A tenth of its tasks is updated at a time. */
const serviceOf = (id: ServiceId, replicas: number) =>
  service(id, {
    mode: { kind: 'replicated', replicas },
    updateConfig: {
      ...{ parallelism: Math.max(1, replicas / 10), delayNs: 0, monitorNs: 100_000_000 },
      ...{ failureAction: 'pause', maxFailureRatio: 0, order: 'stop-first' },
    },
  });

/** Counts tasks by what changes, so that looking costs what it looks at nothing. */
class Tally implements Disposable {
  tasks = 0;
  assigned = 0;
  running = 0;
  /** Services whose update is. */
  completed = 0;
  readonly #waiters = new Waiters();
  readonly #unsubscribe: () => void;

  constructor(store: Store) {
    this.#unsubscribe = store.subscribe(({ changes }) => {
      for (const change of changes) this.#take(change);
      this.#waiters.check();
    });
  }

  until(holds: () => boolean, timeoutMs: number): Promise<void> {
    return this.#waiters.until(holds, AbortSignal.timeout(timeoutMs));
  }

  [Symbol.dispose](): void {
    this.#unsubscribe();
  }

  #take(change: Change): void {
    const { previous, current } = change;
    if (change.kind === 'task') {
      const differs = (holds: (task: Task) => boolean): number =>
        Number(change.current !== undefined && holds(change.current)) -
        Number(change.previous !== undefined && holds(change.previous));
      this.tasks += Number(current !== undefined) - Number(previous !== undefined);
      this.assigned += differs(
        ({ status }) => atLeast(status.state, 'assigned') && !isTerminal(status.state),
      );
      this.running += differs(({ status }) => status.state === 'running');
    } else if (change.kind === 'service')
      this.completed +=
        Number(change.current?.updateStatus?.state === 'completed') -
        Number(change.previous?.updateStatus?.state === 'completed');
  }
}

/** Of this process; looked at four times a second. */
class ResidentMax implements Disposable {
  bytes = process.memoryUsage.rss();
  readonly #timer = setInterval(() => {
    this.bytes = Math.max(this.bytes, process.memoryUsage.rss());
  }, 250);

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

function managerSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000_000;
}
