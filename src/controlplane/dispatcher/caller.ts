/**
 * Who calls, and may they. The caller is read from the client certificate alone (CN = node id, OU = role,
 * O = cluster id); a node that was removed from the cluster is refused though its certificate is still valid.
 */
import type { NodeId } from '../../model/ids.js';
import { SkepError } from '../../model/errors.js';
import type { Node, NodeRole } from '../../model/objects.js';
import type { View } from '../store/store.js';

/** The verified client certificate of a call, and where the call comes from. */
export interface Caller {
  readonly nodeId: string;
  readonly role: string;
  readonly clusterId: string;
  /** Address of the connection without port. */
  readonly addr: string;
}

const ou = (role: NodeRole): string => `swarm-${role}`;

/** The calling node, as the store has it; refuses strangers in Swarm's words. */
export function authorize(
  caller: Caller | undefined,
  view: View,
  roles: readonly NodeRole[] = ['worker', 'manager'],
): Node {
  if (!caller) throw new SkepError('unauthenticated', 'no client certificates in request');
  if (!roles.some((role) => role === caller.role)) {
    const units = roles.map(ou).join(' ');
    throw new SkepError('permissionDenied', `remote certificate not part of OUs: [${units}]`);
  }
  const cluster = view.cluster();
  if (caller.clusterId !== cluster.id)
    throw new SkepError('permissionDenied', `remote certificate not part of organization: ${cluster.id}`);
  const node = view.get('node', caller.nodeId as NodeId);
  if (!node) throw new SkepError('notFound', 'node not registered');
  return node;
}

/** The address in grpc-js' `getPeer()`: `1.2.3.4:5`, `[::1]:5`, `[::ffff:1.2.3.4]:5`. Empty for anything else. */
export function peerAddress(peer: string): string {
  const match = /^(?:ipv[46]:)?(?:\[(.+)\]|([^[\]]+)):\d+$/.exec(peer);
  const host = match?.[1] ?? match?.[2] ?? '';
  return host.replace(/^::ffff:(?=\d+\.)/i, '');
}
