/**
 * Who calls, and may they. The caller is read from the client certificate alone (CN = node id, OU = role,
 * O = cluster id). TLS has verified it when the connection was made; every call asks again whether the certificate is still
 * good: a connection may outlast the certificate, the root that signed it, and the node's membership.
 */
import type { NodeId } from '../../model/ids.js';
import { SkepError } from '../../model/errors.js';
import type { Cluster, Node, NodeRole } from '../../model/objects.js';
import type { View } from '../store/store.js';

/** The verified client certificate of a call, and where the call comes from. */
export interface Caller {
  readonly nodeId: string;
  readonly role: string;
  readonly clusterId: string;
  /** The certificate (DER). */
  readonly certificate: Buffer;
  /** Address of the connection without port. */
  readonly addr: string;
}

/** Whether a certificate that was verified once still is to be believed. */
export type IsTrusted = (certificate: Buffer, cluster: Cluster) => boolean;

/**
 * Who is at the other end of a call, found out once: a call has one connection, and a connection one certificate. A node's stream of
 * acknowledgements asks with each message, of which a change brings a thousand; that was three tenths of what it cost a manager.
 */
export class Callers<Call extends { getPeer(): string }> {
  readonly #known = new WeakMap<Call, Caller>();

  constructor(private readonly peerOf: (call: Call) => Omit<Caller, 'addr'> | undefined) {}

  /** Undefined: nobody whose certificate was verified. */
  of(call: Call): Caller | undefined {
    const known = this.#known.get(call);
    if (known) return known;
    const peer = this.peerOf(call);
    if (!peer) return undefined;
    const caller = { ...peer, addr: peerAddress(call.getPeer()) };
    this.#known.set(call, caller);
    return caller;
  }
}

const everybody: readonly NodeRole[] = ['worker', 'manager'];
const ou = (role: NodeRole): string => `swarm-${role}`;

/** The calling node, as the store has it; refuses strangers in Swarm's words. */
export function authorize(
  caller: Caller | undefined,
  view: View,
  isTrusted: IsTrusted,
  roles: readonly NodeRole[] = everybody,
): Node {
  if (!caller || !isTrusted(caller.certificate, view.cluster()))
    throw new SkepError('unauthenticated', 'no client certificates in request');
  return memberOf(caller, view, roles);
}

/** The node that a genuine certificate is for, if it is still one of the cluster. */
export function memberOf(
  { nodeId, role, clusterId }: Pick<Caller, 'nodeId' | 'role' | 'clusterId'>,
  view: View,
  roles: readonly NodeRole[] = everybody,
): Node {
  if (!roles.some((allowed) => allowed === role)) {
    const units = roles.map(ou).join(' ');
    throw new SkepError('permissionDenied', `remote certificate not part of OUs: [${units}]`);
  }
  const cluster = view.cluster();
  if (clusterId !== cluster.id)
    throw new SkepError('permissionDenied', `remote certificate not part of organization: ${cluster.id}`);
  const node = view.get('node', nodeId as NodeId);
  // Certificates are given to nodes alone, and a node is written before it has its first.
  if (!node)
    throw new SkepError('permissionDenied', `Permission denied: node ${nodeId} was removed from swarm`);
  return node;
}

/** The address in grpc-js' `getPeer()`: `1.2.3.4:5`, `[::1]:5`, `[::ffff:1.2.3.4]:5`. Empty for anything else. */
export function peerAddress(peer: string): string {
  const match = /^(?:ipv[46]:)?(?:\[(.+)\]|([^[\]]+)):\d+$/.exec(peer);
  const host = match?.[1] ?? match?.[2] ?? '';
  return host.replace(/^::ffff:(?=\d+\.)/i, '');
}
