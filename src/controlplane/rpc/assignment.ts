/**
 * An assignment: one thing a node has to know. Each has a key; a node's whole assignment is a map by key, and a
 * message is a difference between two such maps. Both sides share this file, so they cannot disagree about keys.
 */
import assert from 'node:assert';
import type { Task } from '../../model/objects.js';
import type { PayloadKind } from '../../model/payloads.js';
import { SecretBytes } from '../../model/secret-bytes.js';
import type { TraceId } from '../../model/trace.js';
import { isTraceId, tracesMax } from '../../model/trace.js';
import type { Labels } from '../../model/service-spec.js';

export interface AssignmentItems {
  task: { readonly id: string; readonly task: Task };
  node: { readonly nodeId: string; readonly dataPathAddr: string; readonly dataPathPort: number };
  overlay: {
    readonly id: string;
    readonly name: string;
    readonly vni: number;
    readonly subnet: string;
    readonly gateway: string;
    /** Absent from a manager that knows of one subnet only. */
    readonly furtherSubnets?: readonly { readonly subnet: string; readonly gateway: string }[];
    readonly ingress: boolean;
    readonly internal: boolean;
    readonly ownAddress: string;
    readonly ownMac: string;
    readonly attachable: boolean;
    readonly driverOptions: Labels;
    readonly labels: Labels;
  };
  peer: {
    readonly overlayId: string;
    readonly nodeId: string;
    readonly vtep: string;
    readonly address: string;
    readonly mac: string;
    /** 0: not known. */
    readonly espEpoch: number;
  };
  endpoint: {
    readonly overlayId: string;
    readonly taskId: string;
    readonly serviceId: string;
    readonly nodeId: string;
    readonly address: string;
    readonly mac: string;
    readonly name: string;
    readonly serving: boolean;
    readonly weight: number;
    readonly aliases: readonly string[];
    readonly nameservers: readonly string[];
    /** Ports of its service by which it is reached otherwise than `publishedPort` says; target 0: not at all. Absent: none. */
    readonly targetPorts?: readonly {
      readonly protocol: string;
      readonly publishedPort: number;
      readonly targetPort: number;
    }[];
  };
  service: {
    readonly overlayId: string;
    readonly serviceId: string;
    readonly name: string;
    readonly aliases: readonly string[];
    /** Empty for dnsrr. */
    readonly vip: string;
    readonly scheduler: string;
    /** 0: none. */
    readonly affinityS: number;
  };
  publishedPort: {
    readonly protocol: string;
    readonly publishedPort: number;
    readonly serviceId: string;
    readonly targetPort: number;
    /** Where it listens; empty: everywhere. */
    readonly interfaces: readonly string[];
    readonly cidrs: readonly string[];
  };
  encryptionKey: {
    readonly sequence: number;
    /** Base64. */
    readonly key: string;
    readonly sends: boolean;
  };
  secret: PayloadItem;
  config: PayloadItem;
}

/** A secret or config that a task of the node is given. */
export interface PayloadItem {
  readonly id: string;
  readonly data: SecretBytes;
  /** Empty: it is given as it is. */
  readonly templating: string;
}
export type AssignmentKind = keyof AssignmentItems;
export type Assignment = {
  [K in AssignmentKind]: { readonly kind: K; readonly item: AssignmentItems[K] };
}[AssignmentKind];

/** All that one node has to know, by {@link assignmentKey}. */
export type Assignments = ReadonlyMap<string, Assignment>;

/** `remove` carries an assignment of which only the key's fields count. */
export interface AssignmentChange {
  readonly remove: boolean;
  readonly assignment: Assignment;
}

/** One message of the Assignments stream. */
export interface AssignmentsMessage {
  readonly complete: boolean;
  readonly appliesTo: number;
  readonly resultsIn: number;
  readonly revision: number;
  readonly changes: readonly AssignmentChange[];
  /** The next message goes on with what this one began: it counts when the last has come. */
  readonly more: boolean;
  /** Of the requests that the changes come from; absent from a manager that does not tell. */
  readonly traces?: readonly TraceId[];
}

export const payloadKey = (kind: PayloadKind, id: string): string => `${kind}/${id}`;

export function assignmentKey({ kind, item }: Assignment): string {
  switch (kind) {
    case 'task':
      return `task/${item.id}`;
    case 'node':
      return 'node';
    case 'overlay':
      return `overlay/${item.id}`;
    case 'peer':
      return `peer/${item.overlayId}/${item.nodeId}`;
    case 'endpoint':
      return endpointsKey(item.overlayId) + item.taskId;
    case 'service':
      return `service/${item.overlayId}/${item.serviceId}`;
    case 'publishedPort':
      return `port/${item.protocol}/${item.publishedPort}`;
    case 'encryptionKey':
      return `encryption-key/${item.sequence}`;
    case 'secret':
    case 'config':
      return payloadKey(kind, item.id);
  }
}

let lastEndpoints = { overlayId: '', key: '' };

/** Made once for those of an overlay that come one after the other: each of a hundred thousand keys holds on to it. */
function endpointsKey(overlayId: string): string {
  if (lastEndpoints.overlayId !== overlayId) lastEndpoints = { overlayId, key: `endpoint/${overlayId}/` };
  return lastEndpoints.key;
}

/** Makes the changes in the map and gives it; `complete` forgets what was there and gives another. */
export function applyChanges(
  known: Map<string, Assignment>,
  changes: readonly AssignmentChange[],
  complete = false,
): Map<string, Assignment> {
  const after = complete ? new Map<string, Assignment>() : known;
  for (const { remove, assignment } of changes) {
    const key = assignmentKey(assignment);
    if (remove) after.delete(key);
    else after.set(key, assignment);
  }
  return after;
}

/** As proto-loader gives and takes it: `item` names the field that is set. */
export interface WireAssignment {
  readonly remove: boolean;
  readonly item?: AssignmentKind;
  readonly [field: string]: unknown;
}
export interface WireAssignmentsMessage extends Omit<AssignmentsMessage, 'changes' | 'traces'> {
  readonly changes: readonly WireAssignment[];
  readonly traces?: readonly Uint8Array[];
}

/** As it is sent: the changes are octets already ({@link encodeChanges} of proto.ts), for many nodes are told the same. */
export interface EncodedAssignmentsMessage extends Omit<AssignmentsMessage, 'changes' | 'traces'> {
  readonly encoded: readonly Buffer[];
  readonly traces?: readonly Uint8Array[];
}

export const encodeTraces = (traces: readonly TraceId[]): Uint8Array[] =>
  traces.map((trace) => Buffer.from(trace, 'hex'));

/** What is none is left out: the log is no reason to end a session. */
const decodeTraces = (traces: readonly Uint8Array[]): readonly TraceId[] =>
  traces.slice(0, tracesMax).flatMap((octets) => {
    const trace = Buffer.from(octets).toString('hex');
    return isTraceId(trace) ? [trace] : [];
  });

export function formatChange({ remove, assignment }: AssignmentChange): WireAssignment {
  const { kind } = assignment;
  if (remove) return { remove, [kind]: keyFields(assignment) };
  switch (kind) {
    case 'task': {
      const { id, task } = assignment.item;
      return { remove, task: { id, taskJson: Buffer.from(JSON.stringify(task)) } };
    }
    case 'secret':
    case 'config':
      return { remove, [kind]: { ...assignment.item, data: assignment.item.data.reveal() } };
    default:
      return { remove, [kind]: assignment.item };
  }
}

export function parseChange(wire: WireAssignment): AssignmentChange {
  const kind = wire.item;
  assert(kind !== undefined, 'an assignment of a kind this agent does not know');
  const item = wire[kind];
  if (wire.remove) return { remove: true, assignment: { kind, item } as Assignment };
  switch (kind) {
    case 'task': {
      const { id, taskJson } = item as { id: string; taskJson: Buffer };
      const task = JSON.parse(taskJson.toString()) as Task;
      return { remove: false, assignment: { kind, item: { id, task } } };
    }
    case 'secret':
    case 'config': {
      const { data, ...rest } = item as Omit<PayloadItem, 'data'> & { readonly data: Buffer };
      return { remove: false, assignment: { kind, item: { ...rest, data: new SecretBytes(data) } } };
    }
    case 'endpoint':
      return {
        remove: false,
        assignment: { kind, item: compactEndpoint(item as AssignmentItems[typeof kind]) },
      };
    default:
      return { remove: false, assignment: { kind, item } as Assignment };
  }
}

const none: readonly never[] = [];
/** A copy: a list that was made item by item has room for 17. */
const exactly = <T>(list: readonly T[]): readonly T[] => (list.length > 0 ? list.slice() : none);

/**
 * A node holds a hundred thousand of them where its networks are large. As decoded each has lists and ids of its own, which are the
 * same in most, and a store of fields beside it.
 */
const compactEndpoint = (item: AssignmentItems['endpoint']): AssignmentItems['endpoint'] => ({
  overlayId: sameText(item.overlayId),
  taskId: item.taskId,
  serviceId: sameText(item.serviceId),
  nodeId: sameText(item.nodeId),
  address: item.address,
  mac: item.mac,
  name: item.name,
  serving: item.serving,
  weight: item.weight,
  aliases: exactly(item.aliases),
  nameservers: exactly(item.nameservers),
  ...(item.targetPorts?.length && { targetPorts: exactly(item.targetPorts) }),
});

/** As many ids as a large cluster has of services and nodes; more, and it begins anew. */
const textsMax = 16_384;
const texts = new Map<string, string>();

/** The text, as one string however often it comes. */
function sameText(text: string): string {
  const known = texts.get(text);
  if (known !== undefined) return known;
  if (texts.size >= textsMax) texts.clear();
  texts.set(text, text);
  return text;
}

export const parseMessage = (wire: WireAssignmentsMessage): AssignmentsMessage => ({
  complete: wire.complete,
  appliesTo: wire.appliesTo,
  resultsIn: wire.resultsIn,
  revision: wire.revision,
  changes: wire.changes.map(parseChange),
  more: wire.more,
  traces: decodeTraces(wire.traces ?? []),
});

/** A removal is as small as its key. */
function keyFields({ kind, item }: Assignment): object {
  switch (kind) {
    case 'task':
    case 'overlay':
    case 'secret':
    case 'config':
      return { id: item.id };
    case 'node':
      return { nodeId: item.nodeId };
    case 'peer':
      return { overlayId: item.overlayId, nodeId: item.nodeId };
    case 'endpoint':
      return { overlayId: item.overlayId, taskId: item.taskId };
    case 'service':
      return { overlayId: item.overlayId, serviceId: item.serviceId };
    case 'publishedPort':
      return { protocol: item.protocol, publishedPort: item.publishedPort };
    case 'encryptionKey':
      return { sequence: item.sequence };
  }
}
