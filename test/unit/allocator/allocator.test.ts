import { describe, expect, test } from 'vitest';
import { planAllocations } from '../../../src/controlplane/allocator/allocator.js';
import { Holdings } from '../../../src/controlplane/allocator/holdings.js';
import { applyPlanner, Draft } from '../../../src/controlplane/plan.js';
import type { MemoryStore } from '../../../src/controlplane/store/memory.js';
import type { Ip } from '../../../src/model/addresses.js';
import type { ServiceId, TaskId, NetworkId, NodeId } from '../../../src/model/ids.js';
import type { Network, Node, Service, Task } from '../../../src/model/objects.js';
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

const ingress = network('ingress', { ingress: true });
const onNet = (name = 'net'): Partial<Service['spec']> => ({
  taskTemplate: taskSpec({ networks: [{ target: name, aliases: ['alias'] }] }),
});

const time = new FakeTime(5000);

/** Allocates all there is, and checks that a second pass finds nothing to do. */
async function allocate(store: MemoryStore): Promise<MemoryStore> {
  await applyPlanner(store, planAllocations, time.nowMs);
  expect(planAllocations(store.view(), time.ms).writes).toEqual([]);
  return store;
}
const taskOf = (store: MemoryStore, id: string): Task => store.view().get('task', id as TaskId) as Task;
const serviceOf = (store: MemoryStore, id: string): Service =>
  store.view().get('service', id as ServiceId) as Service;
const vips = (store: MemoryStore, id: string): string[] =>
  (serviceOf(store, id).endpoint?.virtualIps ?? []).map(
    (vip) => `${vip.networkId} ${vip.address}/${vip.prefixLength}`,
  );
const addresses = (store: MemoryStore, id: string): string[] =>
  taskOf(store, id).networks.map((leg) => `${leg.networkId} ${leg.address}/${leg.prefixLength}`);

async function change(store: MemoryStore, id: string, spec: Partial<Service['spec']>): Promise<void> {
  await store.update((tx) => {
    const before = tx.get('service', id as ServiceId) as Service;
    tx.update('service', {
      ...before,
      spec: { ...before.spec, ...spec },
      specVersion: before.specVersion + 1,
    });
  });
}

describe('planAllocations', () => {
  test('a network of the nodes’ own driver gives no address and no VIP, and goes to its tasks as it is', async () => {
    const plain = network('mv');
    const mv = { ...plain, spec: { ...plain.spec, driver: 'macvlan', configFrom: 'cfg' } };
    const both = taskSpec({
      networks: ['net', 'mv'].map((target) => ({ target, aliases: [`of-${target}`] })),
    });
    const web = service('web', { taskTemplate: both });
    const only = service('only', onNet('mv'));
    const store = await allocate(
      await storeOf({
        node: [node('n1')],
        network: [ingress, network('net'), mv],
        service: [web, only],
        task: [task('t1', web, 'new'), task('t2', only, 'new')],
      }),
    );
    expect(store.view().get('network', 'mv' as NetworkId)?.allocation).toBeUndefined();
    expect([vips(store, 'web'), vips(store, 'only')]).toEqual([['net 10.0.1.2/24'], []]);
    expect([addresses(store, 't1'), addresses(store, 't2')]).toEqual([['net 10.0.1.3/24'], []]);
    expect(taskOf(store, 't1').nodeNetworks).toEqual([
      { networkId: 'mv', spec: mv.spec, aliases: ['of-mv'] },
    ]);
    expect(taskOf(store, 't2').status.state).toBe('pending');
  });

  test('a published service on one node: the first VIP of ingress is 10.0.0.3, as in Swarm', async () => {
    const web = service('web', { ...onNet(), endpointSpec: ports([80, 8080]) });
    const store = await allocate(
      await storeOf(
        {
          node: [node('n1')],
          network: [network('net'), ingress],
          service: [web],
          task: [task('t1', web, 'new')],
        },
        time,
      ),
    );
    expect(store.view().get('network', 'ingress' as NetworkId)?.allocation).toEqual({
      vni: 4096,
      subnet: '10.0.0.0/24',
      gateway: '10.0.0.1',
    });
    expect(
      store
        .view()
        .get('node', 'n1' as NodeId)
        ?.attachments.map(({ address }) => address),
    ).toEqual(['10.0.0.2']);
    expect(vips(store, 'web')).toEqual(['ingress 10.0.0.3/24', 'net 10.0.1.2/24']);
    expect(addresses(store, 't1')).toEqual(['ingress 10.0.0.4/24', 'net 10.0.1.3/24']);
    const { status, networks } = taskOf(store, 't1');
    expect(status).toMatchObject({ state: 'pending', message: 'pending task scheduling', appliedAtMs: 5000 });
    expect(networks.map(({ aliases }) => aliases)).toEqual([[], ['alias']]);
    expect(networks[0]?.mac).toMatch(/^02(:[0-9a-f]{2}){5}$/);
    expect(networks[0]?.mac).not.toBe(networks[1]?.mac);
  });

  test.each<[string, Service]>([
    ['without networks', service('web')],
    [
      "on an engine's own network",
      service('web', { taskTemplate: taskSpec({ networks: [{ target: 'host', aliases: [] }] }) }),
    ],
  ])('a service %s holds nothing and its tasks go on', async (_, web) => {
    const store = await allocate(
      await storeOf({ network: [ingress], service: [web], task: [task('t1', web, 'new')] }),
    );
    expect(serviceOf(store, 'web').endpoint).toEqual({
      spec: { mode: 'vip', ports: [] },
      ports: [],
      virtualIps: [],
    });
    expect(taskOf(store, 't1').status.state).toBe('pending');
  });

  test('a node takes part in an overlay while a task of it is there', async () => {
    const web = service('web', onNet());
    const running = task('t1', web, 'running', { node: 'n1' });
    const leg = {
      networkId: 'net',
      address: '10.0.1.9',
      prefixLength: 24,
      mac: '02:00:00:00:00:01',
      aliases: [],
    };
    const allocation = { vni: 4097, subnet: '10.0.1.0/24', gateway: '10.0.1.1' } as unknown as NonNullable<
      Network['allocation']
    >;
    const store = await allocate(
      await storeOf({
        node: [node('n1'), node('n2')],
        network: [ingress, { ...network('net'), allocation }],
        service: [web],
        task: [{ ...running, networks: [leg] } as unknown as Task],
      }),
    );
    const joined = (id: string): string[] =>
      (store.view().get('node', id as NodeId)?.attachments ?? []).map(({ networkId }) => networkId);
    expect([joined('n1'), joined('n2')]).toEqual([['ingress', 'net'], ['ingress']]);
    await store.update((tx) => {
      const ended = tx.get('task', 't1' as TaskId) as Task;
      tx.update('task', { ...ended, status: { ...ended.status, state: 'shutdown' } });
    });
    await allocate(store);
    expect(joined('n1')).toEqual(['ingress']);
  });

  test.each<[Task['status']['state'], Node['status']['state'] | null, boolean]>([
    ['running', 'ready', true],
    ['running', 'down', true],
    ['shutdown', 'down', false],
    // Said by a manager's clock, not by the node.
    ['orphaned', 'down', true],
    ['orphaned', 'unknown', true],
    // It is back, and has been told what to stop.
    ['orphaned', 'ready', false],
    ['orphaned', null, false],
  ])('an address whose task is %s on a node that is %s is held: %s', async (state, nodeState, isHeld) => {
    const allocation = { vni: 4097, subnet: '10.0.1.0/24', gateway: '10.0.1.1' } as unknown as NonNullable<
      Network['allocation']
    >;
    const leg = {
      networkId: 'net',
      address: '10.0.1.9',
      prefixLength: 24,
      mac: '02:00:00:00:00:01',
      aliases: [],
    };
    const web = service('web', onNet());
    const store = await storeOf({
      node: nodeState ? [node('n1', { state: nodeState })] : [],
      network: [{ ...network('net'), allocation }],
      service: [web],
      task: [{ ...task('t1', web, state, { node: 'n1' }), networks: [leg] } as unknown as Task],
    });
    const holdings = new Holdings(new Draft(store.view(), 5000));
    const given = holdings.takeAddress('net' as NetworkId, '10.0.1.9' as Ip);
    expect(given).toBe(isHeld ? undefined : '10.0.1.9');
  });

  test('to dnsrr and back: the VIP is freed, and its address is not the next to be given', async () => {
    const web = service('web', onNet());
    const store = await allocate(await storeOf({ network: [ingress, network('net')], service: [web] }));
    expect(vips(store, 'web')).toEqual(['net 10.0.1.2/24']);
    await change(store, 'web', { endpointSpec: { mode: 'dnsrr', ports: [] } });
    await allocate(store);
    expect(vips(store, 'web')).toEqual([]);
    await change(store, 'web', { endpointSpec: { mode: 'vip', ports: [] } });
    await allocate(store);
    expect(vips(store, 'web')).toEqual(['net 10.0.1.3/24']);
  });

  test('an update keeps VIPs and dynamic ports that are still asked for', async () => {
    const web = service('web', { ...onNet(), endpointSpec: ports([80]) });
    const store = await allocate(await storeOf({ network: [ingress, network('net')], service: [web] }));
    const before = vips(store, 'web');
    await change(store, 'web', { endpointSpec: ports([81], [80]) });
    await allocate(store);
    expect(vips(store, 'web')).toEqual(before);
    expect(
      serviceOf(store, 'web').endpoint?.ports.map((port) => [port.targetPort, port.publishedPort]),
    ).toEqual([
      [81, 30001],
      [80, 30000],
    ]);
  });

  test('a port that another service holds: the service waits, its tasks stay new, until the port is free', async () => {
    const [first, second] = [
      service('a', { endpointSpec: ports([80, 80]) }),
      service('b', { endpointSpec: ports([80, 80]) }),
    ];
    const store = await allocate(
      await storeOf({ network: [ingress], service: [first, second], task: [task('t1', second, 'new')] }),
    );
    expect([serviceOf(store, 'a').endpoint?.ports.length, serviceOf(store, 'b').endpoint]).toEqual([
      1,
      undefined,
    ]);
    expect(taskOf(store, 't1').status.state).toBe('new');
    await store.update((tx) => tx.delete('service', 'a'));
    await allocate(store);
    expect(taskOf(store, 't1').status.state).toBe('pending');
  });

  test('a network without subnet keeps its tasks new', async () => {
    const web = service('web', onNet());
    const store = await allocate(
      await storeOf({
        network: [ingress, network('net', { subnet: '10.0.0.0/25' })],
        service: [web],
        task: [task('t1', web, 'new')],
      }),
    );
    expect(taskOf(store, 't1').status.state).toBe('new');
  });

  test('an exhausted network keeps what does not fit waiting, and gives nothing of other networks away', async () => {
    const web = service('web', {
      ...onNet(),
      endpointSpec: ports([80]),
    });
    const tasks = Array.from({ length: 6 }, (_, i) => task(`t${i}`, web, 'new', { slot: i + 1 }));
    const store = await allocate(
      await storeOf({
        network: [ingress, network('net', { subnet: '10.9.0.0/29' })],
        service: [web],
        task: tasks,
      }),
    );
    // Five usable addresses, one of them the VIP's.
    const states = tasks.map(({ id }) => taskOf(store, id).status.state);
    expect(states.filter((state) => state === 'pending').length).toBe(4);
    expect(store.view().get('network', 'ingress' as NetworkId)?.addressCursor).toBe(6);
  });

  test('more than one transaction', async () => {
    const web = service('web', onNet());
    const tasks = Array.from({ length: 450 }, (_, i) => task(`t${i}`, web, 'new', { slot: i + 1 }));
    const store = await storeOf({
      network: [ingress, network('net', { subnet: '10.9.0.0/22' })],
      service: [web],
    });
    for (let at = 0; at < 450; at += 150)
      await store.update((tx) => tasks.slice(at, at + 150).forEach((each) => tx.create('task', each)));
    expect(planAllocations(store.view(), 0)).toMatchObject({ more: true });
    await allocate(store);
    expect(new Set(tasks.map(({ id }) => addresses(store, id)[0])).size).toBe(450);
  });
});
