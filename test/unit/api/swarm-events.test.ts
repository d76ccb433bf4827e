/** Which changes of the store are events, and what they say; rows as dockerd 20.10.24 tells them of its Swarm. */
import { describe, expect, test } from 'vitest';
import { eventOf, SwarmEvents } from '../../../src/controlplane/api/swarm-events.js';
import { MemoryStore } from '../../../src/controlplane/store/memory.js';
import type { Change } from '../../../src/controlplane/store/store.js';
import type { Node, Service } from '../../../src/model/objects.js';
import { network, node, service, task } from '../../support/cluster-objects.js';

const web = service('web');
const host = node('host-1');
const overlay = network('mynet');
const manager = (over: object): Node => ({
  ...host,
  managerStatus: { leader: false, reachability: 'unknown', addr: '', ...over },
});
const updating = (state: NonNullable<Service['updateStatus']>['state']): Service => ({
  ...web,
  updateStatus: { state, startedAtMs: 0, message: '' },
});

/** Type, action and attributes on one line; `none` where Docker reports nothing. */
function told(kind: string, previous: object | undefined, current: object | undefined): string {
  const change = { kind, id: 'x', ...(previous && { previous }), ...(current && { current }) };
  const event = eventOf(change as unknown as Change, 5_000);
  if (!event) return 'none';
  const attributes = Object.entries(event.Actor.Attributes).map(([key, value]) => `${key}=${value}`);
  return [event.Type, event.Action, ...attributes].join(' ');
}

const image = (name: string): Service => {
  const { taskTemplate } = web.spec;
  return {
    ...web,
    spec: {
      ...web.spec,
      taskTemplate: { ...taskTemplate, container: { ...taskTemplate.container, image: name } },
    },
  };
};
const replicas = (count: number): Service => ({
  ...web,
  spec: { ...web.spec, mode: { kind: 'replicated', replicas: count } },
});

test.each<[kind: string, previous: object | undefined, current: object | undefined, told: string]>([
  ['service', undefined, web, 'service create name=web'],
  ['service', web, undefined, 'service remove name=web'],
  ['service', web, { ...web, version: 7, updatedAtMs: 9 }, 'service update name=web'],
  ['service', image('a'), image('b'), 'service update name=web image.old=a image.new=b'],
  ['service', replicas(2), replicas(3), 'service update name=web replicas.old=2 replicas.new=3'],
  ['service', web, updating('updating'), 'service update name=web updatestate.new=updating'],
  [
    'service',
    updating('updating'),
    updating('rollback_started'),
    'service update name=web updatestate.old=updating updatestate.new=rollback_started',
  ],
  ['service', updating('completed'), web, 'service update name=web'],
  // What Swarm has not is told to nobody, but does not hide what goes with it.
  ['service', web, { ...web, version: 7, rebalancing: { movesAtMs: [], of: 't', failures: 0 } }, 'none'],
  [
    'service',
    replicas(1),
    { ...replicas(2), rebalancing: { movesAtMs: [], of: 't', failures: 0 } },
    'service update name=web replicas.old=1 replicas.new=2',
  ],
  ['node', undefined, { ...host, description: undefined }, 'node create name='],
  ['node', host, { ...host, espEpoch: 4 }, 'none'],
  ['node', host, undefined, 'node remove name=host-1'],
  ['node', host, { ...host, spec: { ...host.spec, labels: { a: 'b' } } }, 'node update name=host-1'],
  [
    'node',
    host,
    { ...host, spec: { ...host.spec, availability: 'drain' } },
    'node update name=host-1 availability.old=active availability.new=drain',
  ],
  ['node', host, { ...host, role: 'manager' }, 'node update name=host-1 role.old=worker role.new=manager'],
  [
    'node',
    host,
    { ...host, status: { ...host.status, state: 'down' } },
    'node update name=host-1 state.old=ready state.new=down',
  ],
  ['node', host, manager({}), 'node update name=host-1'],
  [
    'node',
    manager({}),
    manager({ leader: true, reachability: 'reachable' }),
    'node update name=host-1 leader.old=false leader.new=true reachability.old=unknown reachability.new=reachable',
  ],
  ['network', undefined, overlay, 'network create name=mynet'],
  ['network', overlay, { ...overlay, allocation: { vni: 4097 } }, 'network update name=mynet'],
  ['network', overlay, { ...overlay, version: 7, addressCursor: 9, addressLedger: {} }, 'none'],
  ['network', overlay, undefined, 'network remove name=mynet'],
  ['task', undefined, task('t', web, 'running'), 'none'],
])('%s: %o to %o', (kind, previous, current, expected) => {
  expect(told(kind, previous, current)).toBe(expected);
});

test('an event has the time of its object, or is of now when that is gone', () => {
  const at = { ...web, createdAtMs: 1_795_230_246_574, updatedAtMs: 1_795_230_247_001 };
  const times = (change: object): unknown => {
    const { time, timeNano, scope } = eventOf({ kind: 'service', id: 'x', ...change } as Change, 5_999)!;
    return [time, JSON.stringify(timeNano), scope];
  };
  expect(times({ current: at })).toEqual([1_795_230_246, '1795230246574000000', 'swarm']);
  expect(times({ previous: at, current: at })).toEqual([1_795_230_247, '1795230247001000000', 'swarm']);
  expect(times({ previous: at })).toEqual([5, '5999000000', 'swarm']);
});

describe('what is remembered', () => {
  test('is the last 256, the same at every manager of the store', async () => {
    const store = new MemoryStore();
    const managers = [1, 2].map(() => new SwarmEvents({ nowMs: () => 0 }));
    const stop = managers.map((events) => events.follow(store));
    for (let i = 0; i < 300; i++) await store.update((tx) => tx.create('node', node(`n${i}`)));
    stop[1]!();
    await store.update((tx) => tx.delete('node', 'n0'));
    const [all, stopped] = managers.map((events) =>
      events.subscribe(() => undefined).past.map(({ Action, Actor }) => `${Action} ${Actor.ID}`),
    );
    expect(stopped).toEqual(Array.from({ length: 256 }, (_, i) => `create n${i + 44}`));
    expect(all).toEqual([...stopped!.slice(1), 'remove n0']);
  });

  test('ends where a subscription begins', async () => {
    const store = new MemoryStore();
    const events = new SwarmEvents({ nowMs: () => 0 });
    events.follow(store);
    const seen: string[] = [];
    await store.update((tx) => tx.create('node', node('a')));
    const { past, unsubscribe } = events.subscribe(({ Actor }) => seen.push(Actor.ID));
    await store.update((tx) => tx.create('node', node('b')));
    unsubscribe();
    await store.update((tx) => tx.create('node', node('c')));
    expect([past.map(({ Actor }) => Actor.ID), seen]).toEqual([['a'], ['b']]);
  });
});
