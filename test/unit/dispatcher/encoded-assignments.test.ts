/** What nodes are told as octets: the same as what they have to know, and the same octets for all where it is the same. */
import { describe, expect, test } from 'vitest';
import {
  changesBetween,
  nodeAssignments,
  ownChanges,
} from '../../../src/controlplane/dispatcher/assignments.js';
import type { NodeAssignments } from '../../../src/controlplane/dispatcher/assignments.js';
import { encodedBetween, encodedParts } from '../../../src/controlplane/dispatcher/encoded-assignments.js';
import { followShared } from '../../../src/controlplane/dispatcher/followed-assignments.js';
import { sharedAssignments } from '../../../src/controlplane/dispatcher/shared-assignments.js';
import { applyChanges, assignmentKey, parseMessage } from '../../../src/controlplane/rpc/assignment.js';
import type { AssignmentChange, WireAssignmentsMessage } from '../../../src/controlplane/rpc/assignment.js';
import { dispatcherDefinition, encodeChanges } from '../../../src/controlplane/rpc/proto.js';
import type { Change, View } from '../../../src/controlplane/store/store.js';
import type { Cidr, Ip, Mac } from '../../../src/model/addresses.js';
import { numberToIp } from '../../../src/model/addresses.js';
import type { NetworkId, NodeId, TaskId, Vni } from '../../../src/model/ids.js';
import { network, node, service, storeOf, task } from '../../support/cluster-objects.js';

const mynet = 'mynet' as NetworkId;
const [one, two] = ['one' as NodeId, 'two' as NodeId];
const leg = (host: number) => ({
  networkId: mynet,
  address: numberToIp(0x0a000000n + BigInt(host), 4),
  mac: '02:00:00:00:00:01' as Mac,
});
const overlay = {
  ...network('mynet'),
  allocation: { vni: 4097 as Vni, subnet: '10.0.0.0/16' as Cidr, gateway: '10.0.0.1' as Ip },
};
const web = service('web');
/** More than one part's. */
const tasks = Array.from({ length: 2_000 }, (_, i) =>
  task(`task${i}`, web, 'running', {
    node: one,
    slot: i + 1,
    networks: [{ ...leg(100 + i), prefixLength: 16, aliases: [] }],
  }),
);
const cluster = () =>
  storeOf({
    network: [overlay],
    node: [one, two].map((id, i) => ({
      ...node(id),
      dataPathAddr: `192.0.2.${i + 1}` as Ip,
      attachments: [leg(2 + i)],
    })),
    service: [web],
    task: tasks,
  });

const { Assignments: method } = dispatcherDefinition;
const decode = (encoded: readonly Buffer[]): readonly AssignmentChange[] => {
  const head = { complete: false, appliesTo: 0, resultsIn: 1, revision: 1, more: false };
  const bytes = method?.responseSerialize({ ...head, encoded });
  return parseMessage(method?.responseDeserialize(bytes ?? Buffer.alloc(0)) as WireAssignmentsMessage)
    .changes;
};
const knownBy = (changes: readonly AssignmentChange[]) => applyChanges(new Map(), changes);
const answers = (view: View, shared = sharedAssignments(view)): readonly (NodeAssignments | null)[] =>
  [one, two].map((id) => nodeAssignments(view, id, shared));

describe('all that a node has to know', () => {
  test.each([false, true])('is what its parts say together, each part small, packed: %s', async (packed) => {
    const view = (await cluster()).view();
    for (const [i, all] of answers(view).entries()) {
      const id = i === 0 ? one : two;
      const parts = [...encodedParts(all, id, packed)];
      if (!packed) expect(parts.length).toBeGreaterThan(1);
      for (const part of parts) expect(Buffer.concat(part).length).toBeLessThan(128 * 1024);
      const told = knownBy(parts.flatMap(decode));
      const wanted = knownBy(changesBetween(null, all, id));
      expect([...told.keys()].sort()).toEqual([...wanted.keys()].sort());
      expect(told.has(`peer/mynet/${id}`), 'it is no peer of itself').toBe(false);
    }
  });

  test.each([false, true])(
    'is encoded once for all nodes where it is the same, packed: %s',
    async (packed) => {
      const [ofOne = [], ofTwo = []] = answers((await cluster()).view()).map((all, i) =>
        [...encodedParts(all, i === 0 ? one : two, packed)].flat(),
      );
      const known = new Set(ofOne);
      const shared = ofTwo.filter((piece) => known.has(piece));
      const bytes = (pieces: readonly Buffer[]): number =>
        pieces.reduce((sum, { length }) => sum + length, 0);
      expect(bytes(shared) / bytes(ofTwo)).toBeGreaterThan(0.9);
    },
  );

  test('is packed in less than half of the octets, and what is the node’s own is not', async () => {
    const [, all] = answers((await cluster()).view());
    const octets = (packed: boolean): Buffer =>
      Buffer.concat([...encodedParts(all ?? null, two, packed)].flat());
    expect(octets(true).length / octets(false).length).toBeLessThan(0.5);
    const own = encodeChanges(ownChanges(null, all ?? null).slice(0, 1));
    expect(own.length).toBeGreaterThan(0);
    expect(octets(true).includes(own)).toBe(true);
  });

  test('is one empty part for a node that is not in the store', () => {
    expect([...encodedParts(null, one, true)]).toEqual([[]]);
  });
});

test('a change of an endpoint is encoded once for all nodes, and as large as the endpoint', async () => {
  const store = await cluster();
  const changes: Change[] = [];
  store.subscribe((batch) => changes.push(...batch.changes));
  const before = store.view();
  const shared = sharedAssignments(before);
  await store.update((tx) => {
    const known = tx.get('task', 'task7' as TaskId);
    if (known) tx.update('task', { ...known, status: { ...known.status, draining: true } });
  });
  const after = store.view();
  const was = answers(before, shared);
  const is = answers(after, followShared(shared, changes, after));
  const [ofOne = [], ofTwo = []] = [one, two].map((id, i) =>
    encodedBetween(was[i] ?? null, is[i] ?? null, id),
  );
  expect(ofOne).toEqual(ofTwo);
  expect(ofOne[0]).toBe(ofTwo[0]);
  expect(
    ofOne.flatMap((piece) => decode([piece])).map(({ assignment }) => assignmentKey(assignment)),
  ).toEqual(['endpoint/mynet/task7']);
  expect(Buffer.concat(ofOne).length).toBeLessThan(256);
  expect(encodedBetween(is[0] ?? null, is[0] ?? null, one), 'nothing differs').toEqual([]);
});
