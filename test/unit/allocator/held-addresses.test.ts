import { expect, test } from 'vitest';
import { HeldAddresses } from '../../../src/controlplane/allocator/held-addresses.js';
import type { MemoryStore } from '../../../src/controlplane/store/memory.js';
import type { View } from '../../../src/controlplane/store/store.js';
import type { Cidr, Ip, Mac } from '../../../src/model/addresses.js';
import type { NetworkId, NodeId, ServiceId, TaskId, Vni } from '../../../src/model/ids.js';
import {
  cluster,
  network,
  node,
  seededNumbers,
  service,
  storeOf,
  task,
} from '../../support/cluster-objects.js';

const networkIds = ['one', 'two', 'three'] as NetworkId[];
const serviceIds = ['api', 'db', 'web'] as ServiceId[];
const nodeIds = ['n1', 'n2'] as NodeId[];
const states = ['pending', 'running', 'failed', 'orphaned'] as const;

type Pick = <T>(items: readonly T[]) => T;

/** What may come to hold addresses, or to hold them no more, one thing of it. */
async function happen(store: MemoryStore, pick: Pick): Promise<void> {
  const legs = () =>
    networkIds
      .filter(() => pick([true, false]))
      .map((networkId) => ({
        ...{ networkId, address: `10.${pick([0, 1])}.0.${pick([2, 3, 4, 5])}` as Ip, prefixLength: 24 },
        ...{ mac: '02:00:00:00:00:01' as Mac, aliases: [] },
      }));
  await store.update((tx) => {
    switch (pick(['network', 'node', 'service', 'task', 'task', 'task'])) {
      case 'network': {
        const id = pick(networkIds);
        const known = tx.get('network', id);
        if (known && pick([true, false])) return tx.delete('network', id);
        const subnet = `10.${pick([0, 1])}.0.0/24` as Cidr;
        const allocation = { vni: 4096 as Vni, subnet, gateway: subnet.replace('0/24', '1') as Ip };
        const { allocation: _, ...rest } = known ?? network(id);
        const object = pick([true, false]) ? { ...rest, allocation } : rest;
        return known ? tx.update('network', object) : tx.create('network', object);
      }
      case 'node': {
        const id = pick(nodeIds);
        const known = tx.get('node', id);
        if (known && pick([true, false, false])) return tx.delete('node', id);
        const object = { ...(known ?? node(id)), attachments: legs() };
        const status = { ...object.status, state: pick(['ready', 'down'] as const) };
        return known ? tx.update('node', { ...object, status }) : tx.create('node', { ...object, status });
      }
      case 'service': {
        const id = pick(serviceIds);
        const known = tx.get('service', id);
        if (known && pick([true, false, false])) return tx.delete('service', id);
        const made = { ...(known ?? service(id)), endpoint: { ports: [], virtualIps: legs() } };
        return known ? tx.update('service', made as never) : tx.create('service', made as never);
      }
      case 'task': {
        const id = pick(['t1', 't2', 't3', 't4', 't5']) as TaskId;
        const known = tx.get('task', id);
        if (known && pick([true, false, false])) return tx.delete('task', id);
        const made = known ?? task(id, service(pick(serviceIds)), 'running', { node: pick(nodeIds) });
        const object = {
          ...{ ...made, networks: legs(), status: { ...made.status, state: pick(states) } },
          ...(pick([true, false]) && { endpoint: { ports: [], virtualIps: legs() } }),
        };
        return known ? tx.update('task', object) : tx.create('task', object);
      }
    }
  });
}

/** By network, each host that is held with how many hold it. */
const written = (held: HeldAddresses, view: View): unknown =>
  [...held.of(view)].sort(([a], [b]) => (a < b ? -1 : 1)).map(([id, hosts]) => [id, countsOf(hosts.clone())]);

function countsOf(held: ReturnType<ReturnType<HeldAddresses['of']>['get']> & object): unknown {
  return held.hosts
    .format()
    .split(',')
    .filter(Boolean)
    .flatMap((range) => {
      const [first = NaN, last = first] = range.split('-').map(Number);
      return Array.from({ length: last - first + 1 }, (_, i) => first + i);
    })
    .map((host) => {
      let holders = 1;
      while (!held.release(host)) holders += 1;
      return [host, holders];
    });
}

test('what was read before is no other than what reading all gives, whichever view comes next', async () => {
  let holding = 0;
  for (let seed = 1; seed <= 20; seed++) {
    const next = seededNumbers(seed);
    const pick: Pick = (items) => items[Math.floor(next() * items.length)] as (typeof items)[number];
    const store = await storeOf({ cluster: [cluster()] });
    const held = new HeldAddresses();
    const views: View[] = [];
    for (let step = 0; step < 150; step++) {
      await happen(store, pick);
      views.push(store.view());
      // A transaction that lost its race is planned for again, and a leader of old may be behind.
      const view = next() < 0.9 ? store.view() : pick(views);
      const fresh = written(new HeldAddresses(), view);
      expect(written(held, view), `seed ${seed}, step ${step}`).toEqual(fresh);
      holding += JSON.stringify(fresh).length;
    }
  }
  expect(holding).toBeGreaterThan(50_000);
});

test('what a pass takes of what it was given, the next one does not know of', async () => {
  const allocation = { vni: 4096 as Vni, subnet: '10.0.0.0/24' as Cidr, gateway: '10.0.0.1' as Ip };
  const store = await storeOf({ cluster: [cluster()], network: [{ ...network('one'), allocation }] });
  const held = new HeldAddresses();
  held
    .of(store.view())
    .get('one' as NetworkId)
    ?.hold(7);
  expect(held.of(store.view()).get('one' as NetworkId)?.hosts.size).toBe(0);
});
