/**
 * What nodes share, made of what it was before by what has changed since: the same as made of the whole (shared-assignments.ts),
 * and lists that nothing has changed in stay the same. Pure.
 */
import { isDeepStrictEqual } from 'node:util';
import type { NetworkId, NodeId, TaskId } from '../../model/ids.js';
import type { Node, Service, Task } from '../../model/objects.js';
import type { KeyedList } from '../../runtime/keyed-list.js';
import type { Assignment } from '../rpc/assignment.js';
import { assignmentKey } from '../rpc/assignment.js';
import type { Change, View } from '../store/store.js';
import { isServedAlike } from './served-services.js';
import type { ServedService } from './served-services.js';
import {
  allocatedNetworks,
  assignmentsOn,
  endpointsOf,
  peersOf,
  publishedPorts,
  servedById,
  servicesOf,
} from './shared-assignments.js';
import type { OnOverlay, ServedById, SharedAssignments } from './shared-assignments.js';

/**
 * What `before` has become by `changes`, the last of which made `view`. Costs the tasks and nodes that have changed, with the
 * tasks of a node or service whose labels or state have; what services are reached by, or a network that has come, costs a walk
 * along all of them besides.
 */
export function followShared(
  before: SharedAssignments,
  changes: readonly Change[],
  view: View,
): SharedAssignments {
  const served = changes.some((change) => concernsServed(change, view)) ? servedById(view) : before.served;
  const ofNetworks = new Differences();
  const note = (assignment: OnOverlay, gone: boolean): void => ofNetworks.note(assignment, gone);
  const nodes = new Set<NodeId>();
  const tasks = new Set<TaskId>();
  const touch = (some: readonly Task[]): void => {
    for (const { id } of some) tasks.add(id);
  };
  for (const change of changes) {
    const { kind, previous, current } = change;
    if (kind === 'service') {
      // Weights hang on them.
      if (!isDeepStrictEqual(previous?.spec.labels, current?.spec.labels))
        touch(view.tasksOfService(change.id));
    } else if (kind === 'node') {
      if (previous) for (const peer of peersOf(previous)) note(peer, true);
      nodes.add(change.id);
      if (!isDeepStrictEqual(tasksHangOn(previous), tasksHangOn(current))) touch(view.tasksOnNode(change.id));
    } else if (kind === 'task') {
      if (previous) for (const endpoint of endpointsOf(previous, view, before.served)) note(endpoint, true);
      tasks.add(change.id);
      // Legs of one container are one endpoint: another attachment may hold what this one gave up.
      for (const task of [previous, current]) {
        const containerId = task?.spec.networkAttachment?.containerId;
        if (containerId && task?.nodeId)
          touch(
            view
              .tasksOnNode(task.nodeId)
              .filter(({ spec }) => spec.networkAttachment?.containerId === containerId),
          );
      }
    }
  }
  const different = differentServices(before.served, served);
  for (const { was, is } of different) {
    for (const one of was ? servicesOf(was) : []) note(one, true);
    if (!isDeepStrictEqual(was?.ports ?? [], is?.ports ?? []))
      for (const id of [was?.id, is?.id]) if (id !== undefined) touch(view.tasksOfService(id));
  }
  for (const { is } of different) for (const one of is ? servicesOf(is) : []) note(one, false);
  for (const id of nodes) {
    const node = view.get('node', id);
    if (node) for (const peer of peersOf(node)) note(peer, false);
  }
  for (const id of [...tasks].sort()) {
    const task = view.get('task', id);
    if (task) for (const endpoint of endpointsOf(task, view, served)) note(endpoint, false);
  }
  return {
    byNetwork: ofNetworks.apply(
      changes.some(isOfNetworks) ? withNetworks(before, served, view) : before.byNetwork,
    ),
    publishedPorts: different.length === 0 ? before.publishedPorts : withPorts(before.publishedPorts, served),
    served,
  };
}

/** Without those that are gone, and those that have come with all that is on them. */
function withNetworks(
  { byNetwork }: SharedAssignments,
  served: ServedById,
  view: View,
): SharedAssignments['byNetwork'] {
  const present = allocatedNetworks(view);
  const come = new Set([...present].filter((id) => !byNetwork.has(id)));
  const kept = [...byNetwork].filter(([id]) => present.has(id));
  return new Map([...kept, ...assignmentsOn(view, served, come)]);
}

/** What has become another in the networks, the last that was said of each thing. */
class Differences {
  /** By network and key; null: gone. */
  readonly #found = new Map<string, Map<string, Assignment | null>>();

  note(assignment: OnOverlay, gone: boolean): void {
    const { overlayId } = assignment.item;
    const ofNetwork = this.#found.get(overlayId) ?? new Map<string, Assignment | null>();
    ofNetwork.set(assignmentKey(assignment), gone ? null : assignment);
    this.#found.set(overlayId, ofNetwork);
  }

  apply(before: SharedAssignments['byNetwork']): SharedAssignments['byNetwork'] {
    const after = new Map(before);
    for (const [id, differences] of this.#found) {
      const list = before.get(id as NetworkId);
      if (list) after.set(id as NetworkId, applied(list, differences));
    }
    return after;
  }
}

/** The list with what it has not yet; itself where it has all. @param differences by key; null: gone */
function applied(
  list: KeyedList<Assignment>,
  differences: ReadonlyMap<string, Assignment | null>,
): KeyedList<Assignment> {
  const put: Assignment[] = [];
  const removed: string[] = [];
  for (const [key, assignment] of differences) {
    const known = list.get(key);
    if (assignment === null) removed.push(key);
    else if (!known || !isDeepStrictEqual(known, assignment)) put.push(assignment);
  }
  return list.with(put, removed);
}

/** Of those that are served now. */
function withPorts(list: KeyedList<Assignment>, served: ServedById): KeyedList<Assignment> {
  const gone = list.map((one) => [assignmentKey(one), null] as const);
  return applied(list, new Map<string, Assignment | null>([...gone, ...publishedPorts(served)]));
}

/** Those that are reached by something else than before, or were not there, or are no more. */
const differentServices = (
  before: ServedById,
  after: ServedById,
): { readonly was?: ServedService; readonly is?: ServedService }[] =>
  before === after
    ? []
    : [...new Set([...before.keys(), ...after.keys()])].flatMap((id) => {
        const [was, is] = [before.get(id), after.get(id)];
        return isDeepStrictEqual(was, is) ? [] : [{ ...(was && { was }), ...(is && { is }) }];
      });

/** Whether there is another network now than before. */
const isOfNetworks = ({ kind, previous, current }: Change): boolean =>
  kind === 'network' && Boolean(previous?.allocation) !== Boolean(current?.allocation);

/** Whether what services are reached by may be something else now. */
function concernsServed({ kind, previous, current }: Change, view: View): boolean {
  if (kind === 'service') return !isDeepStrictEqual(servedBy(previous), servedBy(current));
  return (
    kind === 'task' && [previous, current].some((task) => task !== undefined && !isServedAlike(task, view))
  );
}

/** What of a service its nodes hear of: not how far an update of it has got. */
const servedBy = (service: Service | undefined): unknown =>
  service && { spec: service.spec, endpoint: service.endpoint };

/** What of a node is in the endpoints of its tasks. */
const tasksHangOn = (node: Node | undefined): unknown =>
  node && { labels: node.spec.labels, isDown: node.status.state === 'down' };
