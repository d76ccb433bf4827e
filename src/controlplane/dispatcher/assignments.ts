/**
 * What each node has to know, computed from one view of the store, and the difference between two such answers.
 * Pure. The part that is the same for every node of a network (shared-assignments.ts) is kept up once for all of them in
 * lists that share what is alike, so a node's answer costs its own tasks and networks, and a message what changed.
 *
 * A node never learns of a network it takes no part in, nor of another node's tasks beyond their endpoints.
 */
import { isDeepStrictEqual } from 'node:util';
import { isEncrypted } from '../../model/encryption.js';
import type { ConfigId, NetworkId, NodeId, SecretId } from '../../model/ids.js';
import type { Config, Network, Secret, Task } from '../../model/objects.js';
import type { PayloadKind } from '../../model/payloads.js';
import { SecretBytes } from '../../model/secret-bytes.js';
import { atLeast, atMost } from '../../model/task-state.js';
import type { KeyedList } from '../../runtime/keyed-list.js';
import { difference } from '../../runtime/keyed-list.js';
import type {
  Assignment,
  AssignmentChange,
  AssignmentKind,
  Assignments,
  PayloadItem,
} from '../rpc/assignment.js';
import { assignmentKey } from '../rpc/assignment.js';
import type { View } from '../store/store.js';
import type { SharedAssignments } from './shared-assignments.js';

/** What one node has to know: its own, and what it shares with others, by the list that they share. */
export interface NodeAssignments {
  readonly own: Assignments;
  /** Those it takes part in. It is among the peers, and ignores itself. */
  readonly networks: ReadonlyMap<NetworkId, KeyedList<Assignment>>;
  /** Null for a node that is not on ingress. */
  readonly publishedPorts: KeyedList<Assignment> | null;
}

/** All that `nodeId` has to know; null for a node that is not in the store. Costs the node's own tasks and networks. */
export function nodeAssignments(
  view: View,
  nodeId: NodeId,
  { byNetwork, publishedPorts }: SharedAssignments,
): NodeAssignments | null {
  const node = view.get('node', nodeId);
  if (!node) return null;
  const own = new Map<string, Assignment>();
  const add = (assignment: Assignment): unknown => own.set(assignmentKey(assignment), assignment);
  const networks = new Map<NetworkId, KeyedList<Assignment>>();
  let isOnIngress = false;

  const { dataPathPort } = view.cluster();
  add({ kind: 'node', item: { nodeId, dataPathAddr: node.dataPathAddr ?? '', dataPathPort } });
  let payloadBytes = 0;
  for (const task of view.tasksOnNode(nodeId)) {
    if (!atLeast(task.status.state, 'assigned')) continue;
    add({ kind: 'task', item: { id: task.id, task } });
    // One that has ended needs nothing any more.
    if (!atMost(task.status.state, 'running')) continue;
    for (const payload of payloadsOf(view, task)) {
      if (own.has(assignmentKey(payload))) continue;
      payloadBytes += payload.item.data.reveal().length;
      if (payloadBytes <= payloadBytesMax) add(payload);
    }
  }

  for (const { networkId, address, mac } of node.attachments) {
    const network = view.get('network', networkId);
    const shared = byNetwork.get(networkId);
    if (!network?.allocation || !shared) continue;
    add(overlayAssignment(network, network.allocation, { address, mac }));
    networks.set(networkId, shared);
    isOnIngress ||= network.spec.ingress;
    if (isEncrypted(network.spec)) encryptionKeys(view).forEach(add);
  }
  return { own, networks, publishedPorts: isOnIngress ? publishedPorts : null };
}

/**
 * What to tell `nodeId` so that it knows `after`. Costs its own and what differs of the rest.
 * @param before what it knows; null: nothing
 */
export function changesBetween(
  before: NodeAssignments | null,
  after: NodeAssignments | null,
  nodeId: NodeId,
): AssignmentChange[] {
  const changes = diffAssignments(before?.own ?? new Map(), after?.own ?? new Map());
  const shared = (
    was: KeyedList<Assignment> | null = null,
    is: KeyedList<Assignment> | null = null,
  ): void => {
    const { gone, come } = difference<Assignment>(was ?? [], is ?? []);
    const put = new Set(come.map(assignmentKey));
    const isOfOthers = ({ kind, item }: Assignment): boolean => kind !== 'peer' || item.nodeId !== nodeId;
    for (const assignment of come.filter(isOfOthers)) changes.push({ remove: false, assignment });
    for (const assignment of gone.filter(isOfOthers))
      if (!put.has(assignmentKey(assignment))) changes.push({ remove: true, assignment });
  };
  for (const id of new Set([...(before?.networks.keys() ?? []), ...(after?.networks.keys() ?? [])]))
    shared(before?.networks.get(id), after?.networks.get(id));
  shared(before?.publishedPorts, after?.publishedPorts);
  return changes;
}

/**
 * Of all secrets and configs of one node together, for they come in one message (rpc/proto.ts). A task with one that is beyond is
 * told that it is not to be had.
 */
export const payloadBytesMax = 32 * 1024 * 1024;

type PayloadAssignment = Extract<Assignment, { readonly kind: PayloadKind }>;

/** The secrets and configs that the task is given, as far as there still are such. */
const payloadsOf = (view: View, { spec }: Task): PayloadAssignment[] => [
  ...(spec.container.secrets ?? []).flatMap(({ id }): readonly PayloadAssignment[] => {
    const secret = view.get('secret', id as SecretId);
    return secret ? [{ kind: 'secret', item: payloadItem(secret) }] : [];
  }),
  ...(spec.container.configs ?? []).flatMap(({ id }): readonly PayloadAssignment[] => {
    const config = view.get('config', id as ConfigId);
    return config ? [{ kind: 'config', item: payloadItem(config) }] : [];
  }),
];

const payloadItems = new WeakMap<Secret | Config, PayloadItem>();

/** Made once for each object: what a node has to know is compared with each change of the store. */
function payloadItem(object: Secret | Config): PayloadItem {
  const { id, spec } = object;
  const item = payloadItems.get(object) ?? {
    id,
    data: new SecretBytes(Buffer.from(spec.data, 'base64')),
    templating: spec.templating?.name ?? '',
  };
  payloadItems.set(object, item);
  return item;
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
  { vni, subnet, gateway, furtherSubnets = [] }: NonNullable<Network['allocation']>,
  own: { readonly address: string; readonly mac: string },
): Assignment => ({
  kind: 'overlay',
  item: {
    id,
    name: spec.name,
    vni,
    subnet,
    gateway,
    furtherSubnets,
    ingress: spec.ingress,
    internal: spec.internal,
    ownAddress: own.address,
    ownMac: own.mac,
    attachable: spec.attachable,
    driverOptions: spec.driverOptions,
    labels: spec.labels,
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
