/** Brings etcd's members and the managers' nodes to what {@link planMembers} says, on the leader. */
import { leaderId } from '../../model/ids.js';
import type { NodeId } from '../../model/ids.js';
import type { Node } from '../../model/objects.js';
import type { Clock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';
import { runLoop, Trigger } from '../../runtime/loop.js';
import type { EtcdClient } from '../etcd/client.js';
import type { EtcdMember, EtcdMembers } from '../etcd/members.js';
import type { RaftWatch } from '../leadership/raft-watch.js';
import { maxWrites } from '../store/store.js';
import type { Store } from '../store/store.js';
import { planMembers } from './members-plan.js';

export interface MembersLoopOptions {
  /** The leader's. */
  readonly store: Store;
  readonly nodeId: NodeId;
  readonly members: Pick<EtcdMembers, 'list' | 'promote' | 'remove'>;
  readonly client: Pick<EtcdClient, 'moveLeader'>;
  readonly raft: Pick<RaftWatch, 'status'>;
  readonly clock: Clock;
  readonly log: Log;
}

/** etcd tells nobody that a member has started or caught up. */
const lookMs = 1_000;

export async function runMembersLoop(options: MembersLoopOptions, signal: AbortSignal): Promise<void> {
  const { store, clock, log } = options;
  const trigger = new Trigger();
  const unsubscribe = store.subscribe(({ changes }) => {
    if (changes.some(({ kind }) => kind === 'node' || kind === 'manager' || kind === 'leader'))
      trigger.fire();
  });
  try {
    await runLoop(
      { name: 'members', trigger, clock, log, resyncMs: lookMs, gapMs: 20, retryMsMax: 2_000 },
      () => pass(options),
      signal,
    );
  } finally {
    unsubscribe();
  }
}

async function pass({ store, nodeId, members, client, raft, log }: MembersLoopOptions): Promise<void> {
  const present = await members.list();
  const plan = planMembers(store.view(), present, nodeId);
  for (const { id, name } of plan.promote)
    if (await members.promote(id)) log.info({ node: name }, 'manager votes');
  for (const { id, name } of plan.remove) {
    await members.remove(id);
    log.info({ node: name }, 'manager removed');
  }
  for (let i = 0; i < plan.nodes.length; i += maxWrites)
    await writeNodes(store, plan.nodes.slice(i, i + maxWrites));
  if (plan.successor !== undefined) await handOver(plan.successor, present);

  async function handOver(successor: NodeId, all: readonly EtcdMember[]): Promise<void> {
    const member = all.find(({ name }) => name === successor);
    log.info({ successor }, 'hands over');
    // Raft's leader first: the other way round this manager would take office again.
    if (member && raft.status?.isLeader) await client.moveLeader(member.id);
    await store.update((tx) => {
      const leader = tx.get('leader', leaderId);
      if (leader) tx.update('leader', { ...leader, nodeId: successor });
    });
  }
}

/** A node that was changed meanwhile waits for the next pass. */
const writeNodes = (store: Store, nodes: readonly Node[]): Promise<void> =>
  store.update((tx) => {
    for (const node of nodes) if (tx.get('node', node.id)?.version === node.version) tx.update('node', node);
  });
