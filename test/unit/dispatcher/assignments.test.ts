/** What a node is told: the right set, and differences that add up to it. */
import { describe, expect, test } from 'vitest';
import { diffAssignments, sameAssignment } from '../../../src/controlplane/dispatcher/assignments.js';
import {
  assembleNodeNetworkState,
  changeNodeNetworkState,
} from '../../../src/controlplane/agent/node-state.js';
import type { NodeNetworkState } from '../../../src/dataplane/state.js';
import type { Assignment, AssignmentChange } from '../../../src/controlplane/rpc/assignment.js';
import { applyChanges, formatChange, parseChange } from '../../../src/controlplane/rpc/assignment.js';
import type { Store } from '../../../src/controlplane/store/store.js';
import type { Cidr, Ip, Mac } from '../../../src/model/addresses.js';
import type { NetworkId, NodeId, TaskId, Vni } from '../../../src/model/ids.js';
import type { Network, Node, Service, Task } from '../../../src/model/objects.js';
import type { TaskState } from '../../../src/model/task-state.js';
import { taskStates } from '../../../src/model/task-state.js';
import { assignmentsFor } from '../../support/assignments.js';
import {
  attachment,
  cluster,
  network,
  node,
  seededNumbers,
  service,
  storeOf,
  task,
} from '../../support/cluster-objects.js';

const mac = '02:00:00:00:00:01' as Mac;
const overlay = (id: string, subnet: string, ingress = false): Network => ({
  ...network(id, { ingress }),
  allocation: { vni: 4097 as Vni, subnet: `${subnet}.0/24` as Cidr, gateway: `${subnet}.1` as Ip },
});
const member = (id: string, host: number, networks: readonly string[], over: Partial<Node> = {}): Node => ({
  ...node(id),
  dataPathAddr: `192.0.2.${host}` as Ip,
  attachments: networks.map((networkId) => ({
    networkId: networkId as NetworkId,
    address: `${networkId === 'ingress' ? '10.0.0' : '10.0.1'}.${host}` as Ip,
    mac,
  })),
  ...over,
});
const web: Service = {
  ...service('web', {}),
  endpoint: {
    spec: { mode: 'vip', ports: [] },
    ports: [
      { protocol: 'tcp', targetPort: 80, publishedPort: 8080, publishMode: 'ingress' },
      { protocol: 'tcp', targetPort: 81, publishedPort: 8081, publishMode: 'host' },
    ],
    virtualIps: [
      { networkId: 'ingress' as NetworkId, address: '10.0.0.100' as Ip, prefixLength: 24 },
      { networkId: 'mynet' as NetworkId, address: '10.0.1.100' as Ip, prefixLength: 24 },
    ],
  },
};
const rr: Service = service('rr', {
  taskTemplate: {
    ...service('rr').spec.taskTemplate,
    networks: [{ target: 'mynet', aliases: ['r'] }],
  },
});
const webTask = (
  id: string,
  state: TaskState,
  nodeId: string,
  host: number,
  over: Partial<Task> = {},
): Task =>
  task(id, web, state, {
    node: nodeId,
    networks: (['ingress', 'mynet'] as const).map((networkId) => ({
      networkId: networkId as NetworkId,
      address: `${networkId === 'ingress' ? '10.0.0' : '10.0.1'}.${host}` as Ip,
      prefixLength: 24,
      mac,
      aliases: [],
    })),
    ...over,
  });

const world = (): Promise<Store> =>
  storeOf({
    node: [
      member('n1', 11, ['ingress', 'mynet']),
      member('n2', 12, ['ingress', 'mynet']),
      member('n3', 13, ['ingress']),
      node('never-registered'),
    ],
    network: [overlay('ingress', '10.0.0', true), overlay('mynet', '10.0.1'), network('unallocated')],
    service: [web, rr],
    task: [
      webTask('t1', 'running', 'n1', 21),
      webTask('t2', 'starting', 'n2', 22),
      webTask('t3', 'failed', 'n1', 23),
      webTask('t4', 'running', 'n2', 24, { desiredState: 'shutdown' }),
      task('t5', web, 'pending'),
    ],
  });

const keys = (assignments: ReadonlyMap<string, Assignment>): string[] => [...assignments.keys()].sort();

describe('assignmentsFor', () => {
  test('a node knows its tasks and all of the networks it takes part in', async () => {
    const view = (await world()).view();
    expect(keys(assignmentsFor(view, 'n1' as NodeId))).toEqual([
      'endpoint/ingress/t1',
      'endpoint/ingress/t2',
      'endpoint/ingress/t4',
      'endpoint/mynet/t1',
      'endpoint/mynet/t2',
      'endpoint/mynet/t4',
      'node',
      'overlay/ingress',
      'overlay/mynet',
      'peer/ingress/n2',
      'peer/ingress/n3',
      'peer/mynet/n2',
      'port/tcp/8080',
      'service/ingress/web',
      'service/mynet/rr',
      'service/mynet/web',
      'task/t1',
      'task/t3',
    ]);
  });

  test('a user’s container is an endpoint of its name, its aliases and its short id, alike on all its networks', async () => {
    const containerId = 'c0ffee'.padEnd(64, '0');
    const leg = (networkId: string, address: string, aliases: readonly string[] = []) =>
      attachment(`a-${networkId}`, 'n1', { networkId, address, aliases }, container);
    const container = { containerId, containerName: 'box', nameservers: ['9.9.9.9'] };
    const store = await storeOf({
      node: [member('n1', 11, ['ingress', 'mynet', 'other'])],
      network: [overlay('mynet', '10.0.1'), overlay('other', '10.0.2')],
      task: [
        leg('mynet', '10.0.1.31', ['db']),
        leg('other', '10.0.2.31'),
        attachment('unbound', 'n1', { networkId: 'mynet', address: '10.0.1.32' }),
      ],
    });
    const known = assignmentsFor(store.view(), 'n1' as NodeId);
    const endpoints = [...known.values()].flatMap(({ kind, item }) => (kind === 'endpoint' ? [item] : []));
    const shown = endpoints.map(({ overlayId, taskId, serviceId, name, aliases, nameservers, address }) =>
      [overlayId, taskId, serviceId, name, aliases.join(), nameservers.join(), address].join(' '),
    );
    expect(shown.sort()).toEqual([
      `mynet ${containerId} ${''} box db,c0ffee000000 9.9.9.9 10.0.1.31`,
      `mynet unbound ${''} unbound ${''} ${''} 10.0.1.32`,
      `other ${containerId} ${''} box c0ffee000000 9.9.9.9 10.0.2.31`,
    ]);
    expect([...(assembleNodeNetworkState(known, 9)?.overlays[0]?.endpoints ?? [])][0]).toMatchObject({
      serviceId: '',
      name: 'box',
      aliases: ['db', 'c0ffee000000'],
      nameservers: ['9.9.9.9'],
    });
  });

  test('a task that serves has its container’s short id', async () => {
    const running = webTask('t9', 'running', 'n1', 29);
    const container = { containerId: 'ab'.repeat(32), pid: 7, exitCode: 0 };
    const store = await storeOf({
      node: [member('n1', 11, ['ingress', 'mynet'])],
      network: [overlay('mynet', '10.0.1')],
      service: [web],
      task: [{ ...running, status: { ...running.status, container } }],
    });
    const item = assignmentsFor(store.view(), 'n1' as NodeId).get('endpoint/mynet/t9')?.item;
    expect(item).toMatchObject({ aliases: ['abababababab'], nameservers: [] });
  });

  test('and nothing of the others', async () => {
    const view = (await world()).view();
    const known = keys(assignmentsFor(view, 'n3' as NodeId));
    expect(known.filter((key) => key.includes('mynet') || key.startsWith('task/'))).toEqual([]);
    expect(assignmentsFor(view, 'stranger' as NodeId).size).toBe(0);
  });

  test('keys go to nodes of an encrypted network, and to no other', async () => {
    const encrypted = overlay('mynet', '10.0.1');
    const store = await storeOf({
      cluster: [
        {
          ...cluster(),
          encryption: {
            keys: [
              { sequence: 4, key: 'b2xk' },
              { sequence: 5, key: 'bmV3' },
            ],
            sends: 5,
            sendsSinceMs: 0,
          },
        },
      ],
      node: [
        member('n1', 11, ['ingress', 'mynet']),
        member('n2', 12, ['mynet'], { espEpoch: 7 }),
        member('n3', 13, ['ingress']),
      ],
      network: [
        overlay('ingress', '10.0.0', true),
        { ...encrypted, spec: { ...encrypted.spec, driverOptions: { encrypted: '' } } },
      ],
    });
    const told = assignmentsFor(store.view(), 'n1' as NodeId);
    const state = assembleNodeNetworkState(told, 1);
    expect(state?.overlays.map((one) => [one.id, one.encrypted])).toEqual([
      ['ingress', false],
      ['mynet', true],
    ]);
    expect(state?.overlays[1]?.peers.map(({ espEpoch }) => espEpoch)).toEqual([7]);
    expect(
      state?.encryptionKeys?.map(({ sequence, sends, key }) => [sequence, sends, key.reveal().toString()]),
    ).toEqual([
      [4, false, 'old'],
      [5, true, 'new'],
    ]);
    expect(keys(assignmentsFor(store.view(), 'n3' as NodeId)).filter((key) => key.includes('key'))).toEqual(
      [],
    );
  });

  test('serving is observed running, meant to run, on a node that is not down', async () => {
    const store = await world();
    const serving = (): string[] =>
      [...assignmentsFor(store.view(), 'n3' as NodeId).values()].flatMap(({ kind, item }) =>
        kind === 'endpoint' && item.serving ? [item.taskId] : [],
      );
    expect(serving()).toEqual(['t1']);
    await store.update((tx) => {
      const n1 = tx.get('node', 'n1' as NodeId);
      if (n1) tx.update('node', { ...n1, status: { ...n1.status, state: 'down' } });
    });
    expect(serving()).toEqual([]);
  });

  test.each<[ofService: Record<string, string>, ofNode: Record<string, string>, expected: string]>([
    [{}, {}, 'rr null t1=1 t2=1 t4=1'],
    [{ 'skep.lb.scheduler': 'mh', 'skep.lb.affinity': '5m' }, {}, 'mh 300 t1=1 t2=1 t4=1'],
    [{ 'skep.lb.scheduler': 'wrr' }, { 'skep.lb.weight': '9' }, 'wrr null t1=1 t2=9 t4=9'],
    [{ 'skep.lb.weight': '4' }, { 'skep.lb.weight': '9' }, 'rr null t1=4 t2=9 t4=9'],
  ])('labels of a service %j and of node n2 %j reach every node', async (ofService, ofNode, expected) => {
    const store = await world();
    await store.update((tx) => {
      const [now, n2] = [tx.get('service', web.id), tx.get('node', 'n2' as NodeId)];
      if (now) tx.update('service', { ...now, spec: { ...now.spec, labels: ofService } });
      if (n2) tx.update('node', { ...n2, spec: { ...n2.spec, labels: ofNode } });
    });
    for (const id of ['n1', 'n2', 'n3'] as const) {
      // Through the wire, as a node hears of it.
      const changes = diffAssignments(new Map(), assignmentsFor(store.view(), id as NodeId)).map((change) =>
        parseChange({ ...formatChange(change), item: change.assignment.kind }),
      );
      const state = assembleNodeNetworkState(applyChanges(new Map(), changes), 7);
      const ingress = state?.overlays.find((one) => one.ingress);
      const { scheduler, affinityS } = ingress?.services.find(({ name }) => name === 'web') ?? {};
      const weights = ingress?.endpoints.map(({ taskId, weight }) => `${taskId}=${weight}`).join(' ');
      expect(`${scheduler} ${affinityS} ${weights}`, id).toBe(expected);
    }
  });

  test('so does the weight of one task, by a label of its container, whatever its node and its service say', async () => {
    const store = await world();
    const labels = (weight: string): Record<string, string> => ({ 'skep.lb.weight': weight });
    await store.update((tx) => {
      const [now, n2] = [tx.get('service', web.id), tx.get('node', 'n2' as NodeId)];
      const t2 = tx.get('task', 't2' as TaskId);
      if (now) tx.update('service', { ...now, spec: { ...now.spec, labels: labels('4') } });
      if (n2) tx.update('node', { ...n2, spec: { ...n2.spec, labels: labels('9') } });
      const container = t2 && { ...t2.spec.container, labels: labels('2') };
      if (container) tx.update('task', { ...t2, spec: { ...t2.spec, container } });
    });
    const weights = [...assignmentsFor(store.view(), 'n3' as NodeId).values()].flatMap(({ kind, item }) =>
      kind === 'endpoint' ? [`${item.taskId}=${item.weight}`] : [],
    );
    expect(weights.sort()).toEqual(['t1=4', 't2=2', 't4=9']);
  });

  test.each<[labels: Record<string, string>, limits: object]>([
    [{}, {}],
    [{ 'skep.publish.interfaces': 'eth0,lo' }, { interfaces: ['eth0', 'lo'] }],
    [{ 'skep.publish.cidrs': '192.0.2.1' }, { cidrs: ['192.0.2.1/32'] }],
    // Stored before labels were looked at: closed rather than open.
    [{ 'skep.publish.cidrs': 'everywhere' }, { cidrs: ['0.0.0.0/32'] }],
  ])('where the ports of a service of labels %j listen reaches every node', async (labels, limits) => {
    const store = await world();
    await store.update((tx) => {
      const now = tx.get('service', web.id);
      if (now) tx.update('service', { ...now, spec: { ...now.spec, labels } });
    });
    const changes = diffAssignments(new Map(), assignmentsFor(store.view(), 'n1' as NodeId)).map((change) =>
      parseChange({ ...formatChange(change), item: change.assignment.kind }),
    );
    const state = assembleNodeNetworkState(applyChanges(new Map(), changes), 7);
    expect([...(state?.publishedPorts ?? [])]).toEqual([
      { serviceId: 'web', protocol: 'tcp', publishedPort: 8080, targetPort: 80, ...limits },
    ]);
  });

  test('assembled, it is the network of the node', async () => {
    const view = (await world()).view();
    const state = assembleNodeNetworkState(assignmentsFor(view, 'n1' as NodeId), 7);
    expect(state).toMatchObject({
      revision: 7,
      nodeId: 'n1',
      vtep: '192.0.2.11',
      dataPathPort: 4789,
    });
    expect([...(state?.publishedPorts ?? [])]).toEqual([
      { serviceId: 'web', protocol: 'tcp', publishedPort: 8080, targetPort: 80 },
    ]);
    const mynet = state?.overlays.find(({ id }) => id === ('mynet' as NetworkId));
    expect(mynet).toMatchObject({
      own: { address: '10.0.1.11' },
      peers: [{ nodeId: 'n2', vtep: '192.0.2.12', address: '10.0.1.12' }],
    });
    expect(mynet?.services.map((service) => service)).toMatchObject([
      { id: 'rr', aliases: ['r'] },
      { id: 'web', vip: '10.0.1.100' },
    ]);
    expect([...(mynet?.services ?? [])][0]).not.toHaveProperty('vip');
    expect(mynet?.endpoints.map(({ taskId, nodeId, serving }) => [taskId, nodeId, serving])).toEqual([
      ['t1', 'n1', true],
      ['t2', 'n2', false],
      ['t4', 'n2', false],
    ]);
  });

  test('before the node has registered there is no network to make', async () => {
    const view = (await world()).view();
    expect(assembleNodeNetworkState(assignmentsFor(view, 'never-registered' as NodeId), 1)).toBeUndefined();
  });
});

describe('what tasks are still reached by', () => {
  const endpoint = { ports: web.endpoint?.ports ?? [], virtualIps: web.endpoint?.virtualIps ?? [] };
  const served = (store: Store): string[] => {
    const known = [...assignmentsFor(store.view(), 'n1' as NodeId).values()];
    const lines = known.flatMap(({ kind, item }) => {
      if (kind === 'service') return [`${item.overlayId} ${item.serviceId} ${item.name} ${item.vip}`];
      if (kind !== 'publishedPort') return [];
      return [`${item.protocol}/${item.publishedPort} ${item.serviceId}:${item.targetPort}`];
    });
    return lines.sort();
  };
  const cluster = (task: Task): Promise<Store> =>
    storeOf({
      node: [member('n1', 11, ['ingress', 'mynet'])],
      network: [overlay('ingress', '10.0.0', true), overlay('mynet', '10.0.1')],
      service: [web],
      task: [task],
    });
  const removed = ['ingress web web 10.0.0.100', 'mynet web web 10.0.1.100', 'tcp/8080 web:80'];

  test('a removed service is served until its tasks have ended', async () => {
    const store = await cluster(webTask('t1', 'running', 'n1', 21, { endpoint }));
    expect(served(store)).toEqual(removed);
    await store.update((tx) => tx.delete('service', 'web'));
    expect(served(store)).toEqual(removed);
    await store.update((tx) => {
      const task = tx.get('task', 't1' as TaskId) ?? expect.fail();
      tx.update('task', { ...task, status: { ...task.status, state: 'shutdown' } });
    });
    expect(served(store)).toEqual([]);
  });

  test('whoever has its name, port or address now goes first', async () => {
    const store = await cluster(webTask('t1', 'running', 'n1', 21, { endpoint, serviceName: 'Web' }));
    await store.update((tx) => tx.delete('service', 'web'));
    const port = { protocol: 'tcp', targetPort: 90, publishedPort: 8080, publishMode: 'ingress' } as const;
    const virtualIps = endpoint.virtualIps.map((vip) =>
      vip.networkId === 'ingress' ? vip : { ...vip, address: '10.0.1.101' as Ip },
    );
    const successor: Service = {
      ...service('next', { name: 'WEB' }),
      endpoint: { spec: { mode: 'vip', ports: [port] }, ports: [port], virtualIps },
    };
    await store.update((tx) => tx.create('service', successor));
    expect(served(store)).toEqual([
      'ingress next WEB 10.0.0.100',
      'mynet next WEB 10.0.1.101',
      'mynet web web 10.0.1.100',
      'tcp/8080 next:90',
    ]);
  });

  test('a port that an update took away is served for the tasks that still have it', async () => {
    const store = await cluster(webTask('t1', 'running', 'n1', 21, { endpoint }));
    await store.update((tx) => {
      const port = { protocol: 'tcp', targetPort: 80, publishedPort: 9090, publishMode: 'ingress' } as const;
      const found = tx.get('service', web.id) ?? expect.fail();
      tx.update('service', {
        ...found,
        endpoint: { spec: { mode: 'vip', ports: [port] }, ports: [port], virtualIps: endpoint.virtualIps },
      });
    });
    expect(served(store)).toEqual([...removed.slice(0, 2), 'tcp/8080 web:80', 'tcp/9090 web:80']);
    await store.update((tx) => tx.delete('task', 't1'));
    expect(served(store)).toEqual([...removed.slice(0, 2), 'tcp/9090 web:80']);
  });
});

describe('a port whose target an update changes', () => {
  const port = (publishedPort: number, targetPort: number) =>
    ({ protocol: 'tcp', targetPort, publishedPort, publishMode: 'ingress' }) as const;
  const endpointOf = (...ports: readonly ReturnType<typeof port>[]) => ({ ports, virtualIps: [] });

  test.each<[name: string, now: ReturnType<typeof port>[], expected: string[]]>([
    ['as before', [port(8080, 80)], ['old', 'new']],
    ['another target', [port(8080, 88)], ['old tcp/8080:80', 'new']],
    ['a port more', [port(8080, 80), port(9090, 80)], ['old tcp/9090:0', 'new']],
    ['a port less', [], ['old', 'new tcp/8080:0']],
    ['another published port', [port(9090, 80)], ['old tcp/9090:0', 'new tcp/8080:0']],
  ])('%s: a task is reached by what it was started with', async (_, now, expected) => {
    const store = await storeOf({
      node: [member('n1', 11, ['ingress', 'mynet'])],
      network: [overlay('ingress', '10.0.0', true), overlay('mynet', '10.0.1')],
      service: [{ ...web, endpoint: { spec: { mode: 'vip', ports: [] }, ...endpointOf(...now) } }],
      task: [
        webTask('old', 'running', 'n1', 21, { endpoint: endpointOf(port(8080, 80)) }),
        webTask('new', 'running', 'n1', 22, { endpoint: endpointOf(...now) }),
        webTask('unknown', 'running', 'n1', 23),
      ],
    });
    const state = assembleNodeNetworkState(assignmentsFor(store.view(), 'n1' as NodeId), 7);
    const shown = (id: string): string[] =>
      (state?.overlays.find((one) => one.id === id)?.endpoints ?? []).map(({ taskId, targetPorts = [] }) =>
        [taskId, ...targetPorts.map((one) => `${one.protocol}/${one.publishedPort}:${one.targetPort}`)].join(
          ' ',
        ),
      );
    expect(shown('ingress').sort()).toEqual([...expected, 'unknown'].sort());
    expect(shown('mynet').sort()).toEqual(['new', 'old', 'unknown']);
  });
});

describe('diffAssignments', () => {
  const through = (change: AssignmentChange): AssignmentChange => {
    // As proto-loader would give it back.
    const wire = formatChange(change);
    return parseChange({ ...wire, item: change.assignment.kind });
  };

  const sameMaps = (a: ReadonlyMap<string, Assignment>, b: ReadonlyMap<string, Assignment>): boolean =>
    a.size === b.size &&
    [...a].every(([key, assignment]) => {
      const other = b.get(key);
      return other !== undefined && sameAssignment(assignment, other);
    });

  test("a task's own report coming back is not sent to its node, but its peers learn that it serves", async () => {
    const store = await world();
    const before = (id: string) => assignmentsFor(store.view(), id as NodeId);
    const [n1, n2] = [before('n1'), before('n2')];
    await store.update((tx) => {
      const t2 = tx.get('task', 't2' as TaskId);
      if (t2) tx.update('task', { ...t2, status: { ...t2.status, state: 'running' } });
    });
    const sent = (old: ReadonlyMap<string, Assignment>, id: string): string[] =>
      diffAssignments(old, before(id)).map(({ assignment }) => assignment.kind);
    expect(sent(n1, 'n1')).toEqual(['endpoint', 'endpoint']);
    expect(sent(n2, 'n2')).toEqual(['endpoint', 'endpoint']);
  });

  test('a removal is as small as its key', () => {
    const item = {
      overlayId: 'mynet',
      taskId: 't',
      serviceId: 's',
      nodeId: 'n',
      address: 'a',
      mac: 'm',
      name: 'x',
      serving: true,
      weight: 1,
      aliases: [],
      nameservers: [],
    };
    const wire = formatChange({ remove: true, assignment: { kind: 'endpoint', item } });
    expect(wire).toEqual({ remove: true, endpoint: { overlayId: 'mynet', taskId: 't' } });
  });

  test.each([1, 2, 3, 4, 5])(
    'differences add up to the new set, and then there is none (seed %i)',
    async (seed) => {
      const store = await world();
      const next = seededNumbers(seed);
      const pick = <T>(from: readonly T[]): T | undefined => from[Math.floor(next() * from.length)];
      let held = new Map<string, Assignment>();
      let state: NodeNetworkState | undefined;
      let changedInPart = 0;
      for (let round = 0; round < 60; round++) {
        await store.update((tx) => {
          const victim = pick(tx.list('task'));
          const host = pick(tx.list('node'));
          switch (Math.floor(next() * 6)) {
            case 0:
              if (victim) tx.delete('task', victim.id);
              return;
            case 1:
              tx.create(
                'task',
                webTask(`r${seed}-${round}`, 'assigned', pick(['n1', 'n2']) ?? 'n1', 30 + round),
              );
              return;
            case 2: {
              const state = pick(Object.keys(taskStates) as TaskState[]) ?? 'running';
              if (victim) tx.update('task', { ...victim, status: { ...victim.status, state } });
              return;
            }
            case 3:
              if (victim) tx.update('task', { ...victim, desiredState: 'shutdown' });
              return;
            case 4:
              if (host) tx.update('node', { ...host, attachments: host.attachments.slice(1) });
              return;
            default:
              if (next() < 0.2) tx.delete('service', 'web');
          }
        });
        const wanted = assignmentsFor(store.view(), 'n1' as NodeId);
        const changes = diffAssignments(held, wanted);
        held = applyChanges(held, changes.map(through));
        const assembled = assembleNodeNetworkState(held, round + 1);
        const changed = state && changeNodeNetworkState(state, changes.map(through), round + 1);
        if (changed) expect(changed).toEqual(assembled);
        changedInPart += changed ? 1 : 0;
        state = assembled;
        expect(sameMaps(held, wanted)).toBe(true);
        expect(diffAssignments(held, wanted)).toEqual([]);
      }
      expect(changedInPart).toBeGreaterThan(10);
    },
  );
});
