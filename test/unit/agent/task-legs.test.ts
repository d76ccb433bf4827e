/** A task's legs on its overlays while its container runs: what is lost, what is put back, and what ends the task. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Connection } from '../../../src/controlplane/agent/container-config.js';
import { ContainerWatch } from '../../../src/controlplane/agent/container-watch.js';
import { LegWatch } from '../../../src/controlplane/agent/leg-watch.js';
import { ContainerController } from '../../../src/controlplane/agent/task-controller.js';
import type { ControllerParts } from '../../../src/controlplane/agent/task-controller.js';
import { TaskLegs } from '../../../src/controlplane/agent/task-legs.js';
import type { ContainerView } from '../../../src/controlplane/dockerd/client.js';
import { EngineError } from '../../../src/controlplane/dockerd/client.js';
import type { AssignmentItems } from '../../../src/controlplane/rpc/assignment.js';
import type { Ip, Mac } from '../../../src/model/addresses.js';
import type { NetworkId, NodeId } from '../../../src/model/ids.js';
import type { Clock } from '../../../src/runtime/clock.js';
import { createLog } from '../../../src/runtime/log.js';
import { Trigger } from '../../../src/runtime/loop.js';
import { service, task } from '../../support/cluster-objects.js';

const log = createLog('test');
log.level = 'silent';

const leg = (id: string, address: string) => ({
  networkId: id as NetworkId,
  address: address as Ip,
  prefixLength: 24,
  mac: '02:00:00:00:00:01' as Mac,
  aliases: [],
});
const web = {
  ...task('t1', service('web', {}), 'running', { node: 'n1' }),
  networks: [leg('ingress', '10.0.0.5'), leg('mynet', '10.0.1.5')],
};
const overlays = new Map(
  ['ingress', 'mynet'].map((id) => [
    id,
    { id, name: id, ingress: id === 'ingress', driverOptions: {} } as AssignmentItems['overlay'],
  ]),
);

/** An engine with one container, and what it was asked. */
let container: ContainerView | undefined;
/** What happens instead of a connection. */
let onConnect: (() => void) | undefined;
let known: typeof overlays;
/** Networks that the engine lists the container with although it could not be connected, as a 20.10 engine does. */
const listedOnly = new Set<string>();
let tellsOfNetworks: boolean;
const asked: [string, Connection['endpoint']][] = [];
const ensured: string[] = [];
let said: string[];
let nowMs: number;
const changed = new Trigger();
const stop = new AbortController();

/** Time passes when somebody sleeps, but for those who wait for an event. */
const clock: Clock = {
  nowMs: () => nowMs,
  steadyMs: () => nowMs,
  sleep: (delayMs, signal) => {
    if (delayMs <= 1_000) nowMs += delayMs;
    return delayMs <= 1_000
      ? Promise.resolve()
      : new Promise((_, reject) => {
          signal?.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
        });
  },
};

beforeEach(() => {
  asked.length = 0;
  ensured.length = 0;
  said = [];
  nowMs = 0;
  onConnect = undefined;
  listedOnly.clear();
  tellsOfNetworks = true;
  known = overlays;
  container = {
    ...{ id: 'c1', labels: {}, status: 'running', pid: 1, exitCode: 0, health: null, ports: [], tty: false },
    ...{ networks: ['mynet', 'ingress'], dns: [], driverOptions: new Map() },
  };
});
afterEach(() => changed.fire());

const become = (over: Partial<ContainerView>): void => {
  container = container && { ...container, ...over };
};
const parts = {
  clock,
  log,
  events: {
    watch: (_id: string, wake: () => void) => {
      wakeContainer = wake;
      return { [Symbol.dispose]: () => undefined };
    },
  },
  legWatch: { watch: () => ({ [Symbol.dispose]: () => undefined }) },
  watchProcess: () => ({ [Symbol.dispose]: () => undefined }),
  engine: {
    container: async () => container,
    connectedTo: async (network: string) => {
      if (!tellsOfNetworks) throw new EngineError('network mynet is ambiguous', 400);
      return container?.networks.includes(network) && !listedOnly.has(network)
        ? ['c0', container.id]
        : ['c0'];
    },
    connectNetwork: async (network: string, _id: string, endpoint: Connection['endpoint']) => {
      asked.push([network, endpoint]);
      if (onConnect) return onConnect();
      listedOnly.delete(network);
      become({ networks: [...new Set([...(container?.networks ?? []), network])] });
    },
    stopContainer: async () => {
      said.push('stopped');
      become({ status: 'exited', exitCode: 137 });
    },
  },
  network: {
    overlays: async () => known,
    knownOverlays: () => known,
    requireEsp: () => undefined,
    drained: async () => void said.push('drained'),
    ended: () => void said.push('ended'),
  },
  localNetworks: {
    hold: () => undefined,
    ensure: async ({ name }: AssignmentItems['overlay']) => {
      ensured.push(name);
      return name;
    },
  },
  node: () => ({ id: 'n1', hostname: 'n1' }),
} as unknown as ControllerParts;
let wakeContainer: () => void = () => undefined;
const controller = (): ContainerController =>
  new ContainerController(web, parts, {
    started: () => undefined,
    draining: () => void said.push('draining'),
  });

test.each<[string, Partial<ContainerView>, string[]]>([
  ['it has all', {}, []],
  ['ingress was taken', { networks: ['mynet'] }, ['ingress']],
  ['all was taken: its own networks come first', { networks: [] }, ['mynet', 'ingress']],
  ['it is on another network, too', { networks: ['mine', 'mynet', 'ingress'] }, []],
  ['it is frozen', { status: 'paused', networks: ['ingress'] }, ['mynet']],
  ...['created', 'restarting', 'removing', 'exited', 'dead'].map(
    (status): [string, Partial<ContainerView>, string[]] => [status, { status, networks: [] }, []],
  ),
])('a container lacks what it is to have while it runs: %s', (_what, over, lost) => {
  become(over);
  const legs = new TaskLegs(web, parts);
  expect(legs.lost(container as ContainerView).map(({ overlay }) => overlay.name)).toEqual(lost);
  known = new Map();
  expect(legs.lost(container as ContainerView)).toEqual([]);
});

describe('a container that somebody disconnects while its task runs', () => {
  const wait = async (): Promise<{ ended: Promise<void> }> => {
    const ended = controller().wait(stop.signal);
    ended.catch(() => undefined);
    await expect.poll(() => wakeContainer).not.toBe(undefined);
    await new Promise(setImmediate);
    return { ended };
  };
  const change = (over: Partial<ContainerView>): void => {
    become(over);
    wakeContainer();
  };

  test('is connected again with its own address, and its task goes on', async () => {
    const { ended } = await wait();
    change({ networks: ['mynet'] });
    await expect.poll(() => asked).toEqual([['ingress', { IPAMConfig: { IPv4Address: '10.0.0.5' } }]]);
    change({ networks: [] });
    await expect.poll(() => asked.map(([name]) => name)).toEqual(['ingress', 'mynet', 'ingress']);
    expect(ensured).toEqual(['ingress', 'mynet', 'ingress']);
    await new Promise(setImmediate);
    change({ status: 'exited' });
    await ended;
    expect(said).toEqual([]);
  });

  test('is tried again where the engine refuses, for some time', async () => {
    const { ended } = await wait();
    onConnect = () => {
      if (asked.length === 3) onConnect = undefined;
      // As a 20.10 engine does.
      become({ networks: ['mynet', 'ingress'] });
      throw new EngineError('not yet', 500);
    };
    change({ networks: ['mynet'] });
    await expect.poll(() => asked).toHaveLength(4);
    await new Promise(setImmediate);
    expect(new TaskLegs(web, parts).lost(container as ContainerView)).toEqual([]);
    change({ status: 'exited' });
    await ended;
  });

  test('is connected by the next agent, where one ended that was refused', async () => {
    listedOnly.add('mynet');
    await wait();
    await expect.poll(() => asked.map(([name]) => name)).toEqual(['mynet']);
    await new Promise(setImmediate);
    change({ status: 'exited' });
    expect(asked).toHaveLength(1);
    expect(said).toEqual([]);
  });

  test('is left as it is listed while the engine does not tell of its networks', async () => {
    listedOnly.add('mynet');
    tellsOfNetworks = false;
    await wait();
    expect(asked).toEqual([]);
    tellsOfNetworks = true;
    change({});
    await expect.poll(() => asked.map(([name]) => name)).toEqual(['mynet']);
    await new Promise(setImmediate);
    change({ status: 'exited' });
    expect(said).toEqual([]);
  });

  test('is connected by the next agent also before its task runs, and whatever is known of its networks first', async () => {
    listedOnly.add('ingress');
    const legs = new TaskLegs(web, parts);
    known = new Map();
    await legs.confirm(container as ContainerView);
    known = overlays;
    await legs.connectStarted(new ContainerWatch('c1', legs, parts), stop.signal);
    expect(asked.map(([name]) => name)).toEqual(['ingress']);
  });

  test('ends its task, drained and with the reason, where it cannot be connected', async () => {
    const { ended } = await wait();
    onConnect = () => {
      throw new EngineError('no place here', 500);
    };
    change({ networks: ['mynet'] });
    await expect(ended).rejects.toThrow(
      'task: non-zero exit (137): container was disconnected from network ingress and cannot be connected again: no place here',
    );
    expect(said).toEqual(['draining', 'drained', 'stopped']);
  });

  test.each<[string, Partial<ContainerView> | null]>([
    ['ends meanwhile', { status: 'exited' }],
    ['is being removed', { status: 'removing' }],
    ['is gone', null],
  ])('is left alone when it %s', async (_what, over) => {
    const legs = new TaskLegs(web, parts);
    onConnect = () => {
      if (over === null) container = undefined;
      else become(over);
      throw new EngineError('the container does not run', 409);
    };
    become({ networks: ['mynet'] });
    expect(await legs.restore(container as ContainerView, stop.signal)).toBeNull();
    expect(asked).toHaveLength(1);
  });

  test('is left alone once the task is to be stopped', async () => {
    const legs = new TaskLegs(web, parts);
    become({ networks: [] });
    await expect(
      legs.restore(container as ContainerView, AbortSignal.abort(new Error('no longer wanted'))),
    ).rejects.toThrow('no longer wanted');
    expect(asked).toEqual([]);
  });

  test('is not connected without a pause where the engine says that it is, and does not list it', async () => {
    become({ networks: ['mynet'] });
    onConnect = () => undefined;
    const legs = new TaskLegs(web, parts);
    await expect(
      legs.connectStarted(new ContainerWatch('c1', legs, parts), stop.signal),
    ).rejects.toMatchObject({ retryable: true });
    expect(asked).toHaveLength(1);
    expect(await legs.restore(container as ContainerView, stop.signal)).toMatch(/does not stay connected$/);
    expect(asked.length).toBeLessThan(10);
  });

  test('an engine that does not answer ends nothing', async () => {
    const legs = new TaskLegs(web, parts);
    become({ networks: [] });
    onConnect = () => {
      throw new EngineError('connect ENOENT', 0);
    };
    const restored = (): Promise<string | null> => legs.restore(container as ContainerView, stop.signal);
    await expect(restored()).rejects.toMatchObject({ retryable: true });
    // It had connected the container before it went away, and says so.
    become({ networks: ['mynet'] });
    onConnect = () => {
      onConnect = undefined;
      become({ networks: ['mynet', 'ingress'] });
      throw new EngineError('endpoint with name web.1 already exists in network mynet', 403);
    };
    expect(await restored()).toBeNull();
  });
});

test('a disconnection that no event tells of is found by one listing for all', async () => {
  const turns = [['mynet'], ['mynet', 'ingress'], ['ingress', 'mynet', 'mine']].map((networks) => networks);
  const woken: string[] = [];
  let listings = 0;
  const end = new AbortController();
  const watch = new LegWatch({
    nodeId: 'n1' as NodeId,
    engine: {
      connectedContainers: async (labels) => {
        expect(labels).toEqual({ 'com.docker.swarm.node.id': 'n1' });
        listings += 1;
        if (listings === 1) throw new EngineError('away', 0);
        return turns.map((networks, index) => ({
          id: `c${index}`,
          name: '',
          labels: {},
          networks: networks.map((name) => ({ name, address: '' })),
        }));
      },
    },
    clock: {
      nowMs: () => 0,
      steadyMs: () => 0,
      sleep: async () => {
        if (listings === 2) end.abort();
      },
    },
    log,
  });
  // The last one does not run.
  for (const id of ['c0', 'c1', 'c2', 'c3'])
    watch.watch(
      id,
      () => ['mynet', 'ingress'],
      () => woken.push(id),
    );
  await watch.run(end.signal);
  expect({ woken, listings }).toEqual({ woken: ['c0'], listings: 2 });
});

test('the engine is not asked for a listing while no container is to have a network', async () => {
  let listings = 0;
  const end = new AbortController();
  const names: string[] = [];
  let turns = 0;
  const watch = new LegWatch({
    nodeId: 'n1' as NodeId,
    engine: { connectedContainers: async () => ((listings += 1), []) },
    clock: {
      nowMs: () => 0,
      steadyMs: () => 0,
      sleep: async () => {
        turns += 1;
        if (turns === 3) names.push('mynet');
        if (turns === 4) end.abort();
      },
    },
    log,
  });
  watch.watch(
    'c0',
    () => names,
    () => undefined,
  );
  await watch.run(end.signal);
  expect([turns, listings]).toEqual([4, 1]);
});
