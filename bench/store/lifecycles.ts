/**
 * Lives of tasks, one after the other at full speed, on a real etcd: created, allocated and scheduled by the manager's own loops,
 * run and ended by an agent that only moves states, kept as history and reaped; with the manager's own upkeep beside it. Samples
 * say what the manager holds after so many of them.
 */
import assert from 'node:assert';
import { readFile } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { pino } from 'pino';
import { EtcdClient } from '../../src/controlplane/etcd/client.js';
import { EtcdLeases } from '../../src/controlplane/etcd/lease.js';
import { EtcdMembers } from '../../src/controlplane/etcd/members.js';
import { quotaBytesDefault } from '../../src/controlplane/etcd/arguments.js';
import { controlLoops } from '../../src/controlplane/loops.js';
import { applyPlanner } from '../../src/controlplane/plan.js';
import { EtcdStore } from '../../src/controlplane/store/etcd.js';
import { holdPresence } from '../../src/controlplane/store/presence.js';
import { Sealer, newDataKey } from '../../src/controlplane/store/seal.js';
import { maxWrites } from '../../src/controlplane/store/store.js';
import type { Store } from '../../src/controlplane/store/store.js';
import { Upkeep } from '../../src/controlplane/upkeep/upkeep-loop.js';
import type { NodeId } from '../../src/model/ids.js';
import type { Task } from '../../src/model/objects.js';
import { atLeast, isTerminal } from '../../src/model/task-state.js';
import type { TaskState } from '../../src/model/task-state.js';
import { CleanupStack } from '../../src/runtime/cleanup-stack.js';
import { systemClock } from '../../src/runtime/clock.js';
import { cluster, network, node, service, taskSpec } from '../../test/support/cluster-objects.js';
import { startEtcd } from '../etcd.js';
import { heapBytes } from '../../test/support/heap.js';

export interface LifecyclesOptions {
  /** Lives to go through. */
  readonly lifecycles: number;
  /** Tasks that live at one time: a round takes them all through a life. */
  readonly slots: number;
  readonly samples: number;
  /** For etcd; made, and removed in the end. */
  readonly directory: string;
  readonly peerPort: number;
  readonly onSample?: (sample: Sample) => void;
}

export interface Sample {
  readonly lifecycles: number;
  readonly seconds: number;
  /** Of the manager after a collection of garbage. */
  readonly heapBytes: number;
  /** Of etcd: what is resident. */
  readonly etcdBytes: number;
  readonly databaseBytes: number;
  readonly usedBytes: number;
  readonly tasks: number;
  readonly revision: number;
}

const nodeId = 'm1' as NodeId;
const servicesMax = 5;

export async function runLifecycles(options: LifecyclesOptions): Promise<readonly Sample[]> {
  const { lifecycles, slots, directory, peerPort } = options;
  const log = pino({ enabled: false });
  const clock = systemClock;
  await using undo = new CleanupStack();
  const { etcd, dataDir } = await startEtcd({ directory, peerPort, log }, undo);
  const client = new EtcdClient(etcd.address);
  const [leases, members] = [new EtcdLeases(etcd.address), new EtcdMembers(etcd.address)];
  for (const one of [client, leases, members]) undo.defer(() => one.close());
  const sealer = new Sealer(newDataKey());
  const store = await EtcdStore.open({ client, sealer, log });
  undo.defer(() => store.close());
  const services = Array.from({ length: Math.min(servicesMax, slots) }, (_, i) =>
    service(`service${i}`, {
      mode: { kind: 'replicated', replicas: Math.floor(slots / Math.min(servicesMax, slots)) },
      taskTemplate: taskSpec({
        restartPolicy: { condition: 'any', delayNs: 0, maxAttempts: 0, windowNs: 0 },
      }),
    }),
  );
  await store.update((tx) => {
    tx.create('cluster', cluster());
    tx.create('network', network('ingress', { ingress: true }));
    for (let i = 0; i < 5; i++) tx.create('node', node(`node${i}`));
    for (const each of services) tx.create('service', each);
  });
  const over = new AbortController();
  const upkeep = new Upkeep({
    ...{ store, client, members, leases, nodeId, dataDir, clock, log, quotaBytes: quotaBytesDefault },
    settings: () => etcd.settings,
    restart: (settings) => etcd.restart(settings),
  });
  const presence = { client, leases, sealer, nodeId, addr: 'm1:2377', clock, log };
  const running = [upkeep.run(over.signal), holdPresence(presence, over.signal)];
  undo.defer(async () => {
    over.abort(new Error('over'));
    await Promise.all(running);
  });

  const loops = controlLoops((size) => randomBytes(size));
  const startedMs = clock.steadyMs();
  const samples: Sample[] = [];
  let ended = 0;
  let idleRounds = 0;
  while (ended < lifecycles) {
    for (const { plan } of loops) await applyPlanner(store, plan, () => clock.nowMs());
    const step = await moveTasks(store);
    ended += step.ended;
    idleRounds = step.moved === 0 ? idleRounds + 1 : 0;
    assert(idleRounds < 100, 'nothing moves any more');
    if (ended < ((samples.length + 1) * lifecycles) / options.samples) continue;
    const sample = await look(ended);
    samples.push(sample);
    options.onSample?.(sample);
  }
  return samples;

  async function look(count: number): Promise<Sample> {
    const heap = heapBytes();
    const { databaseBytes, usedBytes, revision } = await client.status();
    assert(etcd.pid !== undefined);
    const status = await readFile(`/proc/${etcd.pid}/status`, 'utf8');
    return {
      lifecycles: count,
      seconds: Math.round((clock.steadyMs() - startedMs) / 1_000),
      heapBytes: heap,
      etcdBytes: Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1_024,
      ...{ databaseBytes, usedBytes, revision },
      tasks: store.view().list('task').length,
    };
  }
}

/** An agent's work on all nodes: each task takes the next step of its life. */
async function moveTasks(store: Store): Promise<{ readonly moved: number; readonly ended: number }> {
  const steps = store
    .view()
    .list('task')
    .flatMap((task): readonly [Task, TaskState][] => {
      const next = nextState(task);
      return next === undefined ? [] : [[task, next]];
    });
  for (let i = 0; i < steps.length; i += maxWrites)
    await store.update((tx) => {
      for (const [task, state] of steps.slice(i, i + maxWrites)) {
        const timestampMs = tx.nowMs;
        // As if each had run for long: what ends early is not started again at full speed.
        const runningAtMs = timestampMs - 60_000;
        const status = { state, message: state, timestampMs, appliedAtMs: timestampMs, runningAtMs };
        tx.update('task', { ...task, status });
      }
    });
  return { moved: steps.length, ended: steps.filter(([, state]) => isTerminal(state)).length };
}

function nextState({ status: { state }, desiredState }: Task): TaskState | undefined {
  if (isTerminal(state) || !atLeast(state, 'assigned')) return undefined;
  if (state === 'running') return 'complete';
  if (atLeast(desiredState, 'shutdown')) return 'shutdown';
  if (desiredState === 'running') return 'running';
  return state === 'ready' ? undefined : 'ready';
}

/** The largest of the last quarter as a share of the largest of the second one: 1 where nothing grows. */
export function growth(samples: readonly Sample[], of: 'heapBytes' | 'etcdBytes' | 'databaseBytes'): number {
  const quarter = samples.length / 4;
  const largest = (from: number): number =>
    Math.max(
      ...samples.slice(Math.round(from * quarter), Math.round((from + 1) * quarter)).map((s) => s[of]),
    );
  return largest(3) / largest(1);
}
