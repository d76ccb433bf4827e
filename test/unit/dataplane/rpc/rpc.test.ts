/** Client and server over a real socket: what the daemon says is what the agent hears. */
import assert from 'node:assert';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Server } from '@grpc/grpc-js';
import { afterEach, beforeEach, test } from 'vitest';
import { KeyedList } from '../../../../src/runtime/keyed-list.js';
import { parseNodeNetworkState } from '../../../../src/dataplane/parse-state.js';
import { DataplaneClient } from '../../../../src/dataplane/rpc/client.js';
import type { TraceReply } from '../../../../src/dataplane/rpc/definition.js';
import type { DataplaneMethods } from '../../../../src/dataplane/rpc/server.js';
import { createDataplaneServer, listenOnSocket } from '../../../../src/dataplane/rpc/server.js';
import type { NodeNetworkState, OverlayService } from '../../../../src/dataplane/state.js';
import { serviceKey } from '../../../../src/dataplane/state-change.js';
import { OutsideError, SkepError } from '../../../../src/model/errors.js';
import type { Cidr, Ip, Mac } from '../../../../src/model/addresses.js';
import type { NodeId, ServiceId, TaskId, Vni } from '../../../../src/model/ids.js';
import type { TraceId } from '../../../../src/model/trace.js';
import { tracesMax } from '../../../../src/model/trace.js';
import { stateValueWithKeys } from '../state/state-value.js';

const state = parseNodeNetworkState(stateValueWithKeys());
const counted = (connections: number, drops: Record<string, number>) => ({
  connections,
  packets: 2 ** 40,
  bytes: 7,
  replyPackets: 0,
  replyBytes: 0,
  drops,
  activeFlows: 1,
});
const traced: TraceReply = {
  revision: 9,
  engine: 'ebpf',
  serviceId: 's1' as ServiceId,
  name: 'web',
  paths: [
    {
      frontend: 'tcp/8080',
      overlay: 'ingress',
      vni: 4096 as Vni,
      scheduler: 'lc',
      affinityS: 60,
      limits: { interfaces: ['eth0'], cidrs: ['10.0.0.0/8' as Cidr] },
      open: true,
      counters: counted(3, { fragment: 2 }),
      hops: [
        {
          task: 'web.1.t1',
          nodeId: 'n1' as NodeId,
          address: '10.0.0.3' as Ip,
          mac: '02:42:0a:00:00:03' as Mac,
          alias: '240.0.64.3:80',
          vtep: '',
          weight: 0,
          counters: counted(1, {}),
          stops: ['no container on this node has its address'],
          isAnswered: true,
          isSilent: true,
        },
      ],
      stops: ['host: - link sk-ingress'],
      flows: [
        {
          protocol: 'tcp',
          client: '192.0.2.7' as Ip,
          clientPort: 40_000,
          destinationPort: 8080,
          task: 'web.1.t1',
          state: 'established',
          expiresS: 60,
        },
      ],
    },
  ],
  clients: ['192.0.2.7' as Ip],
  foreignDrops: ['filter INPUT policy DROP: 3 packets'],
};
let tracedFrom: string | null | undefined;
const bug = (err: unknown): never => assert.fail(String(err));
let directory: string;
const verified = {
  revision: 5,
  differences: [
    { scope: 'host', op: 'add', object: 'a' },
    { scope: 'overlay 7', op: 'delete', object: 'b' },
  ],
} as const;

let server: Server;
let client: DataplaneClient;
let methods: DataplaneMethods;
let heard: unknown[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'skep-rpc-'));
  heard = [];
  methods = {
    setState: async (given) => void heard.push(given),
    changeState: async (change) => void heard.push(change),
    clearState: async () => void heard.push('clear'),
    waitProgrammed: async (revision, taskId) => (heard.push([revision, taskId]), revision + 1),
    waitSilent: async (known) => (heard.push(known && [...known]), ['n2', 'n3'] as NodeId[]),
    status: () => ({
      desiredRevision: 2 ** 40,
      programmedRevision: 0,
      lastError: 'x',
      driftRepairs: 3,
      engine: 'ebpf',
      esp: true,
      espEpoch: 7,
      silentNodes: ['n2'],
    }),
    verify: async (repair) => ({ ...verified, repaired: repair ? 2 : 0, equal: repair }),
    trace: async (service, from) => {
      tracedFrom = from;
      if (service !== 'web') throw new SkepError('notFound', `no ${service} here`);
      return traced;
    },
  };
  server = createDataplaneServer(
    new Proxy({} as DataplaneMethods, { get: (_, name) => methods[name as never] }),
    bug,
  );
  await listenOnSocket(server, join(directory, 's'));
  client = new DataplaneClient(join(directory, 's'));
});
afterEach(async () => {
  client.close();
  server.forceShutdown();
  await rm(directory, { recursive: true });
});

test('every call arrives as it was made', async () => {
  await client.setState(state);
  await client.clearState();
  assert.equal(await client.waitProgrammed({ revision: 7 }, AbortSignal.timeout(5000)), 8);
  await client.waitProgrammed({ revision: 7, taskId: 'task1' as TaskId }, AbortSignal.timeout(5000));
  assert.deepEqual(heard, [state, 'clear', [7, null], [7, 'task1']]);
  heard = [];
  assert.deepEqual(await client.waitSilent(null, AbortSignal.timeout(5000)), ['n2', 'n3']);
  await client.waitSilent(new Set(), AbortSignal.timeout(5000));
  await client.waitSilent(new Set(['n2']), AbortSignal.timeout(5000));
  assert.deepEqual(heard, [null, [], ['n2']]);
  assert.deepEqual({ ...(await client.status()) }, methods.status());
  assert.deepEqual({ ...(await client.verify()) }, { ...verified, repaired: 0, equal: false });
  assert.deepEqual({ ...(await client.verify({ repair: true })) }, { ...verified, repaired: 2, equal: true });
});

test('of a state that was taken only the change is said; the whole again when the daemon holds another', async () => {
  const [overlay] = state.overlays;
  assert(overlay);
  const later = (revision: number): NodeNetworkState => ({
    ...state,
    revision,
    overlays: [{ ...overlay, services: KeyedList.of<OverlayService>([], serviceKey) }],
  });
  await client.setState(state);
  await client.setState(later(11));
  const change = {
    nodeId: 'node1',
    baseRevision: 10,
    revision: 11,
    overlays: [
      { id: 'net1', endpoints: [], removedEndpoints: [], services: [], removedServices: ['web', 'web2'] },
    ],
    publishedPorts: [],
    removedPorts: [],
  };
  assert.deepEqual(
    JSON.parse(JSON.stringify(heard)),
    [state, change].map((one) => JSON.parse(JSON.stringify(one)) as unknown),
  );
  methods = { ...methods, changeState: () => Promise.reject(new SkepError('failedPrecondition', 'another')) };
  await client.setState(later(12));
  assert.deepEqual(heard.at(-1), later(12));
  // Who cannot be told whether it was taken is told all of it.
  methods = { ...methods, changeState: () => Promise.reject(new OutsideError('busy', true)) };
  await assert.rejects(client.setState(later(13)), /busy/);
  await client.setState(later(13));
  assert.deepEqual(heard.at(-1), later(13));
  await client.clearState();
  await client.setState(later(14));
  assert.deepEqual(heard.at(-1), later(14));
});

test('the traces of the requests that changed a state go beside it, few of them, and nothing else in their place', async () => {
  const id = (number: number): TraceId => number.toString(16).padStart(32, '0') as TraceId;
  const traced: (readonly TraceId[])[] = [];
  const next: NodeNetworkState = { ...state, revision: 11 };
  methods = {
    ...methods,
    setState: async (_, traces) => void traced.push(traces),
    changeState: async (change, traces) => void (heard.push(change), traced.push(traces)),
  };
  await client.setState(state, [id(1)]);
  await client.setState(next, [id(2), 'rubbish' as TraceId, id(3)]);
  await client.setState({ ...next, revision: 12 });
  const many = Array.from({ length: 20 }, (_, at) => id(at + 1));
  await client.setState({ ...next, revision: 13 }, many);
  assert.deepEqual(traced, [[id(1)], [id(2), id(3)], [], many.slice(-tracesMax)]);
  // What is said of a change is the same with them as without.
  const [first, second] = heard as Record<string, unknown>[];
  assert.deepEqual({ ...first, baseRevision: 11, revision: 12 }, second);
});

test('a state that contradicts itself is refused before anyone acts on it', async () => {
  const twice: NodeNetworkState = {
    ...state,
    publishedPorts: [...state.publishedPorts, ...state.publishedPorts],
  };
  await assert.rejects(
    client.setState(twice),
    (err) => err instanceof SkepError && err.kind === 'invalidArgument' && /already taken/.test(err.message),
  );
  assert.deepEqual(heard, []);
});

const failures: [name: string, thrown: Error, expected: (err: unknown) => boolean][] = [
  [
    'a refusal',
    new SkepError('failedPrecondition', 'older'),
    (err) => err instanceof SkepError && err.kind === 'failedPrecondition' && err.message === 'older',
  ],
  [
    'an outside failure that may pass',
    new OutsideError('busy', true),
    (err) => err instanceof OutsideError && err.retryable && /busy/.test(err.message),
  ],
  [
    'an outside failure that will not',
    new OutsideError('no disk', false),
    (err) => err instanceof OutsideError && !err.retryable,
  ],
];
for (const [name, thrown, expected] of failures)
  test(`${name} reaches the caller as what it is`, async () => {
    methods = { ...methods, setState: () => Promise.reject(thrown) };
    await assert.rejects(client.setState(state), expected);
  });

test('a caller that gives up is heard of, and gets its own reason', async () => {
  let gone: () => void = () => undefined;
  const abandoned = new Promise<void>((resolve) => (gone = resolve));
  methods = {
    ...methods,
    waitProgrammed: (_revision, _task, signal) =>
      new Promise((_resolve, reject) => {
        heard.push('waiting');
        signal.addEventListener('abort', () => (gone(), reject(signal.reason as Error)));
      }),
  };
  const stop = new AbortController();
  const waiting = client.waitProgrammed({ revision: 1 }, stop.signal);
  const rejected = assert.rejects(waiting, /enough/);
  while (heard.length === 0) await new Promise(setImmediate);
  stop.abort(new Error('enough'));
  await rejected;
  await abandoned;
});

test('a daemon that is not there is an outside failure to be tried again; it is found when it returns', async () => {
  server.forceShutdown();
  await assert.rejects(client.status(), (err) => err instanceof OutsideError && err.retryable);
  server = createDataplaneServer(methods, bug);
  await rm(join(directory, 's'), { force: true });
  await listenOnSocket(server, join(directory, 's'));
  const endMs = Date.now() + 5000;
  for (;;) {
    try {
      await client.status();
      return;
    } catch (err) {
      if (Date.now() > endMs) throw err;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
});

test('a trace arrives as it was told, counters in numbers; a service that is not there is refused', async () => {
  assert.deepEqual(JSON.parse(JSON.stringify(await client.trace('web'))), traced);
  assert.equal(tracedFrom, null);
  await client.trace('web', '192.0.2.7');
  assert.equal(tracedFrom, '192.0.2.7');
  await assert.rejects(client.trace('other'), (err) => err instanceof SkepError && err.kind === 'notFound');
});
