/**
 * Starts the control loops of the leading manager. Each is a planner over the store; they meet only there. Changes wake
 * a loop, which then waits for a short silence, so that a burst becomes one pass; times that planners ask for wake it too.
 * A pass costs what has changed (docs/adr/0034): a change that a loop has no use for does not wake it, and one whose units
 * are services looks only at those that were touched. Everything is looked at at first, after a failure and at each resync.
 */
import type { RandomSource } from '../model/ids.js';
import type { Clock } from '../runtime/clock.js';
import { tracesOf } from '../model/trace.js';
import { decide } from '../runtime/decide.js';
import type { Log } from '../runtime/log.js';
import { Trigger, runLoop } from '../runtime/loop.js';
import { allocationPlanner } from './allocator/allocator.js';
import { planKeys } from './encryption/rotation.js';
import { planRootRotation } from './ca/rotation.js';
import { planEnforcement } from './orchestrator/constraint-enforcer.js';
import { oldVersionsPlanner } from './orchestrator/old-versions.js';
import { planServices } from './orchestrator/orchestrator.js';
import { planReaping } from './orchestrator/reaper.js';
import { planSchedules } from './orchestrator/schedules.js';
import type { Plan, Planner, Write } from './plan.js';
import { applyPlanner } from './plan.js';
import { planRebalancing } from './rebalancer/rebalancer.js';
import { planScheduling } from './scheduler/scheduler.js';
import type { Change, Store } from './store/store.js';
import { logStoreEvents } from './store-events.js';
import { Touched, concernsAddresses, isMoreThanProgress, isNoTask } from './touched.js';

/** Is told what loops do. Must not throw. */
export interface LoopObserver {
  passed(loop: string, tookMs: number): void;
  failed(loop: string): void;
  committed(loop: string, plan: Plan): void;
}

export interface ControlLoopOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly log: Log;
  readonly observer?: LoopObserver;
}

interface ControlLoop {
  readonly name: string;
  readonly plan: Planner;
  /** Whether its plan can be another after the change. */
  readonly concerns: (change: Change) => boolean;
  /** Whether it takes a scope. */
  readonly byService: boolean;
  /** Silence to wait for after a change, and how long a burst can put the pass off. */
  readonly quietMs: number;
  readonly quietMsMax: number;
}

/** Every loop, with its planner; the order is that of a task's life. */
export const controlLoops = (random: RandomSource): readonly ControlLoop[] => [
  {
    name: 'orchestrator',
    plan: (view, nowMs, scope) => planServices(view, nowMs, random, scope),
    ...{ concerns: () => true, byService: true },
    ...{ quietMs: 10, quietMsMax: 100 },
  },
  {
    name: 'schedules',
    plan: (view, nowMs) => planSchedules(view, nowMs, random),
    ...{ concerns: () => true, byService: false },
    ...{ quietMs: 50, quietMsMax: 500 },
  },
  {
    name: 'allocator',
    plan: allocationPlanner(),
    ...{ concerns: concernsAddresses, byService: false },
    ...{ quietMs: 10, quietMsMax: 100 },
  },
  {
    name: 'scheduler',
    plan: planScheduling,
    ...{ concerns: isMoreThanProgress, byService: false },
    // Swarm's: 50 ms after the last commit, at latest after 1 s.
    ...{ quietMs: 50, quietMsMax: 1000 },
  },
  {
    name: 'constraint enforcer',
    plan: planEnforcement,
    ...{ concerns: isMoreThanProgress, byService: false },
    ...{ quietMs: 50, quietMsMax: 500 },
  },
  {
    name: 'rebalancer',
    plan: (view, nowMs) => planRebalancing(view, nowMs, random),
    ...{ concerns: () => true, byService: false },
    ...{ quietMs: 500, quietMsMax: 2000 },
  },
  {
    name: 'keys',
    plan: (view, nowMs) => planKeys(view, nowMs, random),
    ...{ concerns: isNoTask, byService: false },
    ...{ quietMs: 10, quietMsMax: 100 },
  },
  {
    name: 'root rotation',
    plan: (view, nowMs) => planRootRotation(view, nowMs, random),
    ...{ concerns: isNoTask, byService: false },
    ...{ quietMs: 50, quietMsMax: 500 },
  },
  {
    name: 'old versions',
    plan: oldVersionsPlanner(),
    ...{ concerns: isMoreThanProgress, byService: false },
    ...{ quietMs: 250, quietMsMax: 1000 },
  },
  {
    name: 'reaper',
    plan: planReaping,
    ...{ concerns: isMoreThanProgress, byService: true },
    // Swarm's task reaper batches for 250 ms.
    ...{ quietMs: 250, quietMsMax: 250 },
  },
];

/** Resync: plans look at whole states, so this only mends what no event told of. */
const resyncMs = 60_000;
const retryMsMax = 5000;

/**
 * Runs all loops until the signal aborts, then resolves. Call it on the leader only, once the cluster object is written.
 * Rejects if a loop meets a bug (AssertionError); the other loops are stopped then.
 */
export async function runControlLoops(options: ControlLoopOptions, signal: AbortSignal): Promise<void> {
  const stop = new AbortController();
  const onAbort = (): void => stop.abort(signal.reason);
  if (signal.aborted) return;
  signal.addEventListener('abort', onAbort, { once: true });
  const unsubscribe = logStoreEvents(options.store, options.log);
  try {
    await Promise.all(controlLoops(options.random).map((loop) => runControlLoop(loop, options, stop.signal)));
  } finally {
    signal.removeEventListener('abort', onAbort);
    unsubscribe();
    stop.abort();
  }
}

async function runControlLoop(
  loop: ControlLoop,
  { store, clock, log, observer }: ControlLoopOptions,
  signal: AbortSignal,
): Promise<void> {
  const trigger = new Trigger();
  const touched = loop.byService ? new Touched() : undefined;
  let changedAtMs = -Infinity;
  let everythingAtMs = clock.steadyMs();
  const unsubscribe = store.subscribe(({ changes }) => {
    const concerning = changes.filter(loop.concerns);
    if (concerning.length === 0) return;
    for (const change of concerning) touched?.note(change);
    changedAtMs = clock.steadyMs();
    trigger.fire();
  });
  try {
    await runLoop(
      { name: loop.name, trigger, clock, log, resyncMs, gapMs: 0, retryMsMax },
      async () => {
        await settle(loop, () => changedAtMs, clock, signal);
        if (signal.aborted) return undefined;
        if (clock.steadyMs() - everythingAtMs >= resyncMs) {
          everythingAtMs = clock.steadyMs();
          touched?.everything();
        }
        const nowMs = (): number => clock.nowMs();
        const onCommit = (plan: Plan): void => {
          logCommit(log, loop.name, plan.writes);
          observer?.committed(loop.name, plan);
        };
        const begunMs = clock.steadyMs();
        const wakeAtMs = await applyPlanner(store, loop.plan, nowMs, onCommit, touched).catch(
          (err: unknown) => {
            observer?.failed(loop.name);
            throw err;
          },
        );
        observer?.passed(loop.name, clock.steadyMs() - begunMs);
        return wakeAtMs === undefined ? undefined : wakeAtMs - clock.nowMs();
      },
      signal,
    );
  } finally {
    unsubscribe();
  }
}

function logCommit(log: Log, loop: string, writes: readonly Write[]): void {
  const kinds: Record<string, number> = {};
  for (const { op, kind } of writes) kinds[`${op} ${kind}`] = (kinds[`${op} ${kind}`] ?? 0) + 1;
  const traces = tracesOf(
    writes.map((write) => (write.op !== 'delete' && 'trace' in write.object ? write.object : undefined)),
  );
  decide(log, 'loop.committed', { loop, writes: writes.length, kinds }, { traces });
}

/** Waits until nothing has changed for `quietMs`, at most `quietMsMax`. */
async function settle(
  { quietMs, quietMsMax }: ControlLoop,
  changedAtMs: () => number,
  clock: Clock,
  signal: AbortSignal,
): Promise<void> {
  const latestMs = clock.steadyMs() + quietMsMax;
  for (;;) {
    const untilMs = Math.min(changedAtMs() + quietMs, latestMs);
    const restMs = untilMs - clock.steadyMs();
    if (restMs <= 0 || signal.aborted) return;
    await clock.sleep(restMs, signal).catch(() => undefined);
  }
}
