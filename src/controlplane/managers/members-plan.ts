/**
 * What of the managers is to change: who becomes one or stops to be, which members etcd is to have, and what `docker node ls`
 * says of each. Pure. A member is removed only while the rest has a quorum that is alive, and before its node becomes a
 * worker: never a step that would lose the store.
 */
import { isDeepStrictEqual } from 'node:util';
import { leaderId } from '../../model/ids.js';
import type { NodeId } from '../../model/ids.js';
import type { Node } from '../../model/objects.js';
import type { EtcdMember } from '../etcd/members.js';
import type { View } from '../store/store.js';

export interface MembersPlan {
  /** Learners that vote from now on, if they have caught up. Only of nodes that are to be managers: nobody knows when another's ends. */
  readonly promote: readonly EtcdMember[];
  readonly remove: readonly EtcdMember[];
  /** As they are to be. */
  readonly nodes: readonly Node[];
  /** Who is to lead, since the leader is to be a worker. */
  readonly successor?: NodeId;
  /** Those that are to be managers are the members, vote and are alive: there is nothing to do, or to wait for. */
  readonly isSettled: boolean;
}

/** @param self the leader, whose plan it is */
export function planMembers(view: View, members: readonly EtcdMember[], self: NodeId): MembersPlan {
  const promote: EtcdMember[] = [];
  const remove: EtcdMember[] = [];
  const nodes: Node[] = [];
  let successor: NodeId | undefined;
  // One at a time: whether the next one may go depends on this one's being gone.
  const removeOne = (member: EtcdMember): void => {
    if (remove.length === 0 && (member.isLearner || keepsQuorum(view, members, member.id)))
      remove.push(member);
  };
  for (const node of view.list('node')) {
    const member = members.find(({ name }) => name === node.id);
    const isToBeManager = node.spec.role === 'manager';
    if (isToBeManager && member?.isLearner) promote.push(member);
    // Whatever its role is already: it may have been taken in again just before it became a worker.
    if (!isToBeManager && member) {
      if (node.id === self) successor = successorOf(view, members, self);
      else removeOne(member);
    }
    // Its etcd is gone first: a worker's certificate would be refused there.
    const role = isToBeManager || (member && node.role === 'manager') ? 'manager' : 'worker';
    const { managerStatus: _, ...rest } = node;
    const managerStatus = role === 'manager' ? managerStatusOf(view, node, member) : undefined;
    const wanted: Node = { ...rest, role, ...(managerStatus && { managerStatus }) };
    if (!isDeepStrictEqual(wanted, node)) nodes.push(wanted);
  }
  // Of nodes that were removed.
  for (const member of members)
    if (member.name !== '' && !view.get('node', member.name as NodeId)) removeOne(member);
  const isSettled = nodes.length === 0 && isSettledAt(view, members);
  return { promote, remove, nodes, ...(successor && { successor }), isSettled };
}

/** One that is not alive may be taken in anew at any time, by any manager, with nothing written in the store. */
function isSettledAt(view: View, members: readonly EtcdMember[]): boolean {
  const wanted = view.list('node').filter(({ spec }) => spec.role === 'manager');
  const voting = new Set(members.filter(({ isLearner }) => !isLearner).map(({ name }) => name));
  const isWell = ({ id }: Node): boolean => voting.has(id) && view.get('manager', id) !== undefined;
  return members.length === wanted.length && wanted.every(isWell);
}

/** True when a majority of the members that vote without this one is alive (Swarm's rule, semantics 11.4). */
export function keepsQuorum(view: View, members: readonly EtcdMember[], without: string): boolean {
  const rest = members.filter(({ id, isLearner }) => !isLearner && id !== without);
  return isQuorumAlive(
    view,
    rest.map(({ name }) => name as NodeId),
  );
}

/** The same, before a manager is asked to go, of those the nodes tell of. */
export function mayDemote(view: View, nodeId: NodeId): boolean {
  const rest = view.list('node').filter(({ id, managerStatus }) => managerStatus && id !== nodeId);
  return isQuorumAlive(
    view,
    rest.map(({ id }) => id),
  );
}

const isQuorumAlive = (view: View, managers: readonly NodeId[]): boolean =>
  managers.filter((id) => view.get('manager', id)).length >= Math.floor(managers.length / 2) + 1;

const successorOf = (view: View, members: readonly EtcdMember[], self: NodeId): NodeId | undefined =>
  members
    .filter(({ isLearner }) => !isLearner)
    .map(({ name }) => view.get('node', name as NodeId))
    .find((node) => node && node.id !== self && node.spec.role === 'manager' && view.get('manager', node.id))
    ?.id;

/** Undefined for one that has not been there yet. */
function managerStatusOf(
  view: View,
  { id, managerStatus }: Node,
  member: EtcdMember | undefined,
): Node['managerStatus'] {
  const presence = view.get('manager', id);
  const addr = presence?.addr ?? managerStatus?.addr;
  if (!member || addr === undefined) return undefined;
  return {
    leader: view.get('leader', leaderId)?.nodeId === id,
    reachability: presence ? 'reachable' : 'unreachable',
    addr,
  };
}
