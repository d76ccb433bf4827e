/**
 * Who leads. Pure. The leader is who wrote the leader object last, and everything it writes depends on that object: so at most
 * one manager's writes as a leader go through, however late another learns that it was deposed. When to take office is
 * therefore a question of speed and of peace, not of safety.
 */
import { leaderId } from '../../model/ids.js';
import type { NodeId } from '../../model/ids.js';
import { SkepError, controlApiError } from '../../model/errors.js';
import type { Leader } from '../../model/objects.js';
import type { Store, Transaction, View } from '../store/store.js';

export interface Candidate {
  readonly nodeId: NodeId;
  /** Of its own etcd. */
  readonly isRaftLeader: boolean;
  readonly raftTerm: number;
}

/**
 * True when this manager is to take office. Without a leader anybody is, and so is who led in an earlier life or was named
 * successor. Who leads Raft since a later term is: the leader's machine has failed it, and that is known a lease earlier
 * than the leader's death. Else the first of those alive, once the leader is not.
 */
export function mayTakeOffice(view: View, { nodeId, isRaftLeader, raftTerm }: Candidate): boolean {
  const leader = view.get('leader', leaderId);
  if (!leader || leader.nodeId === nodeId) return true;
  if (isRaftLeader && raftTerm > leader.raftTerm) return true;
  if (view.get('manager', leader.nodeId)) return false;
  return view.list('manager')[0]?.id === nodeId;
}

/** Takes office inside a transaction. */
export function takeOffice(tx: Transaction, { nodeId, raftTerm }: Candidate): void {
  const leader = tx.get('leader', leaderId);
  if (leader) tx.update('leader', { ...leader, nodeId, raftTerm });
  else tx.create('leader', { id: leaderId, nodeId, raftTerm });
}

/** True while the term of office that began with this version of the leader object lasts. */
export const isInOffice = (leader: Leader | undefined, term: number): boolean => leader?.version === term;

/** Swarm's words for a cluster whose managers cannot agree on anything, and what mends it. */
export const noLeaderError = (): SkepError =>
  controlApiError(
    'unknown',
    'The swarm does not have a leader. It\'s possible that too few managers are online. Make sure more than half of the managers are online. If the others are lost for good, run "docker swarm init --force-new-cluster" here: this manager goes on alone with its own copy of the cluster.',
  );

/** A write by who leads no more. */
export class DeposedError extends SkepError {
  constructor() {
    super('unavailable', 'this manager does not lead the swarm any more');
  }
}

/**
 * The store for whatever the leader alone does: nothing is written after its term.
 * @param term the version of the leader object
 */
export const storeInOffice = (store: Store, term: number): Store => ({
  view: () => store.view(),
  subscribe: (listener) => store.subscribe(listener),
  // The store is its owner's to close.
  close: async () => undefined,
  update: (body) =>
    store.update((tx) => {
      // Read first: the commit depends on it.
      if (!isInOffice(tx.get('leader', leaderId), term)) throw new DeposedError();
      return body(tx);
    }),
});
