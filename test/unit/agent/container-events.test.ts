/** The engine's events: whom each wakes, and a task whose container somebody has disconnected by hand. */
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ContainerPlan } from '../../../src/controlplane/agent/container-config.js';
import { ContainerController } from '../../../src/controlplane/agent/task-controller.js';
import type { ControllerParts } from '../../../src/controlplane/agent/task-controller.js';
import type { ContainerView } from '../../../src/controlplane/dockerd/client.js';
import { ContainerEvents } from '../../../src/controlplane/dockerd/events.js';
import type { AssignmentItems } from '../../../src/controlplane/rpc/assignment.js';
import type { Ip, Mac } from '../../../src/model/addresses.js';
import type { NetworkId } from '../../../src/model/ids.js';
import { systemClock } from '../../../src/runtime/clock.js';
import { createLog } from '../../../src/runtime/log.js';
import { service, task } from '../../support/cluster-objects.js';

const log = createLog('test');
log.level = 'silent';
const common = { clock: systemClock, log };

let stream: PassThrough;
let events: ContainerEvents;
let stop: AbortController;
let running: Promise<void>;
const woken: string[] = [];

beforeEach(async () => {
  woken.length = 0;
  stream = new PassThrough();
  stop = new AbortController();
  const opened = new Promise<void>((resolve) => {
    events = new ContainerEvents(
      {
        containerEvents: async () => {
          resolve();
          return stream;
        },
      },
      common,
    );
  });
  running = events.run(stop.signal);
  await opened;
});
afterEach(async () => {
  stop.abort();
  stream.end();
  await running;
});

const say = (event: object): unknown => stream.write(`${JSON.stringify(event)}\n`);
const ofContainer = (action: string, id: string) => ({
  Type: 'container',
  Action: action,
  Actor: { ID: id },
});
const ofNetwork = (action: string, container: string) => ({
  Type: 'network',
  Action: action,
  Actor: { ID: 'net', Attributes: { container, name: 'open', type: 'skep' } },
});

test.each<[string, object, string[]]>([
  ['a watched container dies', ofContainer('die', 'watched'), ['watched']],
  ['it is removed', ofContainer('destroy', 'watched'), ['watched', 'all']],
  ['it is connected', ofNetwork('connect', 'watched'), ['watched']],
  ['it is disconnected', ofNetwork('disconnect', 'watched'), ['watched']],
  ['a user’s container is connected', ofNetwork('connect', 'other'), ['all']],
  ['a user’s container is disconnected', ofNetwork('disconnect', 'other'), ['all']],
  ['a user’s container dies', ofContainer('die', 'other'), []],
  ['something of which nobody knows what it is', { Type: 'network' }, ['all']],
])('%s', async (_what, event, expected) => {
  using _watched = events.watch('watched', () => woken.push('watched'));
  using _all = events.watchAll(() => woken.push('all'));
  let isLast = false;
  using _last = events.watch('last', () => (isLast = true));
  say(event);
  say(ofContainer('die', 'last'));
  await expect.poll(() => isLast).toBe(true);
  expect(woken).toEqual(expected);
});

describe('a task’s container that somebody disconnects while it runs', () => {
  const web = service('web', {});
  const leg = (id: string, address: string) => ({
    networkId: id as NetworkId,
    address: address as Ip,
    prefixLength: 24,
    mac: '02:00:00:00:00:01' as Mac,
    aliases: [],
  });
  const running = {
    ...task('t1', web, 'running', { node: 'n1' }),
    networks: [leg('ingress', '10.0.0.5'), leg('mynet', '10.0.1.5')],
  };
  const overlays = new Map(
    ['ingress', 'mynet'].map((id) => [id, { id, name: id, driverOptions: {} } as AssignmentItems['overlay']]),
  );
  const connected: [string, ContainerPlan['connect'][number]['endpoint']][] = [];
  let container: ContainerView;
  let refusal: Error | undefined;
  let known: typeof overlays | null;

  const controller = (): ContainerController =>
    new ContainerController(
      running,
      {
        ...common,
        events,
        engine: {
          container: async () => container,
          connectNetwork: async (
            network: string,
            _id: string,
            endpoint: ContainerPlan['connect'][number]['endpoint'],
          ) => {
            if (refusal) throw refusal;
            connected.push([network, endpoint]);
            container = { ...container, networks: [...container.networks, network] };
          },
        },
        network: { overlays: async () => known },
        localNetworks: { hold: () => undefined },
        node: () => ({ id: 'n1', hostname: 'n1' }),
      } as unknown as ControllerParts,
      { started: () => undefined, draining: () => undefined },
    );

  beforeEach(() => {
    connected.length = 0;
    refusal = undefined;
    known = overlays;
    container = {
      ...{
        id: 'c1',
        labels: {},
        status: 'running',
        pid: 1,
        exitCode: 0,
        health: null,
        ports: [],
        tty: false,
      },
      ...{ networks: ['mynet', 'ingress'], dns: [], driverOptions: new Map() },
    };
  });
  const changeContainer = (over: Partial<ContainerView>, action: object): void => {
    container = { ...container, ...over };
    say(action);
  };
  const end = (): void => changeContainer({ status: 'exited' }, ofContainer('die', 'c1'));

  test('is connected again at once, with its own address, and runs on', async () => {
    const waiting = controller().wait(stop.signal);
    changeContainer({ networks: ['mynet'] }, ofNetwork('disconnect', 'c1'));
    await expect.poll(() => connected).toEqual([['ingress', { IPAMConfig: { IPv4Address: '10.0.0.5' } }]]);
    changeContainer({ networks: [] }, ofNetwork('disconnect', 'c1'));
    await expect.poll(() => connected.map(([name]) => name)).toEqual(['ingress', 'ingress', 'mynet']);
    end();
    await waiting;
  });

  test('fails where it cannot be connected, so that another takes its place', async () => {
    refusal = new Error('the engine does not want to');
    const waiting = controller().wait(stop.signal);
    const failed = expect(waiting).rejects.toThrow('the engine does not want to');
    changeContainer({ networks: ['mynet'] }, ofNetwork('disconnect', 'c1'));
    await failed;
  });

  test('is left alone while this node does not know the network, or the process has ended', async () => {
    known = null;
    const waiting = controller().wait(stop.signal);
    changeContainer({ networks: ['mynet'] }, ofNetwork('disconnect', 'c1'));
    changeContainer({ status: 'exited', networks: [] }, ofNetwork('disconnect', 'c1'));
    await waiting;
    expect(connected).toEqual([]);
  });
});
