/**
 * What a batch of changes of the store says was decided: the leader's lines of the log (docs/adr/0055). Taken from what was committed,
 * whoever wrote it, so that a plan that lost its race leaves no line, and loops stay pure. Costs the changes, and nothing where the
 * level is not written.
 */
import { createHash } from 'node:crypto';
import type { EventFields, EventName } from '../model/events.js';
import type { NodeId } from '../model/ids.js';
import { instanceOf } from '../model/objects.js';
import type { Node, Service, Task } from '../model/objects.js';
import type { TraceId } from '../model/trace.js';
import type { TaskState } from '../model/task-state.js';
import { decide } from '../runtime/decide.js';
import type { Log } from '../runtime/log.js';
import type { Change, ChangeBatch, Store, View } from './store/store.js';

/** One line, as data. */
export type StoreEvent = {
  [E in EventName]: {
    readonly event: E;
    readonly fields: EventFields<E>;
    readonly trace?: TraceId | undefined;
  };
}[EventName];

/** Writes the lines until the result is called. For the leader, so that a decision is written once in a swarm. */
export const logStoreEvents = (store: Store, log: Log): (() => void) =>
  store.subscribe((batch) => {
    if (!log.isLevelEnabled('info')) return;
    for (const { event, fields, trace } of storeEvents(batch, store.view()))
      decide(log, event, fields as never, { trace });
  });

/** @param view after the changes */
export function* storeEvents(
  { changes }: Pick<ChangeBatch, 'changes'>,
  view: View,
): Generator<StoreEvent, void> {
  const followed = new Set(
    changes.flatMap((change) =>
      change.kind === 'task' && !change.previous ? (change.current?.succession?.of ?? []) : [],
    ),
  );
  for (const change of changes) {
    switch (change.kind) {
      case 'task':
        if (!change.current) break;
        if (!change.previous) yield* creationOf(change.current, view);
        else {
          yield* progressOf(change.previous, change.current);
          if (isGivenUp(change.previous, change.current, view) && !followed.has(change.id))
            yield givenUp(change.current);
        }
        break;
      case 'service':
        if (change.current) yield* updateOf(change.previous, change.current);
        break;
      case 'node':
        if (change.current) yield* stateOf(change.previous, change.current);
        break;
      case 'cluster':
        yield* keysOf(change);
        break;
      case 'network':
      case 'secret':
      case 'config':
      case 'manager':
      case 'leader':
        break;
    }
  }
}

const place = ({ id, serviceName, slot }: Task) => ({
  task: id,
  service: serviceName,
  ...(slot !== undefined && { slot }),
});

function* creationOf(task: Task, view: View): Generator<StoreEvent, void> {
  const { id, serviceName: service, succession, trace } = task;
  if (!succession) return;
  const { of, cause } = succession;
  const about = { task: id, of, service };
  const from = view.get('task', of)?.nodeId;
  if (cause === 'update') yield { event: 'update.step', fields: about, trace };
  else {
    const why = cause === 'rebalance' ? 'rebalanced' : whyInvalid(view, from);
    if (why !== undefined)
      yield { event: 'task.moved', fields: { ...about, ...(from !== undefined && { from }), why }, trace };
    else {
      const delayMs = Math.max(0, succession.startNotBeforeMs - task.createdAtMs);
      yield { event: 'task.restarted', fields: { ...about, delayMs }, trace };
    }
  }
}

/** Why a task cannot stay on the node; undefined: it could. */
function whyInvalid(view: View, nodeId: NodeId | undefined): string | undefined {
  if (nodeId === undefined) return undefined;
  const node = view.get('node', nodeId);
  if (!node) return 'node gone';
  if (node.status.state === 'down') return 'node down';
  return node.spec.availability === 'drain' ? 'node drained' : undefined;
}

function* progressOf(before: Task, task: Task): Generator<StoreEvent, void> {
  const { status, nodeId, trace } = task;
  const { state, err, message } = status;
  if (state === 'assigned' && before.status.state !== 'assigned' && nodeId !== undefined)
    yield { event: 'task.scheduled', fields: { ...place(task), node: nodeId }, trace };
  else if (state === 'pending' && err !== undefined && err !== before.status.err)
    yield { event: 'task.unplaced', fields: { task: task.id, service: task.serviceName, why: err }, trace };
  else if (isFailure(task) && !isFailure(before)) {
    const exitCode = status.container?.exitCode;
    yield {
      event: 'task.failed',
      fields: {
        ...{ task: task.id, service: task.serviceName, state, why: err ?? message },
        ...(nodeId !== undefined && { node: nodeId }),
        ...(exitCode !== undefined && { exitCode }),
      },
      trace,
    };
  }
}

const isFailure = ({ status: { state } }: Task): boolean =>
  state === 'failed' || state === 'rejected' || state === 'orphaned';

/** It has failed, and is ended without another in its place though its service is there and wants one. */
const isGivenUp = (before: Task, { desiredState, serviceId, ...task }: Task, view: View): boolean =>
  desiredState === 'shutdown' &&
  isWanted(before.desiredState) &&
  (task.status.state === 'failed' || task.status.state === 'rejected') &&
  view.get('service', serviceId) !== undefined &&
  !view
    .tasksOfService(serviceId)
    .some((other) => isWanted(other.desiredState) && instanceOf(other) === instanceOf(task));

const isWanted = (desired: TaskState): boolean =>
  desired === 'ready' || desired === 'running' || desired === 'complete';

const givenUp = ({ id, serviceName, nodeId, status, trace }: Task): StoreEvent => ({
  event: 'task.given-up',
  fields: {
    ...{ task: id, service: serviceName, why: status.err ?? status.message },
    ...(nodeId !== undefined && { node: nodeId }),
  },
  trace,
});

const updateEvents = {
  updating: 'update.started',
  paused: 'update.paused',
  completed: 'update.completed',
  rollback_started: 'rollback.started',
  rollback_paused: 'rollback.paused',
  rollback_completed: 'rollback.completed',
} as const satisfies Record<NonNullable<Service['updateStatus']>['state'], EventName>;

function* updateOf(
  before: Service | undefined,
  { spec, updateStatus, trace }: Service,
): Generator<StoreEvent, void> {
  if (!updateStatus) return;
  const was = before?.updateStatus;
  if (was?.state === updateStatus.state && was.startedAtMs === updateStatus.startedAtMs) return;
  const fields = { service: spec.name, why: updateStatus.message };
  yield { event: updateEvents[updateStatus.state], fields, trace };
}

/** That a node is down is told by who finds it so, with the reason (dispatcher/heartbeat.ts). */
function* stateOf(before: Node | undefined, node: Node): Generator<StoreEvent, void> {
  const { state, message } = node.status;
  const was = before?.status.state;
  if (state === was) return;
  const about = { node: node.id, host: node.description?.hostname ?? '' };
  if (state === 'ready') yield { event: 'node.up', fields: { ...about, was: was ?? 'unknown' } };
  // One that has never registered has been nothing else.
  else if (state === 'unknown' && before) yield { event: 'node.unknown', fields: { ...about, why: message } };
}

function* keysOf({
  previous,
  current,
}: Extract<Change, { readonly kind: 'cluster' }>): Generator<StoreEvent, void> {
  if (!current) return;
  const { encryption, rootRotation, rootCa, trace } = current;
  if (encryption && encryption.keys.length > 0 && encryption.sends !== previous?.encryption?.sends)
    yield { event: 'key.rotated', fields: { sequence: encryption.sends, keys: encryption.keys.length } };
  if (!previous) return;
  if (rootRotation && rootRotation.certPem !== previous.rootRotation?.certPem)
    yield { event: 'root.rotating', fields: { root: digest(rootRotation.certPem) }, trace };
  if (rootCa.certPem !== previous.rootCa.certPem)
    yield { event: 'root.rotated', fields: { root: digest(rootCa.certPem) }, trace };
}

const digest = (certPem: string): string => createHash('sha256').update(certPem).digest('hex');
