/**
 * What is the same for every node of a network: its peers, endpoints and services, and the published ports. Made of one view of
 * the store, or of what it was before by what has changed since; either way the same, and lists that nothing has changed in
 * stay the same. Pure.
 */
import { isDeepStrictEqual } from 'node:util';
import { shortContainerId } from '../../model/attachments.js';
import { serviceBalancing, taskWeight } from '../../model/balancing.js';
import type { NetworkId, NodeId, ServiceId, TaskId } from '../../model/ids.js';
import type { AllocatedPort, Node, Service, Task } from '../../model/objects.js';
import { taskName } from '../../model/objects.js';
import { publishLimits } from '../../model/publishing.js';
import { atMost, mayRun } from '../../model/task-state.js';
import { KeyedList } from '../../runtime/keyed-list.js';
import type { Assignment } from '../rpc/assignment.js';
import { assignmentKey } from '../rpc/assignment.js';
import type { Change, View } from '../store/store.js';
import { isServedAlike, servedServices, targetPorts } from './served-services.js';

export interface SharedAssignments {
  /** Of networks that are allocated. */
  readonly byNetwork: ReadonlyMap<NetworkId, KeyedList<Assignment>>;
  readonly publishedPorts: KeyedList<Assignment>;
  /** By service, what of them its tasks may answer otherwise. */
  readonly servedPorts: ReadonlyMap<ServiceId, readonly AllocatedPort[]>;
}

/** Costs all that there is. */
export function sharedAssignments(view: View): SharedAssignments {
  const byNetwork = new Map<string, Map<string, Assignment>>(
    view.list('network').flatMap((network) => (network.allocation ? [[network.id, new Map()]] : [])),
  );
  const add = (overlayId: string, assignment: Assignment): unknown =>
    byNetwork.get(overlayId)?.set(assignmentKey(assignment), assignment);
  for (const node of view.list('node')) for (const one of peersOf(node)) add(one.item.overlayId, one);
  const services = servedServices(view);
  const servedPorts = new Map(services.map(({ id, ports }) => [id, ports]));
  for (const task of view.list('task'))
    for (const one of endpointsOf(task, view, servedPorts)) add(one.item.overlayId, one);
  const publishedPorts = new Map<string, Assignment>();
  for (const { id: serviceId, name, labels, networks, ports } of services) {
    const { scheduler, affinityS } = serviceBalancing(labels);
    for (const { overlayId, aliases, vip } of networks) {
      const item = { overlayId, serviceId, name, aliases, vip, scheduler, affinityS: affinityS ?? 0 };
      add(overlayId, { kind: 'service', item });
    }
    const limits = publishLimits(labels);
    for (const { protocol, publishedPort, targetPort } of ports) {
      const item = { protocol, publishedPort, serviceId, targetPort, ...limits };
      const assignment: Assignment = { kind: 'publishedPort', item };
      publishedPorts.set(assignmentKey(assignment), assignment);
    }
  }
  return {
    byNetwork: new Map(
      [...byNetwork].map(([id, items]) => [id as NetworkId, KeyedList.of(items.values(), assignmentKey)]),
    ),
    publishedPorts: KeyedList.of(publishedPorts.values(), assignmentKey),
    servedPorts,
  };
}

/**
 * What `before` has become by `changes`, the last of which made `view`. Costs the tasks and nodes that have changed, with the
 * tasks of a node whose labels or state have; what a service or a network has become costs the whole.
 */
export function followShared(
  before: SharedAssignments,
  changes: readonly Change[],
  view: View,
): SharedAssignments {
  if (changes.some((change) => concernsAll(change, view))) return sharing(before, sharedAssignments(view));
  /** By network and key; null: gone. */
  const found = new Map<string, Map<string, Assignment | null>>();
  const note = (assignment: PeerOrEndpoint, gone: boolean): void => {
    const { overlayId } = assignment.item;
    const ofNetwork = found.get(overlayId) ?? new Map<string, Assignment | null>();
    ofNetwork.set(assignmentKey(assignment), gone ? null : assignment);
    found.set(overlayId, ofNetwork);
  };
  const nodes = new Set<NodeId>();
  const tasks = new Set<TaskId>();
  const touch = (some: readonly Task[]): void => {
    for (const { id } of some) tasks.add(id);
  };
  for (const change of changes) {
    const { kind, previous, current } = change;
    if (kind === 'node') {
      if (previous) for (const peer of peersOf(previous)) note(peer, true);
      nodes.add(change.id);
      if (!isDeepStrictEqual(tasksHangOn(previous), tasksHangOn(current))) touch(view.tasksOnNode(change.id));
    } else if (kind === 'task') {
      if (previous)
        for (const endpoint of endpointsOf(previous, view, before.servedPorts)) note(endpoint, true);
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
  for (const id of nodes) {
    const node = view.get('node', id);
    if (node) for (const peer of peersOf(node)) note(peer, false);
  }
  for (const id of [...tasks].sort()) {
    const task = view.get('task', id);
    if (task) for (const endpoint of endpointsOf(task, view, before.servedPorts)) note(endpoint, false);
  }
  const byNetwork = new Map(before.byNetwork);
  for (const [id, ofNetwork] of found) {
    const list = byNetwork.get(id as NetworkId);
    if (list === undefined) continue;
    const put: Assignment[] = [];
    const removed: string[] = [];
    for (const [key, assignment] of ofNetwork) {
      const known = list.get(key);
      if (assignment === null) removed.push(key);
      else if (!known || !isDeepStrictEqual(known, assignment)) put.push(assignment);
    }
    byNetwork.set(id as NetworkId, list.with(put, removed));
  }
  return { ...before, byNetwork };
}

type PeerOrEndpoint = Extract<Assignment, { readonly kind: 'peer' | 'endpoint' }>;

/** Whether what is served, or which networks there are, may be another now. */
function concernsAll({ kind, previous, current }: Change, view: View): boolean {
  switch (kind) {
    case 'network':
      return Boolean(previous?.allocation) !== Boolean(current?.allocation);
    case 'service':
      return !isDeepStrictEqual(servedBy(previous), servedBy(current));
    case 'task':
      return [previous, current].some((task) => task !== undefined && !isServedAlike(task, view));
    case 'node':
    case 'cluster':
    case 'secret':
    case 'config':
    case 'manager':
    case 'leader':
      return false;
  }
}

/** What of a service its nodes hear of: not how far an update of it has got. */
const servedBy = (service: Service | undefined): unknown =>
  service && { spec: service.spec, endpoint: service.endpoint };

/** What of a node is in the endpoints of its tasks. */
const tasksHangOn = (node: Node | undefined): unknown =>
  node && { labels: node.spec.labels, isDown: node.status.state === 'down' };

/** The later value with the lists of the earlier one that are equal, and its items. */
function sharing(before: SharedAssignments, after: SharedAssignments): SharedAssignments {
  const share = (
    was: KeyedList<Assignment> | undefined,
    is: KeyedList<Assignment>,
  ): KeyedList<Assignment> => {
    if (was === undefined || isDeepStrictEqual(was, is)) return was ?? is;
    const items = is.map((item) => {
      const known = was.get(assignmentKey(item));
      return known && isDeepStrictEqual(known, item) ? known : item;
    });
    return KeyedList.of(items, assignmentKey);
  };
  return {
    ...after,
    byNetwork: new Map([...after.byNetwork].map(([id, list]) => [id, share(before.byNetwork.get(id), list)])),
    publishedPorts: share(before.publishedPorts, after.publishedPorts),
  };
}

function peersOf({ id, dataPathAddr, attachments, espEpoch = 0 }: Node): PeerOrEndpoint[] {
  if (!dataPathAddr) return []; // never registered: nobody can send to it
  return attachments.map(({ networkId: overlayId, address, mac }) => ({
    kind: 'peer',
    item: { overlayId, nodeId: id, vtep: dataPathAddr, address, mac, espEpoch },
  }));
}

/**
 * A task is an endpoint from the moment it has a node and an address until it has ended, so that peers can be told
 * where it is before its process starts; it serves only while it is observed running and meant to run.
 */
function endpointsOf(
  task: Task,
  view: View,
  servedPorts: SharedAssignments['servedPorts'],
): PeerOrEndpoint[] {
  const { nodeId, status } = task;
  if (!nodeId || !mayRun(status.state)) return [];
  const node = view.get('node', nodeId);
  const serving = isServing(task, view);
  // The service's present labels, not those that the task was made with: a weight changes without a new task.
  const ofService = view.get('service', task.serviceId)?.spec.labels ?? {};
  const weight = taskWeight(task.spec.container.labels, node?.spec.labels ?? {}, ofService);
  const { networkAttachment } = task.spec;
  const containerId = networkAttachment?.containerId ?? (serving ? status.container?.containerId : undefined);
  const name = networkAttachment ? networkAttachment.containerName || task.id : taskName(task);
  const others = targetPorts(task, servedPorts.get(task.serviceId) ?? []);
  return task.networks.map(({ networkId: overlayId, address, mac, aliases }) => ({
    kind: 'endpoint',
    item: {
      overlayId,
      // Legs of one container are one endpoint's, whether they are one task's or several attachments'.
      taskId: networkAttachment?.containerId || task.id,
      serviceId: task.serviceId,
      nodeId,
      address,
      mac,
      name,
      serving,
      weight,
      // What a service's task is called besides is its service's to say.
      aliases: [
        ...(networkAttachment ? aliases : []),
        ...(containerId ? [shortContainerId(containerId)] : []),
      ],
      nameservers: networkAttachment?.nameservers ?? [],
      targetPorts: view.get('network', overlayId)?.spec.ingress ? others : [],
    },
  }));
}

/** Whether the task is to take new flows, and stand in DNS. `complete` is what a job's task is desired to become: it serves until it has. */
export const isServing = ({ nodeId, status, desiredState }: Task, view: View): boolean =>
  nodeId !== undefined &&
  status.state === 'running' &&
  status.draining !== true &&
  atMost(desiredState, 'complete') &&
  view.get('node', nodeId)?.status.state !== 'down';
