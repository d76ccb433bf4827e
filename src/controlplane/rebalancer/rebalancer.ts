/**
 * The rebalancer (ADR 32): begins moves of tasks to emptier nodes, for services whose label asks for it. A move is a
 * second task in the slot, bound to its new node, that starts before the old one is ended; orchestrator/moves.ts sees it
 * through. Must stay true: one move of a service at a time, none while anything else about its tasks is under way, no
 * more than its budget allows, and only to a node that the scheduler would take.
 */
import { isAttachment } from '../../model/attachments.js';
import type { RandomSource } from '../../model/ids.js';
import type { Rebalancing, Service, Task } from '../../model/objects.js';
import { instanceOf } from '../../model/objects.js';
import type { RebalanceBudget } from '../../model/rebalancing.js';
import { rebalanceBudget } from '../../model/rebalancing.js';
import { isTerminal } from '../../model/task-state.js';
import { groupTasks, isLive } from '../orchestrator/context.js';
import { moveDeadlineMs } from '../orchestrator/moves.js';
import { occupants } from '../orchestrator/restart.js';
import { createTask } from '../orchestrator/task-factory.js';
import { Draft } from '../plan.js';
import type { Plan } from '../plan.js';
import { preferEsp, usesEncryption } from '../scheduler/encryption.js';
import { failingFilter, isAvailable } from '../scheduler/filters.js';
import { NodeLoad, failureWindowMs } from '../scheduler/node-load.js';
import type { View } from '../store/store.js';
import { Balance } from './balance.js';
import type { Gain } from './balance.js';

/** How long a node must have been as it is, and a task have run, before anything moves: nodes that come back come and go. */
export const settleMs = 30_000;
/** After the first move that came to nothing, doubled with each one more; counted from the end of its time. */
const backOffMs = 5 * 60_000;
const backOffMsMax = 60 * 60_000;

/** One pass: at most one move begins for each service that asks for it. */
export function planRebalancing(view: View, nowMs: number, random: RandomSource): Plan {
  const draft = new Draft(view, nowMs);
  let loads: readonly NodeLoad[] | undefined;
  for (const service of view.list('service')) {
    const budget = rebalanceBudget(service.spec.labels);
    if (!budget) continue;
    const serving = servingTasks(view, service);
    if (!serving || isEven(view, service, serving) || !mayMove(draft, service, budget)) continue;
    loads ??= loadsOf(view, nowMs);
    const move = bestMove(draft, service, serving, loads);
    if (move && draft.fits(2)) beginMove(draft, service, move, random);
  }
  return draft.plan();
}

/**
 * The tasks of the slots, if nothing about them is under way: each runs, each alone in its slot, and none is being stopped. Slots that
 * their restart policy has given up are left out: they stay as they are.
 */
function servingTasks(view: View, service: Service): readonly Task[] | undefined {
  const { id, spec, updateStatus } = service;
  if (spec.mode.kind !== 'replicated') return undefined;
  const { state = 'completed' } = updateStatus ?? {};
  if (state !== 'completed' && state !== 'rollback_completed') return undefined;
  const tasks = view.tasksOfService(id);
  const serving = tasks.filter(isLive);
  const slots = [...groupTasks(tasks, instanceOf).values()].map((ofSlot) => occupants(service, ofSlot));
  const occupied = slots.filter(({ length }) => length > 0);
  if (occupied.length !== spec.mode.replicas || occupied.some(({ length }) => length > 1)) return undefined;
  const runs = ({ desiredState, status }: Task): boolean =>
    desiredState === 'running' && status.state === 'running' && status.draining === undefined;
  // What a lost node may still run is told of when it is back.
  const stops = (task: Task): boolean => {
    const node = task.nodeId && view.get('node', task.nodeId);
    return !isLive(task) && !isTerminal(task.status.state) && !!node && node.status.state !== 'down';
  };
  return serving.every(runs) && !tasks.some(stops) ? serving : undefined;
}

/** Whether the nodes differ by too little for any move, whatever they could take. Spares counting all tasks of all nodes. */
function isEven(view: View, { spec }: Service, serving: readonly Task[]): boolean {
  if ((spec.taskTemplate.placement?.preferences ?? []).length > 0) return false;
  const counts = new Map<string, number>(
    view
      .list('node')
      .filter(isAvailable)
      .map(({ id }) => [id, 0]),
  );
  for (const { nodeId = '' } of serving) counts.set(nodeId, (counts.get(nodeId) ?? 0) + 1);
  return Math.max(...counts.values()) - Math.min(...counts.values()) < 2;
}

/** Whether the budget has room, and a move that came to nothing is long enough ago. */
function mayMove(draft: Draft, service: Service, { tasks, periodMs }: RebalanceBudget): boolean {
  const { rebalancing } = service;
  if (!rebalancing) return true;
  const counting = rebalancing.movesAtMs.filter((atMs) => !draft.hasPassed(atMs, periodMs));
  const failures = failuresOf(draft.view, rebalancing);
  const waitMs = moveDeadlineMs + Math.min(backOffMs * 2 ** (failures - 1), backOffMsMax);
  if (failures > 0 && !draft.hasPassed(rebalancing.movesAtMs.at(-1) ?? 0, waitMs)) return false;
  return counting.length < tasks;
}

/** Moves in a row that came to nothing: what the last one was to replace is there still. */
const failuresOf = (view: View, { of, failures }: Rebalancing): number => {
  const old = view.get('task', of);
  return old && isLive(old) ? failures + 1 : 0;
};

const loadsOf = (view: View, nowMs: number): readonly NodeLoad[] =>
  view.list('node').map(
    (node) =>
      new NodeLoad(
        node,
        view.tasksOnNode(node.id).filter((task) => !isAttachment(task)),
        nowMs,
      ),
  );

interface Choice {
  readonly task: Task;
  readonly from: NodeLoad;
  readonly to: NodeLoad;
  readonly gain: Gain;
}

/** The move that gains most. */
function bestMove(
  draft: Draft,
  service: Service,
  serving: readonly Task[],
  loads: readonly NodeLoad[],
): Choice | undefined {
  const [example] = serving;
  if (!example) return undefined;
  const wanted = asWanted(service, example);
  const passing = loads.filter((load) => !failingFilter(wanted, load) && load.failures(wanted) === 0);
  const targets = usesEncryption(draft.view, example) ? preferEsp(passing) : passing;
  const sources = new Map<string, Task[]>();
  for (const task of serving) {
    const there = sources.get(task.nodeId ?? '');
    if (there) there.push(task);
    else sources.set(task.nodeId ?? '', [task]);
  }
  const balance = new Balance(service, loads);
  let best: Choice | undefined;
  for (const from of loads) {
    // What an unavailable node has stays there: a paused one keeps its tasks, one that is silent cannot be told to end them.
    if (!isAvailable(from.node)) continue;
    const gains = targets.flatMap((to) => {
      const gain = balance.gain(from.node.id, to.node.id);
      return gain ? [{ from, to, gain }] : [];
    });
    if (gains.length === 0) continue;
    const task = movable(draft, sources.get(from.node.id) ?? []);
    if (!task) continue;
    for (const { to, gain } of gains) {
      if (!draft.hasPassed(to.node.updatedAtMs, settleMs)) continue;
      const choice = { task, from, to, gain };
      if (!best || compareChoices(service, choice, best) < 0) best = choice;
    }
  }
  return best;
}

/** First what the first preference wants, then the greatest difference, then from the fullest node to the emptiest. */
const compareChoices = ({ id }: Service, a: Choice, b: Choice): number =>
  a.gain.level - b.gain.level ||
  b.gain.difference - a.gain.difference ||
  b.from.activeOf(id) - a.from.activeOf(id) ||
  a.to.activeOf(id) - b.to.activeOf(id) ||
  a.to.activeTasks - b.to.activeTasks;

/** Of a node's tasks the one of the highest slot that has settled and whose slot has not failed lately. */
function movable(draft: Draft, tasks: readonly Task[]): Task | undefined {
  const failedLately = (slot: string): boolean =>
    tasks.some(({ serviceId }) =>
      draft.view
        .tasksOfService(serviceId)
        .some(
          (task) =>
            instanceOf(task) === slot &&
            (task.status.state === 'failed' || task.status.state === 'rejected') &&
            !draft.hasPassed(task.status.appliedAtMs, failureWindowMs),
        ),
    );
  return [...tasks]
    .sort((a, b) => (b.slot ?? 0) - (a.slot ?? 0))
    .find((task) => draft.hasPassed(task.status.appliedAtMs, settleMs) && !failedLately(instanceOf(task)));
}

/** A task of the service as it would be made now, to ask where it could go. */
function asWanted({ spec, specVersion }: Service, { endpointSpec: _, ...example }: Task): Task {
  const { taskTemplate, endpointSpec } = spec;
  return { ...example, spec: taskTemplate, specVersion, ...(endpointSpec && { endpointSpec }) };
}

/** The replacement is bound to its node: the scheduler confirms it there or not at all. */
function beginMove(draft: Draft, service: Service, { task, to }: Choice, random: RandomSource): void {
  const { nowMs, view } = draft;
  const { slot } = task;
  if (slot === undefined) return;
  const { rebalancing, spec } = service;
  const { periodMs = 0 } = rebalanceBudget(spec.labels) ?? {};
  const counting = (rebalancing?.movesAtMs ?? []).filter((atMs) => !draft.hasPassed(atMs, periodMs));
  draft.update('service', {
    ...service,
    rebalancing: {
      movesAtMs: [...counting, nowMs],
      of: task.id,
      failures: rebalancing ? failuresOf(view, rebalancing) : 0,
    },
  });
  const place = { slot, nodeId: to.node.id };
  const moved = draft.create(
    'task',
    createTask(view.cluster(), service, place, {
      random,
      nowMs,
      succession: { of: task.id, cause: 'rebalance', startNotBeforeMs: nowMs, startAnywayMs: nowMs },
    }),
  );
  // Other services' moves of this pass see it there.
  to.place(to.claimFor(moved));
}
