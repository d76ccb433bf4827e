/** What is the same for every node of a network: its peers, endpoints and services, and the published ports. Pure. */
import { shortContainerId } from '../../model/attachments.js';
import { serviceBalancing, taskWeight } from '../../model/balancing.js';
import type { NetworkId, ServiceId } from '../../model/ids.js';
import type { Node, Task } from '../../model/objects.js';
import { taskName } from '../../model/objects.js';
import { publishLimits } from '../../model/publishing.js';
import { atMost, mayRun } from '../../model/task-state.js';
import { KeyedList } from '../../runtime/keyed-list.js';
import type { Assignment } from '../rpc/assignment.js';
import { assignmentKey } from '../rpc/assignment.js';
import type { View } from '../store/store.js';
import { servedServices, targetPorts } from './served-services.js';
import type { ServedService } from './served-services.js';

export interface SharedAssignments {
  /** Of networks that are allocated. */
  readonly byNetwork: ReadonlyMap<NetworkId, KeyedList<Assignment>>;
  readonly publishedPorts: KeyedList<Assignment>;
  /** What both are made of: the services that are known, with what each is reached by. */
  readonly served: ServedById;
}

export type ServedById = ReadonlyMap<ServiceId, ServedService>;

/** Costs all that there is. */
export function sharedAssignments(view: View): SharedAssignments {
  const served = servedById(view);
  return {
    byNetwork: assignmentsOn(view, served, allocatedNetworks(view)),
    publishedPorts: KeyedList.of(publishedPorts(served).values(), assignmentKey),
    served,
  };
}

export const allocatedNetworks = (view: View): ReadonlySet<NetworkId> =>
  new Set(view.list('network').flatMap(({ id, allocation }) => (allocation ? [id] : [])));

/** All that there is on these networks. Costs a walk along nodes, tasks and services, and what of them is on them. */
export function assignmentsOn(
  view: View,
  served: ServedById,
  networks: ReadonlySet<NetworkId>,
): Map<NetworkId, KeyedList<Assignment>> {
  const byNetwork = new Map<string, Map<string, Assignment>>(Array.from(networks, (id) => [id, new Map()]));
  const add = (one: OnOverlay): unknown => byNetwork.get(one.item.overlayId)?.set(assignmentKey(one), one);
  for (const node of view.list('node')) peersOf(node).forEach(add);
  for (const task of view.list('task'))
    if (task.networks.some(({ networkId }) => networks.has(networkId)))
      endpointsOf(task, view, served).forEach(add);
  for (const service of served.values()) servicesOf(service).forEach(add);
  return new Map(
    [...byNetwork].map(([id, items]) => [id as NetworkId, KeyedList.of(items.values(), assignmentKey)]),
  );
}

export const servedById = (view: View): ServedById =>
  new Map(servedServices(view).map((service) => [service.id, service]));

export function servicesOf({ id: serviceId, name, labels, networks }: ServedService): OnOverlay[] {
  const { scheduler, affinityS } = serviceBalancing(labels);
  return networks.map(({ overlayId, aliases, vip }) => ({
    kind: 'service',
    item: { overlayId, serviceId, name, aliases, vip, scheduler, affinityS: affinityS ?? 0 },
  }));
}

/** By key. */
export function publishedPorts(served: ServedById): Map<string, Assignment> {
  const byKey = new Map<string, Assignment>();
  for (const { id: serviceId, labels, ports } of served.values()) {
    const limits = publishLimits(labels);
    for (const { protocol, publishedPort, targetPort } of ports) {
      const item = { protocol, publishedPort, serviceId, targetPort, ...limits };
      const assignment: Assignment = { kind: 'publishedPort', item };
      byKey.set(assignmentKey(assignment), assignment);
    }
  }
  return byKey;
}

/** What belongs to one network. */
export type OnOverlay = Extract<Assignment, { readonly kind: 'peer' | 'endpoint' | 'service' }>;

export function peersOf({ id, dataPathAddr, attachments, espEpoch = 0 }: Node): OnOverlay[] {
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
export function endpointsOf(task: Task, view: View, served: ServedById): OnOverlay[] {
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
  const others = targetPorts(task, served.get(task.serviceId)?.ports ?? []);
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
      ...(others.length > 0 && view.get('network', overlayId)?.spec.ingress && { targetPorts: others }),
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
