/** Who leads, as a table; and that a deposed leader writes nothing. */
import { describe, expect, test } from 'vitest';
import {
  DeposedError,
  mayTakeOffice,
  storeInOffice,
  takeOffice,
} from '../../../src/controlplane/leadership/office.js';
import type { Candidate } from '../../../src/controlplane/leadership/office.js';
import { leaderId } from '../../../src/model/ids.js';
import type { NodeId } from '../../../src/model/ids.js';
import { leader, node, presence, storeOf, viewOf } from '../../support/cluster-objects.js';

const candidate = (nodeId: string, isRaftLeader = false, raftTerm = 2): Candidate => ({
  nodeId: nodeId as NodeId,
  isRaftLeader,
  raftTerm,
});

describe('office is taken', () => {
  const alive = ['a', 'b', 'c'].map(presence);
  test.each([
    ['by anybody where nobody has led', [], alive, candidate('b'), true],
    ['by nobody while the leader is alive', [leader('a')], alive, candidate('b'), false],
    ['by who led in an earlier life', [leader('a')], [], candidate('a'), true],
    ['by who leads Raft since', [leader('a', 2)], alive, candidate('b', true, 3), true],
    [
      'not by who led Raft already when office was taken',
      [leader('a', 3)],
      alive,
      candidate('b', true, 3),
      false,
    ],
    [
      'by the first of those alive when the leader is not',
      [leader('a')],
      alive.slice(1),
      candidate('b'),
      true,
    ],
    ['not by the others', [leader('a')], alive.slice(1), candidate('c'), false],
    ['by nobody of whom nothing is known', [leader('a')], [], candidate('b'), false],
  ])('%s', async (_, leaders, managers, who, expected) => {
    expect(mayTakeOffice(await viewOf({ leader: leaders, manager: managers }), who)).toBe(expected);
  });
});

describe('the store of a term', () => {
  test('takes what the leader writes, and nothing of it after another took office', async () => {
    const store = await storeOf({ node: [node('a'), node('b')] });
    await store.update((tx) => takeOffice(tx, candidate('a')));
    const inOffice = storeInOffice(store, store.view().get('leader', leaderId)!.version);
    const drain = (id: string) =>
      inOffice.update((tx) => {
        const found = tx.get('node', id as NodeId)!;
        tx.update('node', { ...found, spec: { ...found.spec, availability: 'drain' } });
      });
    await drain('a');
    expect(store.view().get('node', 'a' as NodeId)?.spec.availability).toBe('drain');

    await store.update((tx) => takeOffice(tx, candidate('b', true, 3)));
    await expect(drain('b')).rejects.toThrow(DeposedError);
    expect(store.view().get('node', 'b' as NodeId)?.spec.availability).toBe('active');
  });

  test('takes nothing either when the other took office while the write was under way', async () => {
    const store = await storeOf({ node: [node('a')] });
    await store.update((tx) => takeOffice(tx, candidate('a')));
    const inOffice = storeInOffice(store, store.view().get('leader', leaderId)!.version);
    let raced = false;
    const late = inOffice.update((tx) => {
      // A commit between the body and its own: the store in memory commits at once.
      if (!raced) void store.update((other) => takeOffice(other, candidate('b', true, 3)));
      raced = true;
      tx.delete('node', 'a');
    });
    await expect(late).rejects.toThrow(DeposedError);
    expect(store.view().get('node', 'a' as NodeId)).toBeDefined();
  });
});
