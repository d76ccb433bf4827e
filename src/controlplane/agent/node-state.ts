/** A node's assignments as the one value that its dataplane wants. Pure. */
import type { Cidr, Ip, Mac } from '../../model/addresses.js';
import type { Scheduler } from '../../model/balancing.js';
import { defaultScheduler, defaultWeight } from '../../model/balancing.js';
import type { NetworkId, NodeId, ServiceId, TaskId, Vni } from '../../model/ids.js';
import type {
  Endpoint,
  NodeNetworkState,
  Overlay,
  OverlayService,
  Peer,
  PublishedPort,
} from '../../dataplane/state.js';
import { defaultAliasRange } from '../../dataplane/state.js';
import type { Assignment, AssignmentItems, AssignmentKind, Assignments } from '../rpc/assignment.js';

/**
 * The node's network at `revision`; undefined while the manager has not said where this node's VTEP is. Lists are
 * ordered by key, so that equal assignments give equal values.
 */
export function assembleNodeNetworkState(
  assignments: Assignments,
  revision: number,
  aliasRange: Cidr = defaultAliasRange,
): NodeNetworkState | undefined {
  const all = [...assignments.values()];
  const node = itemsOf(all, 'node')[0];
  if (!node || node.dataPathAddr === '') return undefined;
  const peers = groupByOverlay(itemsOf(all, 'peer'));
  const endpoints = groupByOverlay(itemsOf(all, 'endpoint'));
  const services = groupByOverlay(itemsOf(all, 'service'));
  const overlays = itemsOf(all, 'overlay').map((item): Overlay => ({
    id: item.id as NetworkId,
    name: item.name,
    vni: item.vni as Vni,
    subnet: item.subnet as Cidr,
    gateway: item.gateway as Ip,
    ingress: item.ingress,
    internal: item.internal,
    own: { address: item.ownAddress as Ip, mac: item.ownMac as Mac },
    peers: ordered((peers.get(item.id) ?? []).map(toPeer), ({ nodeId }) => nodeId),
    endpoints: ordered((endpoints.get(item.id) ?? []).map(toEndpoint), ({ taskId }) => taskId),
    services: ordered((services.get(item.id) ?? []).map(toService), ({ id }) => id),
  }));
  const ports = itemsOf(all, 'publishedPort').map(toPublishedPort);
  return {
    revision,
    nodeId: node.nodeId as NodeId,
    vtep: node.dataPathAddr as Ip,
    dataPathPort: node.dataPathPort,
    aliasRange,
    overlays: ordered(overlays, ({ id }) => id),
    publishedPorts: ordered(ports, ({ protocol, publishedPort }) => `${protocol}/${publishedPort}`),
  };
}

/** All items of one kind. */
export function itemsOf<K extends AssignmentKind>(
  assignments: Iterable<Assignment>,
  kind: K,
): AssignmentItems[K][] {
  const items: AssignmentItems[K][] = [];
  for (const assignment of assignments)
    if (assignment.kind === kind) items.push(assignment.item as AssignmentItems[K]);
  return items;
}

function groupByOverlay<T extends { readonly overlayId: string }>(items: readonly T[]): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(item.overlayId);
    if (group) group.push(item);
    else groups.set(item.overlayId, [item]);
  }
  return groups;
}

const ordered = <T>(items: readonly T[], key: (item: T) => string): T[] =>
  [...items].sort((a, b) => (key(a) < key(b) ? -1 : 1));

const toPeer = ({ nodeId, vtep, address, mac }: AssignmentItems['peer']): Peer => ({
  nodeId: nodeId as NodeId,
  vtep: vtep as Ip,
  address: address as Ip,
  mac: mac as Mac,
});

const toEndpoint = (item: AssignmentItems['endpoint']): Endpoint => ({
  taskId: item.taskId as TaskId,
  serviceId: item.serviceId as ServiceId,
  nodeId: item.nodeId as NodeId,
  address: item.address as Ip,
  mac: item.mac as Mac,
  name: item.name,
  serving: item.serving,
  // 0 and '' come from a manager that does not know the field yet.
  weight: item.weight || defaultWeight,
  aliases: item.aliases ?? [],
  nameservers: (item.nameservers ?? []) as readonly Ip[],
});

const toService = (item: AssignmentItems['service']): OverlayService => ({
  id: item.serviceId as ServiceId,
  name: item.name,
  aliases: item.aliases,
  ...(item.vip === '' ? {} : { vip: item.vip as Ip }),
  scheduler: (item.scheduler || defaultScheduler) as Scheduler,
  affinityS: item.affinityS || null,
});

const toPublishedPort = (item: AssignmentItems['publishedPort']): PublishedPort => ({
  serviceId: item.serviceId as ServiceId,
  protocol: item.protocol as PublishedPort['protocol'],
  publishedPort: item.publishedPort,
  targetPort: item.targetPort,
});
