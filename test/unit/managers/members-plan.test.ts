/** What becomes of managers, as a table; each plan, carried out, leaves nothing to plan. */
import { describe, expect, test } from 'vitest';
import type { EtcdMember } from '../../../src/controlplane/etcd/members.js';
import { planMembers } from '../../../src/controlplane/managers/members-plan.js';
import type { NodeId } from '../../../src/model/ids.js';
import type { Node, NodeRole } from '../../../src/model/objects.js';
import { leader, node, presence, viewOf } from '../../support/cluster-objects.js';

const self = 'a' as NodeId;
const member = (name: string, over: Partial<EtcdMember> = {}): EtcdMember => ({
  id: `m-${name}`,
  name,
  peerUrls: [`https://${name}:2380`],
  isLearner: false,
  ...over,
});
const status = (id: string, over: Partial<NonNullable<Node['managerStatus']>> = {}) => ({
  leader: id === 'a',
  reachability: 'reachable' as const,
  addr: `${id}.example:2377`,
  ...over,
});
const manager = (id: string, wanted: NodeRole = 'manager', over: Partial<Node> = {}): Node => {
  const made = node(id);
  return {
    ...made,
    role: 'manager',
    spec: { ...made.spec, role: wanted },
    managerStatus: status(id),
    ...over,
  };
};
const worker = (id: string, wanted: NodeRole = 'worker'): Node => {
  const made = node(id);
  return { ...made, spec: { ...made.spec, role: wanted } };
};

async function planOf(nodes: readonly Node[], members: readonly EtcdMember[], dead: readonly string[] = []) {
  const alive = members.filter(({ name, isLearner }) => name !== '' && !isLearner && !dead.includes(name));
  const view = await viewOf({
    node: nodes,
    manager: alive.map(({ name }) => presence(name)),
    leader: [leader('a')],
  });
  return planMembers(view, members, self);
}

async function planned(...given: Parameters<typeof planOf>) {
  const plan = await planOf(...given);
  return {
    promote: plan.promote.map(({ name }) => name),
    remove: plan.remove.map(({ name }) => name),
    nodes: plan.nodes.map(({ id, role, managerStatus }) => ({ id, role, managerStatus })),
    successor: plan.successor,
  };
}
const nothing = { promote: [], remove: [], nodes: [], successor: undefined };
const three = ['a', 'b', 'c'];

describe('members', () => {
  test('that are as they are to be are left alone', async () => {
    expect(
      await planned(
        [...three.map((id) => manager(id)), worker('w')],
        three.map((id) => member(id)),
      ),
    ).toEqual(nothing);
  });

  test('that have started and learn are to vote; one that has not started is waited for', async () => {
    const nodes = [manager('a'), manager('b', 'manager', { managerStatus: status('b') })];
    expect(await planned(nodes, [member('a'), member('b', { isLearner: true })], ['b'])).toMatchObject({
      promote: ['b'],
      remove: [],
    });
    expect(await planned([manager('a')], [member('a'), member('', { isLearner: true })])).toEqual(nothing);
  });

  test('of removed nodes go', async () => {
    expect(
      await planned(
        [manager('a'), manager('b')],
        three.map((id) => member(id)),
      ),
    ).toEqual({
      ...nothing,
      remove: ['c'],
    });
  });

  test('of removed nodes go, and do not vote before', async () => {
    expect(await planned([manager('a')], [member('a'), member('b', { isLearner: true })])).toEqual({
      ...nothing,
      remove: ['b'],
    });
  });

  test('are called unreachable when nothing is heard of them', async () => {
    expect(
      await planned(
        three.map((id) => manager(id)),
        three.map((id) => member(id)),
        ['c'],
      ),
    ).toEqual({
      ...nothing,
      nodes: [{ id: 'c', role: 'manager', managerStatus: status('c', { reachability: 'unreachable' }) }],
    });
  });
});

describe('a promoted node', () => {
  test('is a manager at once, and has no status before it is there', async () => {
    expect(await planned([manager('a'), worker('b', 'manager')], [member('a')])).toEqual({
      ...nothing,
      nodes: [{ id: 'b', role: 'manager', managerStatus: undefined }],
    });
  });
});

describe('a demoted manager', () => {
  const demoted = [manager('a'), manager('b'), manager('c', 'worker')];

  test('leaves the members first', async () => {
    expect(
      await planned(
        demoted,
        three.map((id) => member(id)),
      ),
    ).toEqual({ ...nothing, remove: ['c'] });
  });

  test('is a worker then', async () => {
    expect(await planned(demoted, [member('a'), member('b')])).toEqual({
      ...nothing,
      nodes: [{ id: 'c', role: 'worker', managerStatus: undefined }],
    });
  });

  test('stays while the rest would have no quorum', async () => {
    const nodes = [manager('a'), manager('b'), manager('c', 'worker')];
    const { remove } = await planned(
      nodes,
      three.map((id) => member(id)),
      ['b'],
    );
    expect(remove).toEqual([]);
  });

  test('that leads names a successor first', async () => {
    const nodes = [manager('a', 'worker'), manager('b', 'worker'), manager('c')];
    expect(
      await planned(
        nodes,
        three.map((id) => member(id)),
      ),
    ).toMatchObject({ successor: 'c' });
  });

  test('that was taken in again does not vote, and leaves before it is a worker', async () => {
    const members = [member('a'), member('b'), member('c', { isLearner: true })];
    expect(await planned(demoted, members)).toMatchObject({ promote: [], remove: ['c'] });
  });

  test('that was taken in again as it became a worker does not vote, and leaves', async () => {
    const nodes = [manager('a'), worker('b')];
    for (const isLearner of [true, false])
      expect(await planned(nodes, [member('a'), member('b', { isLearner })])).toEqual({
        ...nothing,
        remove: ['b'],
      });
  });

  test('goes one at a time', async () => {
    const nodes = [manager('a'), manager('b', 'worker'), manager('c', 'worker')];
    const { remove } = await planned(
      nodes,
      three.map((id) => member(id)),
    );
    expect(remove).toEqual(['b']);
  });
});

/** A leader looks at members often until it is so: see members-loop.ts. */
describe('all is settled', () => {
  const cases: readonly (readonly [string, boolean, ...Parameters<typeof planOf>])[] = [
    ['one manager', true, [manager('a'), worker('w')], [member('a')]],
    ['three managers', true, three.map((id) => manager(id)), three.map((id) => member(id))],
    ['but one of them is away', false, three.map((id) => manager(id)), three.map((id) => member(id)), ['c']],
    ['but one learns', false, [manager('a'), manager('b')], [member('a'), member('b', { isLearner: true })]],
    ['but one has not started', false, [manager('a')], [member('a'), member('')]],
    ['but one is to come', false, [manager('a'), worker('b', 'manager')], [member('a')]],
    ['but one is to go', false, [manager('a'), manager('b', 'worker')], [member('a'), member('b')]],
    ['but one was removed', false, [manager('a')], [member('a'), member('b')]],
  ];
  for (const [name, isSettled, nodes, members, dead] of cases)
    test(name, async () => {
      // What the plan itself changes of nodes is done first.
      const changed = new Map((await planOf(nodes, members, dead)).nodes.map((one) => [one.id, one]));
      const after = nodes.map((one) => changed.get(one.id) ?? one);
      expect((await planOf(after, members, dead)).isSettled).toBe(isSettled);
    });
});
