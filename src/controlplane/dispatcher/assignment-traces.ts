/**
 * Which requests a difference between two assignments comes from: the traces of the objects that it is made of, at most
 * {@link tracesMax}. They go beside the changes and not in them: what a node has to know is the same, whoever asked for it.
 */
import type { NetworkId, ServiceId, TaskId } from '../../model/ids.js';
import type { TraceId, Traced } from '../../model/trace.js';
import { tracesOf } from '../../model/trace.js';
import type { AssignmentChange } from '../rpc/assignment.js';
import type { View } from '../store/store.js';
import type { NodeAssignments } from './assignments.js';
import { ownChanges, sharedChanges, sharedPairs } from './assignments.js';

/** Looked at of one difference: the log names eight, and a hundred thousand endpoints may change at once. */
const looksMax = 256;

/** What many nodes are told alike is looked at once, as it is encoded once. */
const known = new WeakMap<readonly AssignmentChange[], readonly TraceId[]>();

/** Of what leads from `before` to `after`. @param view that `after` is of */
export function tracesBetween(
  before: NodeAssignments | null,
  after: NodeAssignments | null,
  view: View,
): readonly TraceId[] {
  const own = tracesOf(sourcesOf(ownChanges(before, after), view));
  // Of a network that is new for the node its own tell: the whole of it is nobody's request.
  const pairs = sharedPairs(before, after).filter(({ was, is }) => was && is);
  const shared = pairs.flatMap(({ was, is }) => sharedTraces(sharedChanges(was, is), view));
  return tracesOf([...own, ...shared].map((trace) => ({ trace })));
}

function sharedTraces(changes: readonly AssignmentChange[], view: View): readonly TraceId[] {
  const traces = known.get(changes) ?? tracesOf(sourcesOf(changes, view));
  known.set(changes, traces);
  return traces;
}

/** The objects of the store that the changes are made of, as far as they are still there. */
function* sourcesOf(changes: readonly AssignmentChange[], view: View): Generator<Traced | undefined, void> {
  for (const { assignment } of changes.slice(0, looksMax)) {
    switch (assignment.kind) {
      case 'task':
        yield view.get('task', assignment.item.id as TaskId) ?? assignment.item.task;
        break;
      case 'endpoint':
        yield view.get('task', assignment.item.taskId as TaskId);
        break;
      case 'service':
      case 'publishedPort':
        yield view.get('service', assignment.item.serviceId as ServiceId);
        break;
      case 'overlay':
        yield view.get('network', assignment.item.id as NetworkId);
        break;
      // A node's own address and its neighbours' are the allocator's, by what its tasks need.
      case 'node':
      case 'peer':
      case 'encryptionKey':
      case 'secret':
      case 'config':
        break;
    }
  }
}
