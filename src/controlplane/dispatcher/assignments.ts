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
import type { Config, Network, Node, Secret, Task } from '../../model/objects.js';
import type { PayloadKind } from '../../model/payloads.js';
import { SecretBytes } from '../../model/secret-bytes.js';
import { atLeast, atMost } from '../../model/task-state.js';
import type { KeyedList } from '../../runtime/keyed-list.js';
import { difference } from '../../runtime/keyed-list.js';
import type { Assignment, AssignmentChange, Assignments, PayloadItem } from '../rpc/assignment.js';
import { assignmentKey } from '../rpc/assignment.js';
import type { View } from '../store/store.js';
import type { SharedAssignments } from './shared-assignments.js';

/** What one node has to know: its own, and what it shares with others, by the list that they share. */
export interface NodeAssignments {
  readonly own: Assignments;
  /** What `own` was made of: it is the same as long as these are. */
  readonly sources: readonly unknown[];
  /** Those it takes part in. It is among the peers, and ignores itself. */
  readonly networks: ReadonlyMap<NetworkId, KeyedList<Assignment>>;
  /** Null for a node that is not on ingress. */
  readonly publishedPorts: KeyedList<Assignment> | null;
}

/**
 * All that `nodeId` has to know; null for a node that is not in the store. Costs the node's networks, and its own tasks where
 * something of them has changed.
 * @param before what it had to know before, if that is known
 */
export function nodeAssignments(
  view: View,
  nodeId: NodeId,
  { byNetwork, publishedPorts }: SharedAssignments,
  before: NodeAssignments | null = null,
): NodeAssignments | null {
  const node = view.get('node', nodeId);
  if (!node) return null;
  const networks = new Map<NetworkId, KeyedList<Assignment>>();
  let isOnIngress = false;
  for (const { networkId } of node.attachments) {
    const network = view.get('network', networkId);
    const shared = byNetwork.get(networkId);
    if (!network?.allocation || !shared) continue;
    networks.set(networkId, shared);
    isOnIngress ||= network.spec.ingress;
  }
  const sources = [
    ...[node, view.cluster(), view.tasksOnNode(nodeId), view.list('network'), ...networks.keys()],
    ...[view.list('secret'), view.list('config')],
  ];
  const isSame =
    before?.sources.length === sources.length && sources.every((one, i) => one === before.sources[i]);
  const own = isSame ? before.own : ownAssignments(view, node, networks);
  return { own, sources, networks, publishedPorts: isOnIngress ? publishedPorts : null };
}

/** What is for the node alone. @param networks that it takes part in */
function ownAssignments(view: View, node: Node, networks: ReadonlyMap<NetworkId, unknown>): Assignments {
  const { id: nodeId } = node;
  const own = new Map<string, Assignment>();
  const add = (assignment: Assignment): unknown => own.set(assignmentKey(assignment), assignment);
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
    if (!network?.allocation || !networks.has(networkId)) continue;
    add(overlayAssignment(network, network.allocation, { address, mac }));
    if (isEncrypted(network.spec)) encryptionKeys(view).forEach(add);
  }
  return own;
}

/**
 * What to tell `nodeId` so that it knows `after`. Costs its own and what differs of the rest.
 * @param before what it knows; null: nothing
 */
export const changesBetween = (
  before: NodeAssignments | null,
  after: NodeAssignments | null,
  nodeId: NodeId,
): AssignmentChange[] => [
  ...ownChanges(before, after),
  ...sharedPairs(before, after)
    .flatMap(({ was, is }) => sharedChanges(was, is))
    .filter(({ assignment }) => !isPeerItself(assignment, nodeId)),
];

/** Of what is the node's alone. */
export function ownChanges(
  before: NodeAssignments | null,
  after: NodeAssignments | null,
): readonly AssignmentChange[] {
  const [was, is] = [before?.own ?? nothing, after?.own ?? nothing];
  return was === is ? [] : diffAssignments(was, is);
}

/** A list that a node shares with others, before and now; null: it does not. */
export interface SharedPair {
  readonly was: KeyedList<Assignment> | null;
  readonly is: KeyedList<Assignment> | null;
}

/** Those that are not the same. */
export function sharedPairs(before: NodeAssignments | null, after: NodeAssignments | null): SharedPair[] {
  const networks = new Set([...(before?.networks.keys() ?? []), ...(after?.networks.keys() ?? [])]);
  return [
    ...[...networks].map((id) => ({
      was: before?.networks.get(id) ?? null,
      is: after?.networks.get(id) ?? null,
    })),
    { was: before?.publishedPorts ?? null, is: after?.publishedPorts ?? null },
  ].filter(({ was, is }) => was !== is);
}

/** It is among the peers of its networks, and no peer of itself. */
export const isPeerItself = ({ kind, item }: Assignment, nodeId: NodeId): boolean =>
  kind === 'peer' && item.nodeId === nodeId;

const nothing: Assignments = new Map();

/** The last that was asked for, by the later list. The earlier one is not kept for it: they would be a chain without end. */
const lastChanges = new WeakMap<
  KeyedList<Assignment>,
  { readonly was: WeakRef<KeyedList<Assignment>>; readonly changes: readonly AssignmentChange[] }
>();

/** What leads from one list that nodes share to the other. Found once for all nodes that are as far, and the same for them. */
export function sharedChanges(
  was: KeyedList<Assignment> | null,
  is: KeyedList<Assignment> | null,
): readonly AssignmentChange[] {
  const last = is && lastChanges.get(is);
  if (last && was && last.was.deref() === was) return last.changes;
  const { gone, come } = difference<Assignment>(was ?? [], is ?? []);
  const put = new Set(come.map(assignmentKey));
  const changes = [
    ...come.map((assignment) => ({ remove: false, assignment })),
    ...gone
      .filter((assignment) => !put.has(assignmentKey(assignment)))
      .map((assignment) => ({ remove: true, assignment })),
  ];
  if (was && is) lastChanges.set(is, { was: new WeakRef(was), changes });
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
