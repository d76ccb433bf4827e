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

/**
 * A member starts within seconds of being taken in. One that has not by then never may: its node died, or is no manager any more; and
 * etcd takes in no other one meanwhile. Should it start yet, it finds that it was removed, and asks again.
 */
const startMsMax = 60_000;
/** etcd tells nobody that a member has started or caught up. */
const lookMs = 1_000;
/**
 * Where members and managers are the same and alive, whatever comes begins with a change of a node or of a manager's presence, and
 * these wake the loop. But for a manager that was taken in at the moment of its demotion: its learner is found after this.
 */
const settledLookMs = 15_000;

export async function runMembersLoop(options: MembersLoopOptions, signal: AbortSignal): Promise<void> {
  const { store, clock, log } = options;
  const trigger = new Trigger();
  /** When a member that has not started was first seen, by its id. */
  const unstarted = new Map<string, number>();
  const unsubscribe = store.subscribe(({ changes }) => {
    if (changes.some(({ kind }) => kind === 'node' || kind === 'manager' || kind === 'leader'))
      trigger.fire();
  });
  try {
    await runLoop(
      { name: 'members', trigger, clock, log, resyncMs: settledLookMs, gapMs: 20, retryMsMax: 2_000 },
      async () => {
        const present = await options.members.list();
        const isSettled = await pass(options, present);
        await removeAbandoned(options, present, unstarted);
        return isSettled ? settledLookMs : lookMs;
      },
      signal,
    );
  } finally {
    unsubscribe();
  }
}

async function removeAbandoned(
  { members, clock, log }: MembersLoopOptions,
  present: readonly EtcdMember[],
  unstarted: Map<string, number>,
): Promise<void> {
  const waiting = present.filter(({ name }) => name === '');
  const ids = new Set(waiting.map(({ id }) => id));
  for (const id of unstarted.keys()) if (!ids.has(id)) unstarted.delete(id);
  for (const { id, peerUrls } of waiting) {
    const sinceMs = unstarted.get(id) ?? clock.steadyMs();
    unstarted.set(id, sinceMs);
    if (clock.steadyMs() - sinceMs < startMsMax) continue;
    log.warn({ peerUrls }, 'a member that was taken in has never started, and is removed');
    await members.remove(id);
  }
}

/** @returns whether there was nothing to do, and nothing is to come */
async function pass(
  { store, nodeId, members, client, raft, log }: MembersLoopOptions,
  present: readonly EtcdMember[],
): Promise<boolean> {
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
  return plan.isSettled;

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
