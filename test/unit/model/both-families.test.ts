/**
 * One code path for both families: an overlay of IPv6 addresses over an IPv6 underlay, from the store's objects by way of
 * allocator, dispatcher, wire, agent and the dataplane's border to what is planned, published ports included. IPv6 is not offered
 * yet: the API refuses such a subnet. That planners treat both families alike is test/unit/dataplane/plan/families.test.ts.
 */
import { expect, test } from 'vitest';
import { assembleNodeNetworkState } from '../../../src/controlplane/agent/node-state.js';
import { planAllocations } from '../../../src/controlplane/allocator/allocator.js';
import { diffAssignments } from '../../../src/controlplane/dispatcher/assignments.js';
import { assignmentsFor } from '../../support/assignments.js';
import { applyPlanner } from '../../../src/controlplane/plan.js';
import { applyChanges, formatChange, parseChange } from '../../../src/controlplane/rpc/assignment.js';
import { parseNodeNetworkState } from '../../../src/dataplane/parse-state.js';
import { ebpfPlan } from '../../../src/dataplane/plan/ebpf.js';
import { ipvsPlan } from '../../../src/dataplane/plan/ipvs.js';
import { planHostScope, planOverlayScope, planSandboxScope } from '../../../src/dataplane/plan/node.js';
import type { KernelObject } from '../../../src/dataplane/plan/objects.js';
import { line } from '../../../src/dataplane/plan/objects.js';
import { loadDataplaneService } from '../../../src/dataplane/rpc/definition.js';
import { encodeState } from '../../../src/dataplane/rpc/encoded-state.js';
import type { SandboxEndpoint } from '../../../src/dataplane/sandbox.js';
import { endpointKey } from '../../../src/dataplane/state-change.js';
import type { Ip } from '../../../src/model/addresses.js';
import type { NodeId, TaskId } from '../../../src/model/ids.js';
import type { Node } from '../../../src/model/objects.js';
import { KeyedList } from '../../../src/runtime/keyed-list.js';
import {
  FakeTime,
  network,
  node,
  ports,
  service,
  storeOf,
  task,
  taskSpec,
} from '../../support/cluster-objects.js';
import { programTags } from '../dataplane/plan/network-state.js';

const at = (id: string, vtep: string): Node => ({ ...node(id), dataPathAddr: vtep as Ip });

test('an IPv6 overlay over an IPv6 underlay, from the store to the plan', async () => {
  const time = new FakeTime(1000);
  const web = service('web', {
    taskTemplate: taskSpec({ networks: [{ target: 'net', aliases: [] }] }),
    endpointSpec: ports([80, 8080]),
  });
  const store = await storeOf(
    {
      node: [at('n1', 'fd00:50::1'), at('n2', 'fd00:50::2')],
      network: [
        network('net', { subnet: 'fd00:b::/64', auxiliaryAddresses: { kept: 'fd00:b::3' } }),
        network('ingress', { subnet: 'fd00:a::/114', ingress: true }),
      ],
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
  const { SetState: method } = loadDataplaneService();
  if (!method) throw new Error('the dataplane takes states');
  const octets = encodeState(state, (message) => method.requestSerialize(message));
  // What the dataplane need not know is not said to it.
  const overlaysSaid = state.overlays.map((each) => {
    const endpoints = each.endpoints.map((item) => ({ ...item, overlayId: undefined }));
    return { ...each, endpoints: KeyedList.of(endpoints, endpointKey) };
  });
  expect(parseNodeNetworkState(method.requestDeserialize(octets))).toEqual({
    ...state,
    overlays: overlaysSaid,
  });
  const overlay = state.overlays.find(({ ingress }) => !ingress);
  const ingress = state.overlays.find((one) => one.ingress);
  if (!overlay || !ingress) throw new Error('no overlay');
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
  const lines = (objects: readonly KernelObject[], pattern = /./): string[] =>
    objects.map(line).filter((text) => pattern.test(text));
  const planned = planOverlayScope({ state, sandboxes: [sandbox] }, overlay, 1500, ipvsPlan);
  expect(lines(planned.objects, /^(?!sysctl net\/ipv4\/vs)/)).toEqual([
    'namespace',
    'link lo up',
    `link br0 bridge ${overlay.own.mac} mtu 1430 up`,
    'link vxlan0 vxlan vni 4097 port 4789 local fd00:50::1 mtu 1430 master br0 learning false neigh-suppress true flood false up',
    'link skpeeeeeeeeee veth mtu 1430 master br0 learning false neigh-suppress false flood false up',
    'sysctl net/ipv6/conf/all/forwarding = 1',
    'sysctl net/ipv6/conf/br0/disable_ipv6 = 0',
    'sysctl net/ipv6/conf/br0/accept_ra = 0',
    'sysctl net/bridge/bridge-nf-call-ip6tables = 0',
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
    'ipvs-timeouts tcp 432000 s, after FIN 120 s, udp 300 s',
    'ipset skep-v6-vip hash:ip ipv6',
    expect.stringMatching(/^chain mangle SKEP-VIP ipv6 /),
    'jump mangle PREROUTING SKEP-VIP ipv6 first',
    'virtual-server 0x5e000002 ipv6 rr',
    `real-server 0x5e000002 [${local.address}]:0 direct weight 1`,
    `real-server 0x5e000002 [${remote.address}]:0 direct weight 1`,
    'virtual-server 0x5f000002 ipv6 rr',
    `real-server 0x5f000002 [${local.address}]:0 direct weight 1`,
    `real-server 0x5f000002 [${remote.address}]:0 direct weight 1`,
    'ipset-entry skep-v6-vip fd00:b::2 0x5e000002',
  ]);
  expect(local.address).toBe('fd00:b::4');

  // A published port: its real servers are aliases, which lead back to the node that they name.
  expect(ingress.own.address).toBe('fd00:a::2');
  const host = planHostScope(state, 1500, ipvsPlan, []);
  expect(lines(host.objects, /^(virtual|real)-server|^route|SKEP-OUTPUT|^ipset skep-v6-sctp/)).toEqual([
    'route main fd53:6b65:70a1::8005/128 via fd00:a::5 dev sk-ingress',
    'route main fd53:6b65:70a1::8006/128 via fd00:a::6 dev sk-ingress',
    'ipset skep-v6-sctp hash:net,port ipv6',
    'route main fd53:6b65:70a1:1::94/128 dev sk-ingress',
    expect.stringMatching(/^chain nat SKEP-OUTPUT ipv6 /),
    'jump nat OUTPUT SKEP-OUTPUT ipv6 first',
    'virtual-server 0x5e001f90 ipv6 rr',
    'real-server 0x5e001f90 [fd53:6b65:70a1::8005]:80 translate weight 1',
    'real-server 0x5e001f90 [fd53:6b65:70a1::8006]:80 translate weight 1',
  ]);
  const transit = planOverlayScope({ state, sandboxes: [] }, ingress, 1500, ipvsPlan);
  expect(lines(transit.objects, /^rule/)).toEqual([
    'rule 94 ipv6 from fd53:6b65:70a1::8000/114 lookup 0x5e000002',
    'rule 94 ipv6 from fd53:6b65:70a1::c000/114 lookup 0x5e000003',
  ]);

  // The other engine leaves the overlay as it is and says why it balances nothing there.
  const ebpf = ebpfPlan(programTags);
  const unbalanced = [
    planOverlayScope({ state, sandboxes: [sandbox] }, overlay, 1500, ebpf),
    planHostScope(state, 1500, ebpf, []),
  ];
  for (const { objects, unserved } of unbalanced) {
    expect(unserved?.message).toMatch(/^the ebpf engine does not balance IPv6/);
    expect(lines(objects, /server|filter|mesh|chain/)).toEqual([]);
  }
  expect([planned.unserved, host.unserved, transit.unserved]).toEqual([null, null, null]);

  const meshed = ingress.endpoints.find(({ taskId }) => taskId === 't1');
  if (!meshed) throw new Error('not on ingress');
  const legs: SandboxEndpoint[] = [
    sandbox,
    {
      ...sandbox,
      endpointId: 'f'.repeat(64),
      overlayId: ingress.id,
      address: meshed.address,
      mac: meshed.mac,
    },
  ];
  const inside = planSandboxScope(
    state,
    '/run/netns/t1',
    legs,
    [
      { kind: 'link', name: 'eth0', mac: local.mac },
      { kind: 'link', name: 'eth1', mac: meshed.mac },
    ],
    1500,
    true,
  );
  expect(lines(inside.objects)).toEqual([
    'link eth0 mtu 1430',
    'link eth1 mtu 1430',
    'sysctl net/ipv6/conf/lo/disable_ipv6 = 0',
    'sysctl net/ipv6/conf/eth0/disable_ipv6 = 0',
    'address lo fd00:b::2/128',
    `route 24099 fd00:b::2/128 dev eth0 src ${local.address}`,
    'rule 5 ipv6 to fd00:b::2/128 iif lo lookup 24099',
    'sysctl net/ipv6/conf/lo/disable_ipv6 = 0',
    'sysctl net/ipv6/conf/eth1/disable_ipv6 = 0',
    'route local fd53:6b65:70a1::/100 local dev lo',
    'route 24101 ::/0 via fd00:a::2 dev eth1',
    'route 24100 ::/0 via fd00:a::1 dev eth1',
    'rule 6 ipv6 from fd53:6b65:70a1::8000/114 lookup 24101',
    'rule 7 ipv6 from fd53:6b65:70a1::/100 lookup 24100',
    'rule 10 ipv6 lookup local',
    // The engine's resolver is asked over IPv4 whatever the overlays have.
    'chain raw SKEP-ASK [-d 127.0.0.11/32 -p udp -m udp --dport 53 -j SKEP-RATE; -d 127.0.0.94/32 -p udp -m udp --dport 94 -j SKEP-RATE]',
    expect.stringMatching(/^chain raw SKEP-RATE \[/),
    'jump raw OUTPUT SKEP-ASK first',
    `chain raw SKEP-ASK ipv6 [-d ${overlay.own.address}/128 -p udp -m udp --dport 53 -j SKEP-RATE; -d fd00:a::2/128 -p udp -m udp --dport 53 -j SKEP-RATE]`,
    expect.stringMatching(/^chain raw SKEP-RATE ipv6 \[/),
    'jump raw OUTPUT SKEP-ASK ipv6 first',
    expect.stringMatching(/^chain nat SKEP-NAMES \[/),
    'jump nat OUTPUT SKEP-NAMES first',
  ]);
});
