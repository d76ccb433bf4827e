/**
 * What each node has to know, computed from one view of the store, and the difference between two such answers.
 * Pure. The part that is the same for every node of a network is computed once per view ({@link sharedAssignments});
 * a node's own answer then costs the size of the networks it takes part in, and a message only what changed.
 *
 * A node never learns of a network it takes no part in, nor of another node's tasks beyond their endpoints.
 */
import { isDeepStrictEqual } from 'node:util';
import { serviceBalancing, taskWeight } from '../../model/balancing.js';
import { shortContainerId } from '../../model/attachments.js';
import { isEncrypted } from '../../model/encryption.js';
import type { NetworkId, NodeId } from '../../model/ids.js';
import type { Network, Task } from '../../model/objects.js';
import { taskName } from '../../model/objects.js';
import { publishLimits } from '../../model/publishing.js';
import { atLeast, atMost, mayRun } from '../../model/task-state.js';
import type {
  Assignment,
  AssignmentChange,
  AssignmentItems,
  AssignmentKind,
  Assignments,
} from '../rpc/assignment.js';
import { assignmentKey } from '../rpc/assignment.js';
import type { View } from '../store/store.js';
import { servedServices, targetPorts } from './served-services.js';

/** Per network what all its nodes have to know (each ignores itself among the peers), and the published ports. */
export interface SharedAssignments {
  readonly byNetwork: ReadonlyMap<NetworkId, readonly Assignment[]>;
  readonly publishedPorts: readonly Assignment[];
}

export function sharedAssignments(view: View): SharedAssignments {
  const byNetwork = new Map<NetworkId, Assignment[]>(
    view.list('network').flatMap((network) => (network.allocation ? [[network.id, []]] : [])),
  );
  for (const node of view.list('node')) {
    if (!node.dataPathAddr) continue; // never registered: nobody can send to it
    for (const { networkId: overlayId, address, mac } of node.attachments) {
      const espEpoch = node.espEpoch ?? 0;
      const item = { overlayId, nodeId: node.id, vtep: node.dataPathAddr, address, mac, espEpoch };
      byNetwork.get(overlayId)?.push({ kind: 'peer', item });
    }
  }
  const services = servedServices(view);
  const portsOf = new Map(services.map(({ id, ports }) => [id, ports]));
  for (const task of view.list('task'))
    addEndpoints(byNetwork, task, targetPorts(task, portsOf.get(task.serviceId) ?? []), view);
  const publishedPorts: Assignment[] = [];
  for (const { id: serviceId, name, labels, networks, ports } of services) {
    const { scheduler, affinityS } = serviceBalancing(labels);
    for (const { overlayId, aliases, vip } of networks) {
      const item = { overlayId, serviceId, name, aliases, vip, scheduler, affinityS: affinityS ?? 0 };
      byNetwork.get(overlayId)?.push({ kind: 'service', item });
    }
    const limits = publishLimits(labels);
    for (const { protocol, publishedPort, targetPort } of ports) {
      const item = { protocol, publishedPort, serviceId, targetPort, ...limits };
      publishedPorts.push({ kind: 'publishedPort', item });
    }
  }
  return { byNetwork, publishedPorts };
}

/**
 * A task is an endpoint from the moment it has a node and an address until it has ended, so that peers can be told
 * where it is before its process starts; it serves only while it is observed running and meant to run.
 */
function addEndpoints(
  byNetwork: ReadonlyMap<NetworkId, Assignment[]>,
  task: Task,
  targetPorts: AssignmentItems['endpoint']['targetPorts'],
  view: View,
): void {
  const { nodeId, status } = task;
  if (!nodeId || !mayRun(status.state)) return;
  const node = view.get('node', nodeId);
  const serving = isServing(task, view);
  // The service's present labels, not those that the task was made with: a weight changes without a new task.
  const weight = taskWeight(node?.spec.labels ?? {}, view.get('service', task.serviceId)?.spec.labels ?? {});
  const { networkAttachment } = task.spec;
  const containerId = networkAttachment?.containerId ?? (serving ? status.container?.containerId : undefined);
  const name = networkAttachment ? networkAttachment.containerName || task.id : taskName(task);
  for (const { networkId: overlayId, address, mac, aliases } of task.networks) {
    const item = {
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
      targetPorts: view.get('network', overlayId)?.spec.ingress ? targetPorts : [],
    };
    byNetwork.get(overlayId)?.push({ kind: 'endpoint', item });
  }
}

/** Whether the task is to take new flows, and stand in DNS. `complete` is what a job's task is desired to become: it serves until it has. */
export const isServing = ({ nodeId, status, desiredState }: Task, view: View): boolean =>
  nodeId !== undefined &&
  status.state === 'running' &&
  status.draining !== true &&
  atMost(desiredState, 'complete') &&
  view.get('node', nodeId)?.status.state !== 'down';

/** All that `nodeId` has to know. Empty for a node that is not in the store. */
export function assignmentsFor(
  view: View,
  nodeId: NodeId,
  shared: SharedAssignments = sharedAssignments(view),
): Map<string, Assignment> {
  const assignments = new Map<string, Assignment>();
  const node = view.get('node', nodeId);
  if (!node) return assignments;
  const add = (assignment: Assignment): unknown => assignments.set(assignmentKey(assignment), assignment);

  const { dataPathPort } = view.cluster();
  add({ kind: 'node', item: { nodeId, dataPathAddr: node.dataPathAddr ?? '', dataPathPort } });
  for (const task of view.tasksOnNode(nodeId))
    if (atLeast(task.status.state, 'assigned')) add({ kind: 'task', item: { id: task.id, task } });

  for (const { networkId, address, mac } of node.attachments) {
    const network = view.get('network', networkId);
    if (!network?.allocation) continue;
    add(overlayAssignment(network, network.allocation, { address, mac }));
    for (const assignment of shared.byNetwork.get(networkId) ?? [])
      if (assignment.kind !== 'peer' || assignment.item.nodeId !== nodeId) add(assignment);
    if (network.spec.ingress) shared.publishedPorts.forEach(add);
    if (isEncrypted(network.spec)) encryptionKeys(view).forEach(add);
  }
  return assignments;
}

/** For those only who take part in an encrypted network. */
function encryptionKeys(view: View): Assignment[] {
  const { keys = [], sends } = view.cluster().encryption ?? {};
  return keys.map(({ sequence, key }) => ({
    kind: 'encryptionKey',
    item: { sequence, key, sends: sequence === sends },
  }));
}

const overlayAssignment = (
  { id, spec }: Network,
  { vni, subnet, gateway }: NonNullable<Network['allocation']>,
  own: { readonly address: string; readonly mac: string },
): Assignment => ({
  kind: 'overlay',
  item: {
    id,
    name: spec.name,
    vni,
    subnet,
    gateway,
    ingress: spec.ingress,
    internal: spec.internal,
    ownAddress: own.address,
    ownMac: own.mac,
    attachable: spec.attachable,
    driverOptions: spec.driverOptions,
  },
});

/** What to tell a node that knows `before` so that it knows `after`. */
export function diffAssignments(before: Assignments, after: Assignments): AssignmentChange[] {
  const changes: AssignmentChange[] = [];
  for (const [key, assignment] of after) {
    const known = before.get(key);
    if (!known || !sameAssignment(known, assignment)) changes.push({ remove: false, assignment });
  }
  for (const [key, assignment] of before) if (!after.has(key)) changes.push({ remove: true, assignment });
  return changes;
}

/** Whether a node that knows `a` needs not be told of `b`: a task's status past `assigned` is the node's own report coming back. */
export function sameAssignment(a: Assignment, b: Assignment): boolean {
  if (a === b || a.item === b.item) return true;
  if (a.kind !== 'task' || b.kind !== 'task') return a.kind === b.kind && isDeepStrictEqual(a.item, b.item);
  const [x, y] = [a.item.task, b.item.task];
  return x === y || isDeepStrictEqual(nodesConcern(x, y), nodesConcern(y, y));
}

/** What of a task is news for its node when it has become `now`. */
function nodesConcern(task: Task, now: Task): object {
  const isReport = !atMost(now.status.state, 'assigned');
  return { ...task, version: 0, createdAtMs: 0, updatedAtMs: 0, status: isReport ? null : task.status };
}

/** Counts by kind, for logs. */
export function countByKind(changes: readonly AssignmentChange[]): Partial<Record<AssignmentKind, number>> {
  const counts: Partial<Record<AssignmentKind, number>> = {};
  for (const { assignment } of changes) counts[assignment.kind] = (counts[assignment.kind] ?? 0) + 1;
  return counts;
}
