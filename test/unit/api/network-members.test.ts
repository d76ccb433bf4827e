/** Who is on a network: `Peers` and, with `verbose`, `Services`; forms as recorded from dockerd 20.10.24 with two nodes. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Ip, Mac } from '../../../src/model/addresses.js';
import type { NetworkId, NodeId, ServiceId, TaskId } from '../../../src/model/ids.js';
import { attachmentTask } from '../../../src/model/attachments.js';
import type { NetworkAttachment, Task } from '../../../src/model/objects.js';
import { Harness, ingressId, nodeId, taskOf } from './harness.js';

let api: Harness;
let mynet: NetworkId;
let web: ServiceId;
const other = 'nodebbbbbbbbbbbbbbbbbbbbb' as NodeId;
const mac = '02:00:00:00:00:01' as Mac;
const leg = (networkId: NetworkId, address: string): NetworkAttachment => ({
  networkId,
  address: address as Ip,
  prefixLength: 24,
  mac,
  aliases: [],
});

beforeEach(async () => {
  api = await Harness.start();
  mynet = (await api.createNetwork('mynet')) as NetworkId;
  web = (await api.createService({ Name: 'web' })) as ServiceId;
  await api.store.update((tx) => {
    const network = tx.get('network', mynet)!;
    tx.update('network', {
      ...network,
      allocation: { vni: 4097 as never, subnet: '10.0.1.0/24' as never, gateway: '10.0.1.1' as Ip },
    });
    const node = tx.get('node', nodeId)!;
    tx.update('node', {
      ...node,
      attachments: [
        { networkId: ingressId, address: '10.0.0.2' as Ip, mac },
        { networkId: mynet, address: '10.0.1.7' as Ip, mac },
      ],
    });
    const { version: _, createdAtMs: _c, updatedAtMs: _u, ...rest } = node;
    tx.create('node', {
      ...rest,
      id: other,
      dataPathAddr: '192.0.2.2' as Ip,
      attachments: [{ networkId: mynet, address: '10.0.1.6' as Ip, mac }],
    });
    const service = tx.get('service', web)!;
    const port = { protocol: 'tcp', targetPort: 80, publishedPort: 8080, publishMode: 'ingress' } as const;
    tx.update('service', {
      ...service,
      endpoint: {
        spec: { mode: 'vip', ports: [port] },
        ports: [port],
        virtualIps: [
          { networkId: ingressId, address: '10.0.0.4' as Ip, prefixLength: 24 },
          { networkId: mynet, address: '10.0.1.2' as Ip, prefixLength: 24 },
        ],
      },
    });
  });
});
afterEach(async () => {
  await api[Symbol.asyncDispose]();
});

const startTask = (id: string, change: Partial<Task>): Promise<void> =>
  api.store.update((tx) => tx.create('task', taskOf(tx.get('service', web)!, id, change)));
const inspect = async (network: string, verbose = true): Promise<Record<string, unknown>> =>
  (await api.call('GET', `/networks/${network}?verbose=${verbose}`)).json as Record<string, unknown>;
const running = (containerId: string): Task['status'] => ({
  ...{ state: 'running', message: '', timestampMs: 0, appliedAtMs: 0 },
  container: { containerId, pid: 1, exitCode: 0 },
});

test('tells of services, tasks and containers on it, of the whole swarm', async () => {
  await startTask('t2', {
    slot: 2,
    networks: [leg(mynet, '10.0.1.4')],
    nodeId: other,
    status: running('c2'),
  });
  await startTask('t1', {
    slot: 1,
    networks: [leg(ingressId, '10.0.0.6'), leg(mynet, '10.0.1.3')],
    status: running('c1'),
  });
  await api.store.update((tx) => {
    const attached = { containerId: 'c3', containerName: 'box', nameservers: [] };
    tx.create('task', attachmentTask('t3' as TaskId, other, attached, leg(mynet, '10.0.1.9'), 0));
  });
  const instance = {
    ...{ Name: 'mynet', Id: 'e'.repeat(64), Driver: 'skep', Options: { 'skep.network.id': mynet } },
    Containers: { c1: { Name: 'web.1.t1', EndpointID: 'e1' } },
  };
  api.behaviour = ({ url = '' }, reply) => {
    reply.end(JSON.stringify(url.startsWith('/networks?') ? [instance] : instance));
  };
  const here = { 'Host IP': '10.99.0.1' };
  const there = { 'Host IP': '192.0.2.2' };
  const { Peers, Services } = await inspect('mynet');
  expect(Peers).toEqual([
    { Name: 'nodeaaaaaaaa', IP: '10.99.0.1' },
    { Name: 'nodebbbbbbbb', IP: '192.0.2.2' },
  ]);
  expect(Services).toEqual({
    '': {
      ...{ VIP: '<nil>', Ports: [], LocalLBIndex: 0 },
      Tasks: [{ Name: 'box', EndpointID: '', EndpointIP: '10.0.1.9', Info: there }],
    },
    web: {
      // The mark of IPVS.
      ...{ VIP: '10.0.1.2', Ports: [], LocalLBIndex: 0x5e000002 },
      Tasks: [
        { Name: 'web.1.t1', EndpointID: 'e1', EndpointIP: '10.0.1.3', Info: here },
        { Name: 'web.2.t2', EndpointID: '', EndpointIP: '10.0.1.4', Info: there },
      ],
    },
  });
  expect(Object.keys(await inspect('mynet', false))).not.toContain('Services');
  expect((await inspect('ingress')).Services).toEqual({
    '': {
      ...{ VIP: '<nil>', Ports: [], LocalLBIndex: 0 },
      Tasks: [{ Name: 'ingress-endpoint', EndpointID: '', EndpointIP: '10.0.0.2', Info: here }],
    },
    web: {
      ...{ VIP: '10.0.0.4', Ports: ['Target: 80, Publish: 8080'], LocalLBIndex: 0x5e000004 },
      Tasks: [{ Name: 'web.1.t1', EndpointID: '', EndpointIP: '10.0.0.6', Info: here }],
    },
  });
});

test('shows this node’s end of the mesh, and no labels as Swarm does of a network that the node takes part in', async () => {
  const { Containers, Labels, Peers } = await inspect('ingress', false);
  const empty = { EndpointID: '', IPv6Address: '' };
  expect(Containers).toEqual({
    'ingress-sbox': {
      ...empty,
      Name: 'ingress-endpoint',
      MacAddress: mac,
      IPv4Address: '10.0.0.2/24',
    },
  });
  expect([Labels, Peers]).toEqual([{}, [{ Name: 'nodeaaaaaaaa', IP: '10.99.0.1' }]]);
  await api.store.update((tx) => tx.update('node', { ...tx.get('node', nodeId)!, attachments: [] }));
  const elsewhere = await inspect('ingress', false);
  expect([elsewhere['Containers'], elsewhere['Labels']]).toEqual([null, null]);
});

test('leaves out who does not take flows', async () => {
  const { container } = running('c1');
  for (const [index, status] of [
    { ...running('c1'), state: 'starting' as const },
    { ...running('c1'), draining: true as const },
    { ...running('c1'), state: 'shutdown' as const, ...(container && { container }) },
  ].entries())
    await startTask(`t${index}`, { networks: [leg(mynet, `10.0.1.${index + 3}`)], status });
  expect(Object.keys(await inspect('mynet'))).not.toContain('Services');
});

test('says nothing of peers and services that there are none of', async () => {
  await api.createNetwork('idle');
  const { Peers, Services } = await inspect('idle');
  expect([Peers, Services]).toEqual([undefined, undefined]);
});
