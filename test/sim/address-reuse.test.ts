/**
 * Endpoints come and go on two networks of the same subnet, 10,000 of them (SKEP_CYCLES for more), while nodes join and leave the
 * networks, services get and lose their VIPs, time passes and leaders change. After each pass of the allocator: nobody holds
 * what another holds, nothing that was freed is held again before it has rested unless nothing else was left, no MAC ever
 * comes twice; and in the end every address can be had again.
 */
import assert from 'node:assert';
import { expect, test } from 'vitest';
import { quarantineMs } from '../../src/controlplane/allocator/address-pool.js';
import { planAllocations } from '../../src/controlplane/allocator/allocator.js';
import { applyPlanner } from '../../src/controlplane/plan.js';
import type { MemoryStore } from '../../src/controlplane/store/memory.js';
import type { View } from '../../src/controlplane/store/store.js';
import type { NetworkId, NodeId, TaskId } from '../../src/model/ids.js';
import type { Service, Task } from '../../src/model/objects.js';
import { isTerminal } from '../../src/model/task-state.js';
import {
  FakeTime,
  network,
  node,
  seededNumbers,
  service,
  storeOf,
  task,
  taskSpec,
} from '../support/cluster-objects.js';

const cycles = Number(process.env['SKEP_CYCLES'] ?? 10_000);
const seed = Number(process.env['SKEP_SEED'] ?? 20_261);
/** Of 62 addresses one is the gateway's; so that they now and then run out. */
const subnet = '10.77.0.0/26';
const usable = 61;
const liveMax = 52;
const names = ['one', 'two'] as const;
const nodeIds = ['n1', 'n2', 'n3'];
/** Times of freeing are rounded up to as much. */
const roundingMs = 10_000;

/** `network address` to the holder, as the store has it. */
function holdersOf(view: View): Map<string, string> {
  const holders = new Map<string, string>();
  const hold = (networkId: NetworkId, address: string, holder: string): void => {
    const key = `${networkId} ${address}`;
    const other = holders.get(key);
    assert(other === undefined || other === holder, `${key} is held by ${other} and ${holder}`);
    holders.set(key, holder);
  };
  for (const { id, allocation } of view.list('network')) if (allocation) hold(id, allocation.gateway, id);
  for (const { id, attachments } of view.list('node'))
    for (const leg of attachments) hold(leg.networkId, leg.address, id);
  for (const { id, endpoint } of view.list('service'))
    for (const vip of endpoint?.virtualIps ?? []) hold(vip.networkId, vip.address, id);
  for (const { id, status, networks, endpoint, serviceId } of view.list('task')) {
    if (isTerminal(status.state)) continue;
    for (const leg of networks) hold(leg.networkId, leg.address, id);
    for (const vip of endpoint?.virtualIps ?? []) hold(vip.networkId, vip.address, serviceId);
  }
  return holders;
}

const serviceOn = (name: string): Service =>
  service(`web-${name}`, { taskTemplate: taskSpec({ networks: [{ target: name, aliases: [] }] }) });

/** A store as a new leader finds it: nothing but what is written. */
const reopened = (store: MemoryStore, time: FakeTime): Promise<MemoryStore> => {
  const view = store.view();
  const all = <T>(objects: readonly T[]): T[] => JSON.parse(JSON.stringify(objects)) as T[];
  return storeOf(
    {
      node: all(view.list('node')),
      network: all(view.list('network')),
      service: all(view.list('service')),
      task: all(view.list('task')),
    },
    time,
  );
};

test(`${cycles} endpoints come and go (seed ${seed})`, async () => {
  const next = seededNumbers(seed);
  const below = (limit: number): number => Math.floor(next() * limit);
  const time = new FakeTime(1_000_000);
  let store = await storeOf(
    {
      node: nodeIds.map((id) => node(id)),
      network: names.map((name) => network(name, { subnet })),
      service: names.map(serviceOn),
    },
    time,
  );
  const freedAtMs = new Map<string, number>();
  const macs = new Set<string>();
  let [made, removed, early, held] = [0, 0, 0, new Map<string, string>()];

  const settle = async (): Promise<void> => {
    for (const key of held.keys()) if (!holdersOf(store.view()).has(key)) freedAtMs.set(key, time.ms);
    const before = new Map([...holdersOf(store.view())]);
    await applyPlanner(store, planAllocations, time.nowMs);
    expect(planAllocations(store.view(), time.ms).writes).toEqual([]);
    const after = holdersOf(store.view());
    for (const key of before.keys()) if (!after.has(key)) freedAtMs.set(key, time.ms);
    for (const [key, holder] of after) {
      if (before.has(key)) continue;
      const restedMs = time.ms - (freedAtMs.get(key) ?? -Infinity);
      if (restedMs >= quarantineMs) continue;
      early++;
      const [name] = key.split(' ');
      const rested = [...freedAtMs].filter(([other]) => other.startsWith(`${name} `) && !after.has(other));
      for (const [other, atMs] of rested)
        assert(atMs + restedMs + roundingMs >= time.ms, `${key} went to ${holder} before ${other}`);
      const known = [...freedAtMs.keys(), ...after.keys()].filter((other) => other.startsWith(`${name} `));
      assert(new Set(known).size >= usable, `${key} went to ${holder} while others had never been used`);
    }
    for (const { networks, status } of store.view().list('task'))
      if (status.state === 'pending') for (const { mac } of networks) macs.add(mac);
    held = after;
  };

  const live = (): Task[] =>
    store
      .view()
      .list('task')
      .filter(({ status }) => !isTerminal(status.state));
  const remove = async (some: readonly Task[]): Promise<void> => {
    await store.update((tx) => {
      for (const { id } of some) {
        const present = tx.get('task', id);
        if (!present) continue;
        // An agent's report, or a record that goes at once with its node or service.
        if (next() < 0.5) tx.delete('task', id);
        else tx.update('task', { ...present, status: { ...present.status, state: 'shutdown' } });
      }
    });
    removed += some.length;
  };

  while (removed < cycles) {
    time.ms += below(60_000);
    if (next() < 0.02) store = await reopened(store, time);
    if (next() < 0.05)
      await store.update((tx) => {
        const name = names[below(2)] ?? 'one';
        const present = tx.get('service', `web-${name}` as never);
        if (present)
          tx.update('service', {
            ...present,
            spec: { ...present.spec, endpointSpec: { mode: next() < 0.5 ? 'vip' : 'dnsrr', ports: [] } },
          });
      });
    await store.update((tx) => {
      for (const old of tx.list('task'))
        if (isTerminal(old.status.state) && next() < 0.5) tx.delete('task', old.id);
      for (const present of tx.list('task'))
        if (present.status.state === 'pending')
          tx.update('task', {
            ...present,
            nodeId: nodeIds[below(3)] as NodeId,
            status: { ...present.status, state: 'running' },
          });
    });
    const running = live();
    const leaving = running.filter(() => next() < 0.25);
    await remove(leaving);
    await store.update((tx) => {
      for (const name of names) {
        const room = liveMax - live().filter(({ serviceId }) => serviceId === `web-${name}`).length;
        for (let count = below(Math.min(room, 24) + 1); count > 0; count--)
          tx.create('task', task(`task${made++}`, serviceOn(name), 'new', { slot: made }));
      }
    });
    await settle();
  }

  // The early ones are proof that the networks ran out of rested addresses now and then.
  expect(early).toBeGreaterThan(0);
  expect(macs.size).toBeGreaterThanOrEqual(removed);

  await remove(live());
  await store.update((tx) => {
    for (const { id } of tx.list('task')) tx.delete('task', id);
    for (const { id, spec, ...rest } of tx.list('service'))
      tx.update('service', { id, ...rest, spec: { ...spec, endpointSpec: { mode: 'dnsrr', ports: [] } } });
  });
  await settle();
  for (const name of names)
    expect(store.view().get('network', name as NetworkId)?.addressLedger?.held).toBe('');
  expect(JSON.stringify(store.view().list('network')).length).toBeLessThan(4_000);
  time.ms += quarantineMs + roundingMs;
  await store.update((tx) => {
    for (const name of names)
      for (let count = 0; count < usable; count++)
        tx.create('task', task(`last${name}${count}`, serviceOn(name), 'new', { slot: count + 1 }));
  });
  await settle();
  const got = (name: string): number =>
    live().filter(({ id, networks }) => id.startsWith(`last${name}` as TaskId) && networks.length === 1)
      .length;
  expect(names.map(got)).toEqual([usable, usable]);
});
