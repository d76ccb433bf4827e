/**
 * Hostile and broken bytes at a manager's port, from a seed (SKEP_SEED): from whoever reaches it, and from a node that has a
 * certificate. Nothing changes but what the node may change, nothing of the inside is told, what it costs is bounded, and whoever
 * asks properly is answered meanwhile.
 */
import { randomBytes } from 'node:crypto';
import { connect as connectHttp2, constants } from 'node:http2';
import type { ClientHttp2Session, OutgoingHttpHeaders } from 'node:http2';
import { connect as connectTcp } from 'node:net';
import type { Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { gzipSync } from 'node:zlib';
import { status } from '@grpc/grpc-js';
import type { Server } from '@grpc/grpc-js';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { allocateLeg } from '../../../src/controlplane/allocator/leg.js';
import { createCsr, createRootCa, issueNodeCertificate } from '../../../src/controlplane/ca/certificates.js';
import {
  joiningClientSecurity,
  nodeClientSecurity,
  NodeServerCredentials,
} from '../../../src/controlplane/ca/credentials.js';
import { ClusterCa } from '../../../src/controlplane/ca/cluster-ca.js';
import { createManagerServices } from '../../../src/controlplane/dispatcher/manager-services.js';
import { DispatcherClient, NodeCaClient } from '../../../src/controlplane/rpc/clients.js';
import {
  dispatcherDefinition,
  managersDefinition,
  nodeCaDefinition,
} from '../../../src/controlplane/rpc/proto.js';
import type { SessionMessage } from '../../../src/controlplane/rpc/messages.js';
import { createRpcServer, listen, requestBytesMax } from '../../../src/controlplane/rpc/server.js';
import type { MemoryStore } from '../../../src/controlplane/store/memory.js';
import { allKinds } from '../../../src/controlplane/store/keys.js';
import type { ClusterId, NodeId } from '../../../src/model/ids.js';
import type { NodeRole } from '../../../src/model/objects.js';
import { systemClock } from '../../../src/runtime/clock.js';
import {
  cluster,
  network,
  node,
  seededNumbers,
  service,
  storeOf,
  task,
} from '../../support/cluster-objects.js';

const seed = Number(process.env['SKEP_SEED'] ?? 1);
const fuzzMsMax = Number(process.env['SKEP_FUZZ_MS'] ?? 4_000);
const handshakeMsMax = 1_500;
const requestMsMax = 1_500;
/** Over all that is done here. */
const growthBytesMax = 192 * 1024 * 1024;
const clusterId = 'c1' as ClusterId;
const planted = 'planted-secret';

const next = seededNumbers(seed);
const below = (limit: number): number => Math.floor(next() * limit);
const pick = <T>(items: readonly T[]): T => items[below(items.length)] as T;

interface Identity {
  readonly certPem: string;
  readonly keyPem: string;
  readonly rootPem: string;
}
let store: MemoryStore;
let server: Server;
let port: number;
let worker: Identity;
const over = new AbortController();
let leading: Promise<void>;
const sockets = new Set<Socket>();
const clients = new Set<ClientHttp2Session>();
/** Of the worker, once it has one. */
let sessionId = 's';

beforeAll(async () => {
  const root = await createRootCa(Date.now());
  const identity = async (id: string, role: NodeRole): Promise<Identity> => {
    const { csrPem, keyPem } = await createCsr();
    const who = { nodeId: id as NodeId, role, clusterId };
    const certPem = await issueNodeCertificate({
      rootCa: root,
      csrPem,
      ...who,
      nowMs: Date.now(),
      validMs: 3_600_000,
    });
    return { certPem, keyPem, rootPem: root.certPem };
  };
  const web = service('web');
  const othersWeb = service(`web-${planted}`);
  store = await storeOf({
    cluster: [
      cluster({
        id: clusterId,
        rootCa: root,
        joinTokens: { worker: `w-${planted}`, manager: `m-${planted}` },
      }),
    ],
    node: [node('n1'), node('n2'), { ...node('m1'), role: 'manager' }],
    network: [network('net', { subnet: '10.5.0.0/24', attachable: true })],
    service: [web, othersWeb],
    // What is its own it may see, and does when a request is good after all.
    task: [
      task('mine', web, 'running', { node: 'n1' }),
      task('theirs', othersWeb, 'running', { node: 'n2' }),
    ],
  });
  const log = pino({ enabled: false });
  const services = createManagerServices({
    ...{ store, clock: systemClock, random: (size) => randomBytes(size), log, allocateLeg },
    ...new ClusterCa({ clock: systemClock }),
  });
  leading = services.lead(store, over.signal);
  server = createRpcServer(services.services, log, requestMsMax);
  const credentials = new NodeServerCredentials(await identity('m1', 'manager'), handshakeMsMax);
  port = await listen(server, '127.0.0.1:0', credentials);
  worker = await identity('n1', 'worker');
});
afterAll(async () => {
  over.abort();
  await leading;
  server.forceShutdown();
  for (const each of [...sockets, ...clients]) each.destroy();
});

/** All there is, but for what is the calling node's own to change: itself, and what its tasks are at. */
const othersInStore = (): string =>
  JSON.stringify(
    allKinds.map((kind) =>
      store
        .view()
        .list(kind)
        .filter(({ id }) => id !== 'n1' && id !== 'mine')
        // The leader marks silent nodes.
        .map((object) =>
          kind === 'node' ? { ...object, status: null, version: 0, updatedAtMs: 0 } : object,
        ),
    ),
  );

const inside = new RegExp(
  `node_modules|/src/|\\.[jt]s:\\d|\\n\\s+at |Cannot |is not (a function|iterable)|${planted}`,
);

const methods = [dispatcherDefinition, managersDefinition, nodeCaDefinition].flatMap((definition) =>
  Object.values(definition),
);
const openPaths = Object.values(nodeCaDefinition).map(({ path }) => path);

/** As agents ask. */
const samples: Readonly<Record<string, object>> = {
  Session: {
    description: {
      hostname: 'h',
      engineLabels: { a: 'b' },
      plugins: [{ type: 'Network', name: 'x' }],
      genericResources: [{ kind: 'ssd', count: 3 }],
      routes: [{ destination: '10.0.0.0/8', device: 'eth0' }],
    },
    dataPathAddr: '192.0.2.1',
  },
  UpdateTaskStatus: {
    sessionId: 's',
    updates: [
      {
        taskId: 'theirs',
        state: 'failed',
        timestampMs: 1,
        container: { containerId: 'c', pid: 1 },
        ports: [{ protocol: 'tcp', targetPort: 1 }],
      },
    ],
  },
  AttachNetwork: {
    sessionId: 's',
    attachmentId: 'a'.repeat(25),
    network: 'net',
    containerId: '',
    containerName: 'box',
    aliases: ['x'],
    address: '10.5.0.9',
  },
  DetachNetworks: { attachmentIds: ['theirs'] },
  AwaitAcknowledged: { taskId: 'theirs', drained: true },
  AcknowledgeRevision: { revision: 9 },
  AcknowledgeRevisions: { revision: 9 },
  PublishLogs: {
    subscriptionId: 's',
    messages: [{ taskId: 'theirs', stream: 1, data: Buffer.from('x') }],
    close: false,
  },
  IssueNodeCertificate: { csrPem: 'x', token: 'SWMTKN-1-x', availability: 'active', address: '192.0.2.9' },
  Join: { peerUrl: 'https://192.0.2.9:2380' },
  ReadLogs: { taskIds: ['theirs'], stdout: true },
};

type Method = (typeof methods)[number];
const sampleOf = (method: Method): Buffer =>
  method.requestSerialize({ ...samples[method.path.split('/').at(-1) ?? ''], sessionId });

/** gRPC's frame: a flag for compression, the length, the message. */
function frame(message: Buffer, { flag = 0, length = message.length } = {}): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(flag, 0);
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, message]);
}

/** The message with something wrong in it, or in its frame. */
function wrongFrames(message: Buffer): Buffer {
  const flipped = Buffer.from(message);
  for (let times = 1 + below(4); times > 0 && flipped.length > 0; times--)
    flipped[below(flipped.length)] = below(256);
  return pick([
    () => frame(flipped),
    () => frame(randomOf(below(200))),
    () => frame(message.subarray(0, below(message.length + 1))),
    () => frame(message, { length: message.length + 1 + below(100) }),
    () => frame(message, { length: 0xffffffff }),
    () => frame(message, { flag: 1 }),
    () => frame(message, { flag: 255 }),
    () => Buffer.concat([frame(message), frame(flipped), frame(message)]),
    () => randomOf(below(40)),
    () => Buffer.alloc(0),
  ])();
}
const randomOf = (size: number): Buffer => Buffer.from(Array.from({ length: size }, () => below(256)));

function session(identity: Identity | undefined): ClientHttp2Session {
  const client = connectHttp2(`https://127.0.0.1:${port}`, {
    rejectUnauthorized: false,
    ...(identity && { cert: identity.certPem, key: identity.keyPem }),
  });
  client.on('error', () => undefined);
  clients.add(client);
  return client;
}

interface Answer {
  /** gRPC's; undefined: there was none, the stream was ended. */
  readonly code: number | undefined;
  readonly text: string;
}

/** One call by hand. @param body undefined: nothing is sent, and the request never ends */
function call(
  client: ClientHttp2Session,
  path: string,
  body: Buffer | undefined,
  headers: OutgoingHttpHeaders = {},
): Promise<Answer> {
  return new Promise((resolve) => {
    const fixed = { ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' };
    const stream = client.request({ ...fixed, ...headers });
    let code: number | undefined;
    let text = '';
    const note = (got: Record<string, unknown>): void => {
      if (got['grpc-status'] !== undefined) code = Number(got['grpc-status']);
      text += decodeURIComponent(String((got['grpc-message'] as string | undefined) ?? ''));
    };
    stream.on('response', note);
    stream.on('trailers', note);
    stream.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
    stream.on('error', () => undefined);
    stream.on('close', () => resolve({ code, text }));
    // A stream that was taken as it should be stays open: enough was seen.
    stream.setTimeout(2 * requestMsMax, () => stream.close(constants.NGHTTP2_CANCEL));
    if (body) stream.end(body);
    else stream.write(Buffer.alloc(3));
  });
}

/** Opens a session that stays. @returns its id */
async function registered(identity: Identity): Promise<string> {
  const { credentials, options } = nodeClientSecurity(identity);
  const client = new DispatcherClient(`127.0.0.1:${port}`, credentials, options);
  over.signal.addEventListener('abort', () => client.close());
  const description = {
    ...{ hostname: 'n1', architecture: '', os: '', nanoCpus: 0, memoryBytes: 0, engineVersion: '' },
    ...{ engineLabels: {}, plugins: [], genericResources: [], routes: [], espEpoch: 0, tlsInfo: null },
  };
  const messages = client.session({ description, dataPathAddr: '' }, over.signal);
  messages.on('error', () => undefined);
  return new Promise((resolve) =>
    messages.on('data', (message: SessionMessage) => resolve(message.sessionId)),
  );
}

/** Somebody with a good question, who has to be answered soon. */
async function politely(): Promise<void> {
  const { credentials, options } = joiningClientSecurity(worker.rootPem);
  const client = new NodeCaClient(`127.0.0.1:${port}`, credentials, options);
  try {
    const startedMs = performance.now();
    expect((await client.getRootCaCertificate()).certificatePem).toBe(worker.rootPem);
    expect(performance.now() - startedMs).toBeLessThan(3_000);
  } finally {
    client.close();
  }
}

test(`broken messages of every kind, from nobody and from a worker (seed ${seed})`, async () => {
  const before = othersInStore();
  const memoryBefore = memoryBytes();
  for (const [who, identity] of [
    ['nobody', undefined],
    ['a worker', worker],
  ] as const) {
    if (identity) sessionId = await registered(identity);
    let client = session(identity);
    const untilMs = performance.now() + fuzzMsMax / 2;
    for (let round = 0; performance.now() < untilMs; round++) {
      if (client.destroyed || client.closed) client = session(identity);
      const some = Array.from({ length: 20 }, () => pick(methods));
      const answers = some.map((method) => {
        const headers = pick<OutgoingHttpHeaders>([
          {},
          {},
          {},
          { 'grpc-encoding': 'gzip' },
          { 'grpc-encoding': 'x' },
          { 'grpc-timeout': pick(['1n', '9999999999H', '-1S', 'x']) },
          { 'content-type': 'text/html' },
          { 'x-bin': '!!!' },
        ]);
        const path =
          next() < 0.05
            ? pick([
                `${method.path}x`,
                '/',
                '//',
                '/skep.dispatcher.v1.Dispatcher/__proto__',
                `/${'a'.repeat(3_000)}`,
              ])
            : method.path;
        return call(client, path, wrongFrames(sampleOf(method)), headers).then((answer) => ({
          method,
          path,
          answer,
        }));
      });
      for (const { method, path, answer } of await within(Promise.all(answers))) {
        const about = `seed ${seed}, round ${round}: ${who} called ${path}`;
        expect(answer.text.replaceAll(worker.rootPem, ''), about).not.toMatch(inside);
        if (identity === undefined && path === method.path && !openPaths.includes(path))
          expect(answer.code, about).not.toBe(status.OK);
        expect(answer.text, about).not.toMatch(/internal error/);
      }
      if (round % 10 === 0) await politely();
    }
    client.destroy();
  }
  expect(othersInStore()).toBe(before);
  expect(memoryBytes() - memoryBefore).toBeLessThan(growthBytesMax);
}, 60_000);

test('what is too large, is never finished, or comes in floods costs little and ends', async () => {
  const before = othersInStore();
  const memoryBefore = memoryBytes();
  const [heartbeat] = methods.filter(({ path }) => path.endsWith('/Heartbeat'));
  const [rootCa, issue] = Object.values(nodeCaDefinition);
  if (!heartbeat || !rootCa || !issue) return expect.fail('there are such methods');

  // Larger than anybody may say, in the clear and squeezed.
  const large = Buffer.alloc(requestBytesMax + 1);
  const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024));
  for (const identity of [undefined, worker]) {
    const client = session(identity);
    for (const method of [heartbeat, issue]) {
      const plain = await within(call(client, method.path, frame(large)));
      expect([status.RESOURCE_EXHAUSTED, status.UNAUTHENTICATED, undefined]).toContain(plain.code);
      const packed = await within(
        call(client, method.path, frame(bomb, { flag: 1 }), { 'grpc-encoding': 'gzip' }),
      );
      expect([status.RESOURCE_EXHAUSTED, status.UNAUTHENTICATED, undefined]).toContain(packed.code);
    }
    client.destroy();
  }

  // A request that never ends, and one that never says anything.
  const slow = session(undefined);
  const [unfinished, silent] = await Promise.all([
    within(call(slow, rootCa.path, undefined)),
    within(call(slow, heartbeat.path, undefined)),
  ]);
  expect([unfinished.code, silent.code]).toEqual([status.DEADLINE_EXCEEDED, status.UNAUTHENTICATED]);

  // Streams begun and left, and more of them at once than a connection may have.
  const flood = session(worker);
  const left = Array.from({ length: 2_000 }, () => {
    const stream = flood.request({
      ':method': 'POST',
      ':path': heartbeat.path,
      'content-type': 'application/grpc',
    });
    stream.on('error', () => undefined);
    const closed = new Promise<void>((resolve) => stream.on('close', () => resolve()));
    stream.close(constants.NGHTTP2_CANCEL);
    return closed;
  });
  await politely();
  await within(Promise.all(left));
  const many = await within(
    Promise.all(
      Array.from({ length: 300 }, () =>
        call(slow.closed || slow.destroyed ? session(undefined) : slow, rootCa.path, frame(Buffer.alloc(0))),
      ),
    ),
  );
  expect(many.filter(({ code }) => code === status.OK).length).toBe(300);
  flood.destroy();
  slow.destroy();

  // What is no TLS, what is no HTTP/2 within it, and handshakes that are begun and left.
  const ends = [
    ...Array.from({ length: 30 }, () => hungUp(connectTcp(port, '127.0.0.1'), randomOf(200))),
    ...Array.from({ length: 30 }, () =>
      hungUp(connectTcp(port, '127.0.0.1'), Buffer.from('GET / HTTP/1.1\r\n\r\n')),
    ),
    ...Array.from({ length: 30 }, () => hungUp(connectTcp(port, '127.0.0.1'), Buffer.alloc(0))),
    ...Array.from({ length: 30 }, () =>
      hungUp(connectTcp(port, '127.0.0.1'), Buffer.from('16030100a5010000a10303', 'hex')),
    ),
    ...[
      randomOf(500),
      Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
      Buffer.concat([preface, randomOf(300)]),
    ].flatMap((bytes) =>
      Array.from({ length: 10 }, () =>
        hungUp(
          connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['h2'] }),
          bytes,
        ),
      ),
    ),
  ];
  await politely();
  await within(Promise.all(ends), 15_000);
  await politely();
  expect(othersInStore()).toBe(before);
  expect(memoryBytes() - memoryBefore).toBeLessThan(growthBytesMax);
}, 60_000);

const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

/** Resolves when the server has hung up. */
function hungUp(socket: Socket, bytes: Buffer): Promise<void> {
  sockets.add(socket);
  socket.on('error', () => undefined);
  socket.resume();
  if (bytes.length > 0) socket.write(bytes);
  return new Promise((resolve) => socket.on('close', () => resolve()));
}

/** Rejects where the server leaves somebody hanging. */
async function within<T>(promise: Promise<T>, limitMs = 10_000): Promise<T> {
  const late = new AbortController();
  const timeout = systemClock.sleep(limitMs, late.signal).then(() => expect.fail('the server let it hang'));
  timeout.catch(() => undefined);
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    late.abort();
  }
}

function memoryBytes(): number {
  (globalThis as { gc?: () => void }).gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
