/** A node's assignments as the one value that its dataplane wants. Pure. */
import type { Cidr, Ip, Mac } from '../../model/addresses.js';
import { familyOf } from '../../model/addresses.js';
import type { Scheduler } from '../../model/balancing.js';
import { defaultScheduler, defaultWeight } from '../../model/balancing.js';
import { defaultAliasRanges } from '../../model/network-laws.js';
import { mtuOption } from '../../model/network-options.js';
import type { NetworkSubnet } from '../../model/network-subnets.js';
import { isEncrypted } from '../../model/encryption.js';
import type { NetworkId, NodeId, ServiceId, Vni } from '../../model/ids.js';
import { SecretBytes } from '../../model/secret-bytes.js';
import { KeyedList } from '../../runtime/keyed-list.js';
import type {
  EncryptionKey,
  Endpoint,
  NodeNetworkState,
  Overlay,
  OverlayService,
  Peer,
  PublishedPort,
} from '../../dataplane/state.js';
import { publishedPortKey } from '../../dataplane/state.js';
import { applyStateChange, endpointKey, serviceKey } from '../../dataplane/state-change.js';
import type { OverlayChange, StateChange } from '../../dataplane/state-change.js';
import type {
  Assignment,
  AssignmentChange,
  AssignmentItems,
  AssignmentKind,
  Assignments,
} from '../rpc/assignment.js';

/**
 * The node's network at `revision`; undefined while the manager has not said where this node's VTEP is. Lists are
 * ordered by key, so that equal assignments give equal values.
 */
export function assembleNodeNetworkState(
  assignments: Assignments,
  revision: number,
): NodeNetworkState | undefined {
  const all = [...assignments.values()];
  const node = itemsOf(all, 'node')[0];
  if (!node || node.dataPathAddr === '') return undefined;
  const peers = groupByOverlay(itemsOf(all, 'peer'));
  const endpoints = groupByOverlay(itemsOf(all, 'endpoint'));
  const services = groupByOverlay(itemsOf(all, 'service'));
  const overlays = itemsOf(all, 'overlay').map(({ furtherSubnets = [], ...item }): Overlay => ({
    id: item.id as NetworkId,
    name: item.name,
    vni: item.vni as Vni,
    subnet: item.subnet as Cidr,
    gateway: item.gateway as Ip,
    ...(furtherSubnets.length > 0 && { furtherSubnets: furtherSubnets as readonly NetworkSubnet[] }),
    ingress: item.ingress,
    internal: item.internal,
    encrypted: isEncrypted(item),
    own: { address: item.ownAddress as Ip, mac: item.ownMac as Mac },
    peers: ordered((peers.get(item.id) ?? []).map(toPeer), ({ nodeId }) => nodeId),
    endpoints: KeyedList.of((endpoints.get(item.id) ?? []).map(toEndpoint), endpointKey),
    services: KeyedList.of((services.get(item.id) ?? []).map(toService), serviceKey),
    underlayMtuBytes: mtuOption(item.driverOptions),
  }));
  const ingress = overlays.find((overlay) => overlay.ingress);
  const ports = itemsOf(all, 'publishedPort').map(toPublishedPort);
  return {
    revision,
    nodeId: node.nodeId as NodeId,
    vtep: node.dataPathAddr as Ip,
    dataPathPort: node.dataPathPort,
    aliasRange: defaultAliasRanges[familyOf(ingress?.subnet ?? node.dataPathAddr)],
    overlays: ordered(overlays, ({ id }) => id),
    publishedPorts: KeyedList.of(ports, publishedPortKey),
    encryptionKeys: itemsOf(all, 'encryptionKey')
      .map(toEncryptionKey)
      .sort((a, b) => a.sequence - b.sequence),
  };
}

/**
 * The state after `changes`; undefined where they concern more than endpoints, services and published ports of overlays that are
 * there, and all must be assembled anew. Costs what is changed.
 */
export function changeNodeNetworkState(
  state: NodeNetworkState,
  changes: readonly AssignmentChange[],
  revision: number,
): NodeNetworkState | undefined {
  const overlays = new Map<string, Writable<OverlayChange>>();
  const ports: Writable<Pick<StateChange, 'publishedPorts' | 'removedPorts'>> = {
    publishedPorts: [],
    removedPorts: [],
  };
  const overlayOf = (overlayId: string): Writable<OverlayChange> | undefined => {
    const id = overlayId as NetworkId;
    if (!state.overlays.some((overlay) => overlay.id === id)) return undefined;
    const change = overlays.get(id) ?? {
      ...{ id, endpoints: [], removedEndpoints: [], services: [], removedServices: [] },
    };
    overlays.set(id, change);
    return change;
  };
  for (const { remove, assignment } of changes) {
    const { kind, item } = assignment;
    if (kind === 'task' || kind === 'secret' || kind === 'config') continue;
    if (kind === 'publishedPort') {
      if (remove) ports.removedPorts.push(publishedPortKey(toPublishedPort(item)));
      else ports.publishedPorts.push(toPublishedPort(item));
      continue;
    }
    if (kind !== 'endpoint' && kind !== 'service') return undefined;
    const change = overlayOf(item.overlayId);
    if (change === undefined) return undefined;
    if (kind === 'endpoint') {
      if (remove) change.removedEndpoints.push(item.taskId);
      else change.endpoints.push(toEndpoint(item));
    } else if (remove) change.removedServices.push(item.serviceId);
    else change.services.push(toService(item));
  }
  return applyStateChange(state, {
    nodeId: state.nodeId,
    baseRevision: state.revision,
    revision,
    overlays: [...overlays.values()],
    ...ports,
  });
}

/** With lists that can be added to. */
type Writable<T> = { -readonly [K in keyof T]: T[K] extends readonly (infer Item)[] ? Item[] : T[K] };

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

const toPeer = ({ nodeId, vtep, address, mac, espEpoch }: AssignmentItems['peer']): Peer => ({
  nodeId: nodeId as NodeId,
  vtep: vtep as Ip,
  address: address as Ip,
  mac: mac as Mac,
  espEpoch,
});

/**
 * The assignment's own value, with its overlay, where nothing has to be filled in: a node with very many endpoints holds each once.
 * 0 and '' come from a manager that does not know the field yet.
 */
function toEndpoint(item: AssignmentItems['endpoint']): Endpoint {
  const { targetPorts, weight, aliases, nameservers } = item;
  if (weight > 0 && aliases && nameservers && targetPorts?.length !== 0) return item as object as Endpoint;
  const { overlayId: _, targetPorts: _t, ...rest } = item;
  const filled = { weight: weight || defaultWeight, aliases: aliases ?? [], nameservers: nameservers ?? [] };
  return { ...rest, ...filled, ...(targetPorts?.length && { targetPorts }) } as object as Endpoint;
}

const toService = (item: AssignmentItems['service']): OverlayService => ({
  id: item.serviceId as ServiceId,
  name: item.name,
  aliases: item.aliases,
  ...(item.vip === '' ? {} : { vip: item.vip as Ip }),
  scheduler: (item.scheduler || defaultScheduler) as Scheduler,
  affinityS: item.affinityS || null,
});

/** A removal has the key's fields alone. */
function toPublishedPort(item: AssignmentItems['publishedPort']): PublishedPort {
  const { interfaces = [], cidrs = [] } = item;
  return {
    serviceId: item.serviceId as ServiceId,
    protocol: item.protocol as PublishedPort['protocol'],
    publishedPort: item.publishedPort,
    targetPort: item.targetPort,
    ...(interfaces.length > 0 && { interfaces }),
    ...(cidrs.length > 0 && { cidrs: cidrs as readonly Cidr[] }),
  };
}

const toEncryptionKey = ({ sequence, key, sends }: AssignmentItems['encryptionKey']): EncryptionKey => ({
  sequence,
  sends,
  key: new SecretBytes(Buffer.from(key, 'base64')),
});
