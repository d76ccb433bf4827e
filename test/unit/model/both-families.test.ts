/**
 * One code path for both families: an overlay of IPv6 addresses over an IPv6 underlay, from the store's objects by way of
 * allocator, dispatcher, wire, agent and the dataplane's border to what is planned. IPv6 is not offered yet: the API refuses
 * such a subnet; the mesh's aliases, what balances, and rules that name no address are IPv4's so far.
 */
import { expect, test } from 'vitest';
import { assembleNodeNetworkState } from '../../../src/controlplane/agent/node-state.js';
import { planAllocations } from '../../../src/controlplane/allocator/allocator.js';
import { diffAssignments } from '../../../src/controlplane/dispatcher/assignments.js';
import { assignmentsFor } from '../../support/assignments.js';
import { applyPlanner } from '../../../src/controlplane/plan.js';
import { applyChanges, formatChange, parseChange } from '../../../src/controlplane/rpc/assignment.js';
import { parseNodeNetworkState, toStateMessage } from '../../../src/dataplane/parse-state.js';
import type { BalancerPlan } from '../../../src/dataplane/plan/balancing.js';
import { planOverlayScope, planSandboxScope } from '../../../src/dataplane/plan/node.js';
import type { KernelObject } from '../../../src/dataplane/plan/objects.js';
import { line } from '../../../src/dataplane/plan/objects.js';
import type { SandboxEndpoint } from '../../../src/dataplane/sandbox.js';
import type { Ip } from '../../../src/model/addresses.js';
import type { NodeId, TaskId } from '../../../src/model/ids.js';
import type { Node } from '../../../src/model/objects.js';
import { FakeTime, network, node, service, storeOf, task, taskSpec } from '../../support/cluster-objects.js';

const nothingBalanced = { planOverlay: () => [], planHost: () => [] } as unknown as BalancerPlan;
const at = (id: string, vtep: string): Node => ({ ...node(id), dataPathAddr: vtep as Ip });

test('an IPv6 overlay over an IPv6 underlay, from the store to the plan', async () => {
  const time = new FakeTime(1000);
  const web = service('web', {
    taskTemplate: taskSpec({ networks: [{ target: 'net', aliases: [] }] }),
  });
  const store = await storeOf(
    {
      node: [at('n1', 'fd00:50::1'), at('n2', 'fd00:50::2')],
      network: [network('net', { subnet: 'fd00:b::/64', auxiliaryAddresses: { kept: 'fd00:b::3' } })],
      service: [web],
      task: [task('t1', web, 'new'), task('t2', web, 'new', { slot: 2 })],
    },
    time,
  );
  await applyPlanner(store, planAllocations, time.nowMs);
  await store.update((tx) => {
    for (const [id, nodeId] of [
      ['t1', 'n1'],
      ['t2', 'n2'],
    ] as const) {
      const present = tx.get('task', id as TaskId);
      if (present)
        tx.update('task', {
          ...present,
          nodeId: nodeId as NodeId,
          status: { ...present.status, state: 'running' },
        });
    }
  });
  await applyPlanner(store, planAllocations, time.nowMs);

  const assignments = assignmentsFor(store.view(), 'n1' as NodeId);
  // What proto-loader adds: the name of the field that is set.
  const wire = diffAssignments(new Map(), assignments).map((change) => ({
    ...formatChange(change),
    item: change.assignment.kind,
  }));
  const received = applyChanges(new Map(), wire.map(parseChange), true);
  const state = assembleNodeNetworkState(received, store.view().revision);
  if (!state) throw new Error('no state');
  expect(parseNodeNetworkState(toStateMessage(state))).toEqual(state);
  const [overlay] = state.overlays;
  if (!overlay) throw new Error('no overlay');
  expect([overlay.subnet, overlay.gateway, [...overlay.services][0]?.vip]).toEqual([
    'fd00:b::/64',
    'fd00:b::1',
    'fd00:b::2',
  ]);

  const local = overlay.endpoints.find(({ taskId }) => taskId === 't1');
  const remote = overlay.endpoints.find(({ taskId }) => taskId === 't2');
  const peer = overlay.peers[0];
  if (!local || !remote || !peer) throw new Error('somebody is missing');
  const sandbox: SandboxEndpoint = {
    endpointId: 'e'.repeat(64),
    overlayId: overlay.id,
    address: local.address,
    mac: local.mac,
    sandboxKey: '/run/netns/t1',
  };
  const lines = (objects: readonly KernelObject[]): string[] =>
    objects.filter(({ kind }) => kind !== 'sysctl').map(line);
  const planned = planOverlayScope({ state, sandboxes: [sandbox] }, overlay, 1500, nothingBalanced);
  expect(lines(planned.objects)).toEqual([
    'namespace',
    'link lo up',
    `link br0 bridge ${overlay.own.mac} mtu 1430 up`,
    'link vxlan0 vxlan vni 4096 port 4789 local fd00:50::1 mtu 1430 master br0 learning false neigh-suppress true flood false up',
    'link skpeeeeeeeeee veth mtu 1430 master br0 learning false neigh-suppress false flood false up',
    `address br0 ${overlay.own.address}/64`,
    'address br0 fd00:b::2/128',
    `fdb vxlan0 ${peer.mac} self dst fd00:50::2`,
    `fdb vxlan0 ${peer.mac} master`,
    `neighbour br0 ${peer.address} ${peer.mac}`,
    `fdb vxlan0 ${remote.mac} self dst fd00:50::2`,
    `fdb vxlan0 ${remote.mac} master`,
    `neighbour br0 ${remote.address} ${remote.mac}`,
    `fdb skpeeeeeeeeee ${local.mac} master`,
    `neighbour br0 ${local.address} ${local.mac}`,
  ]);
  expect(local.address).toBe('fd00:b::4');

  const inside = planSandboxScope(
    state,
    '/run/netns/t1',
    [sandbox],
    [{ kind: 'link', name: 'eth0', mac: local.mac }],
    1500,
  );
  expect(lines(inside.objects)).toEqual([
    'link eth0 mtu 1430',
    'address lo fd00:b::2/128',
    `route 24099 fd00:b::2/128 dev eth0 src ${local.address}`,
    'rule 5 to fd00:b::2/128 iif lo lookup 24099',
    'rule 10 lookup local',
  ]);
});
