/** Many nodes that come at a time: what they cost the store, and whom they wake. */
import { expect, test } from 'vitest';
import { pino } from 'pino';
import { Registrations } from '../../../src/controlplane/dispatcher/registrations.js';
import { Sessions } from '../../../src/controlplane/dispatcher/sessions.js';
import type { SessionMessage, WireNodeDescription } from '../../../src/controlplane/rpc/messages.js';
import type { MemoryStore } from '../../../src/controlplane/store/memory.js';
import type { NodeId } from '../../../src/model/ids.js';
import { systemClock } from '../../../src/runtime/clock.js';
import { cluster, node, seededBytes, storeOf } from '../../support/cluster-objects.js';

const describe = (hostname: string): WireNodeDescription => ({
  ...{ hostname, architecture: 'x86_64', os: 'linux', nanoCpus: 1e9, memoryBytes: 2 ** 30 },
  ...{ engineVersion: '20.10', engineLabels: {}, plugins: [], genericResources: [], routes: [] },
  ...{ espEpoch: 3, tlsInfo: null },
});

const addrOf = (index: number): string => `192.0.${index >> 8}.${index & 255}`;
const idOf = (index: number): NodeId => `n${String(index).padStart(4, '0')}` as NodeId;

async function storeWith(count: number): Promise<MemoryStore> {
  const nodes = Array.from({ length: count }, (_, index) => node(idOf(index), { state: 'unknown' }));
  return storeOf({ cluster: [cluster()], node: nodes });
}

const nodeIn = (store: MemoryStore, index: number) => store.view().get('node', idOf(index));

test('a thousand nodes that register at a time are a few transactions', async () => {
  const store = await storeWith(1_000);
  const registrations = new Registrations({ store, clock: systemClock });
  let batches = 0;
  store.subscribe(() => (batches += 1));
  await Promise.all(
    Array.from({ length: 1_000 }, (_, index) =>
      registrations.register(idOf(index), describe(`host${index}`), addrOf(index), ''),
    ),
  );
  expect(batches).toBe(10);
  expect(nodeIn(store, 999)).toMatchObject({
    status: { state: 'ready', addr: '192.0.3.231' },
    description: { hostname: 'host999' },
    ...{ dataPathAddr: '192.0.3.231', espEpoch: 3 },
  });
  expect(
    store
      .view()
      .list('node')
      .every(({ status }) => status.state === 'ready'),
  ).toBe(true);
});

test('an address is one node’s, whoever had it before and whoever asks for it at the same time', async () => {
  const store = await storeWith(4);
  const registrations = new Registrations({ store, clock: systemClock });
  const register = (index: number, address: string) =>
    registrations.register(idOf(index), describe('host'), '198.51.100.1', address);
  await register(0, '192.0.2.10');
  await Promise.all([register(1, '192.0.2.10'), register(2, '192.0.2.10'), register(3, '192.0.2.11')]);
  const held = () => [0, 1, 2, 3].map((index) => nodeIn(store, index)?.dataPathAddr);
  expect(held()).toEqual([undefined, undefined, '192.0.2.10', '192.0.2.11']);
  // Two change places.
  await Promise.all([register(2, '192.0.2.11'), register(3, '192.0.2.10')]);
  expect(held()).toEqual([undefined, undefined, '192.0.2.11', '192.0.2.10']);
});

test('what a node says in its session changes neither its state nor its address', async () => {
  const store = await storeWith(2);
  const registrations = new Registrations({ store, clock: systemClock });
  await registrations.register(idOf(0), describe('host'), '198.51.100.1', '192.0.2.10');
  await store.update((tx) => {
    const known = tx.get('node', idOf(0)) ?? expect.fail();
    tx.update('node', { ...known, status: { ...known.status, state: 'down' } });
  });
  await registrations.describe(idOf(0), { ...describe('other'), espEpoch: 0 });
  expect(nodeIn(store, 0)).toMatchObject({
    status: { state: 'down', addr: '198.51.100.1' },
    description: { hostname: 'other' },
    ...{ dataPathAddr: '192.0.2.10', espEpoch: 3 },
  });
  // Both in one batch.
  await Promise.all([
    registrations.register(idOf(1), describe('host'), '198.51.100.2', ''),
    registrations.describe(idOf(1), describe('later')),
  ]);
  expect(nodeIn(store, 1)).toMatchObject({
    ...{ status: { state: 'ready' }, description: { hostname: 'later' }, dataPathAddr: '198.51.100.2' },
  });
  await registrations.describe('stranger' as NodeId, describe('host'));
  expect(store.view().list('node')).toHaveLength(2);
});

test('what one node may not, or no node is, fails for that one alone', async () => {
  const store = await storeWith(2);
  const registrations = new Registrations({ store, clock: systemClock });
  const [gone, wrong, fine] = await Promise.allSettled([
    registrations.register('stranger' as NodeId, describe('host'), '192.0.2.1', ''),
    registrations.register(idOf(0), describe('host'), '192.0.2.2', 'no address'),
    registrations.register(idOf(1), describe('host'), '192.0.2.3', ''),
  ]);
  expect(gone).toMatchObject({ status: 'rejected', reason: { kind: 'notFound' } });
  expect(wrong).toMatchObject({ status: 'rejected', reason: { kind: 'invalidArgument' } });
  expect(fine.status).toBe('fulfilled');
  expect(nodeIn(store, 0)?.status.state).toBe('unknown');
  expect(nodeIn(store, 1)?.status.state).toBe('ready');
});

test('a node whose dataplane is away keeps the labels that it told before, and loses those of its engine that are gone', async () => {
  const store = await storeWith(1);
  const registrations = new Registrations({ store, clock: systemClock });
  const register = async (engineLabels: Record<string, string>, espEpoch: number) => {
    await registrations.register(idOf(0), { ...describe('host'), engineLabels, espEpoch }, '192.0.2.1', '');
    return nodeIn(store, 0)?.description?.engine.labels;
  };
  expect(await register({ zone: 'a' }, 0)).toEqual({ zone: 'a' });
  const told = { 'skep.balancer': 'ebpf', 'skep.esp': 'true' };
  expect(await register({ ...told, zone: 'a' }, 3)).toEqual({ ...told, zone: 'a' });
  expect(await register({ rack: '7' }, 0)).toEqual({ ...told, rack: '7' });
  expect(nodeIn(store, 0)?.espEpoch).toBe(3);
  expect(await register({ 'skep.balancer': 'ipvs' }, 4)).toEqual({ 'skep.balancer': 'ipvs' });
});

test('a session is woken by its own node and by managers, not by other nodes', async () => {
  const store = await storeWith(3);
  let looks = 0;
  const sessions = new Sessions({
    ...{ store, clock: systemClock, random: seededBytes(1), log: pino({ enabled: false }) },
    isTrusted: () => (looks += 1) > 0,
  });
  const mine = nodeIn(store, 0);
  if (!mine) throw new Error('it is there');
  const request = { description: describe('host'), dataPathAddr: '' };
  const session = await sessions.register(mine, request, {
    addr: '192.0.2.1',
    certificate: Buffer.alloc(0),
  });
  const messages: SessionMessage[] = [];
  const over = new AbortController();
  const serving = sessions.serve(session, {
    write: async (message) => void messages.push(message),
    signal: over.signal,
  });
  const rest = () => systemClock.sleep(20);
  await rest();
  expect(messages).toHaveLength(1);
  looks = 0;
  const change = (index: number, over: object) =>
    store.update((tx) => {
      const known = tx.get('node', idOf(index));
      if (known) tx.update('node', { ...known, ...over });
    });
  await change(1, { espEpoch: 9 });
  await change(2, { wantedIssuer: 'another' });
  await rest();
  expect([looks, messages.length]).toEqual([0, 1]);
  await change(0, { wantedIssuer: 'another' });
  await rest();
  expect(messages.at(-1)).toMatchObject({ wantedIssuer: 'another', managers: [] });
  await change(1, { managerStatus: { leader: false, reachability: 'reachable', addr: '192.0.2.2:2377' } });
  await rest();
  expect(messages.at(-1)).toMatchObject({ managers: [{ nodeId: idOf(1), addr: '192.0.2.2:2377' }] });
  await store.update((tx) =>
    tx.update('cluster', { ...tx.cluster(), rootCa: { certPem: 'new', keyPem: '' } }),
  );
  await rest();
  expect(messages.at(-1)).toMatchObject({ rootCaPem: 'new' });
  expect([looks, messages.length]).toEqual([3, 4]);
  over.abort();
  await serving;
  sessions.stop();
});
