/**
 * Every RPC there is, called by everybody who may not: all are refused before anything is done, and written down once. The table
 * is made of the services' definitions: a new method without a row fails.
 */
import { randomBytes } from 'node:crypto';
import { Client, status } from '@grpc/grpc-js';
import type { ServiceError, Server } from '@grpc/grpc-js';
import { pino } from 'pino';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { allocateLeg } from '../../../src/controlplane/allocator/leg.js';
import { createCsr, createRootCa, issueNodeCertificate } from '../../../src/controlplane/ca/certificates.js';
import type { KeyedCertificate } from '../../../src/controlplane/ca/certificates.js';
import {
  joiningClientSecurity,
  nodeClientSecurity,
  NodeServerCredentials,
} from '../../../src/controlplane/ca/credentials.js';
import type { ClientSecurity } from '../../../src/controlplane/ca/credentials.js';
import { ClusterCa } from '../../../src/controlplane/ca/cluster-ca.js';
import { createManagerServices } from '../../../src/controlplane/dispatcher/manager-services.js';
import type { dispatcherDefinition } from '../../../src/controlplane/rpc/proto.js';
import { services } from '../../../src/controlplane/rpc/proto.js';
import type { MemoryStore } from '../../../src/controlplane/store/memory.js';
import type { ClusterId, NodeId } from '../../../src/model/ids.js';
import type { NodeRole } from '../../../src/model/objects.js';
import { systemClock } from '../../../src/runtime/clock.js';
import { cluster, node, storeOf } from '../../support/cluster-objects.js';
import { createRpcServer, listen } from '../../../src/controlplane/rpc/server.js';

type Method = (typeof dispatcherDefinition)[string];

/**
 * Who may call each method. A method that is not here fails the first test.
 * `anyone`: it gives nothing away; `token`: whoever has a join token, and nodes for themselves; `node`, `manager`: by certificate
 * and by what the store says of the node.
 */
const mayCall: Readonly<Record<string, 'anyone' | 'token' | 'node' | 'manager'>> = {
  '/skep.dispatcher.v1.NodeCa/GetRootCaCertificate': 'anyone',
  '/skep.dispatcher.v1.NodeCa/IssueNodeCertificate': 'token',
  '/skep.dispatcher.v1.Dispatcher/Session': 'node',
  '/skep.dispatcher.v1.Dispatcher/DescribeNode': 'node',
  '/skep.dispatcher.v1.Dispatcher/Heartbeat': 'node',
  '/skep.dispatcher.v1.Dispatcher/Assignments': 'node',
  '/skep.dispatcher.v1.Dispatcher/UpdateTaskStatus': 'node',
  '/skep.dispatcher.v1.Dispatcher/AcknowledgeRevision': 'node',
  '/skep.dispatcher.v1.Dispatcher/AcknowledgeRevisions': 'node',
  '/skep.dispatcher.v1.Dispatcher/AwaitAcknowledged': 'node',
  '/skep.dispatcher.v1.Dispatcher/ListenSubscriptions': 'node',
  '/skep.dispatcher.v1.Dispatcher/PublishLogs': 'node',
  '/skep.dispatcher.v1.Dispatcher/AttachNetwork': 'node',
  '/skep.dispatcher.v1.Dispatcher/DetachNetworks': 'node',
  '/skep.dispatcher.v1.Dispatcher/ListenTunnels': 'node',
  '/skep.dispatcher.v1.Dispatcher/Tunnel': 'node',
  '/skep.dispatcher.v1.Managers/Join': 'manager',
  '/skep.dispatcher.v1.Managers/ReadLogs': 'manager',
  '/skep.dispatcher.v1.Managers/OpenTunnel': 'manager',
};

const allMethods: readonly Method[] = services.flatMap((service) => Object.values(service));
const isFor = (method: Method, ...who: string[]): boolean => who.includes(mayCall[method.path] ?? '');
const refusing = (...who: string[]): readonly Method[] =>
  allMethods.filter((method) => isFor(method, ...who));

const clusterId = 'c1' as ClusterId;
const hourMs = 3_600_000;
/** Of the managers' clock. */
let aheadMs = 0;
const logged: { call?: string; reason?: string; level: number }[] = [];
const log = pino(
  { level: 'warn' },
  { write: (line: string) => void logged.push(JSON.parse(line) as (typeof logged)[number]) },
);

let root: KeyedCertificate;
let stranger: KeyedCertificate;
let store: MemoryStore;
let server: Server;
let address: string;
const over = new AbortController();
let leading: Promise<void>;

interface Who {
  readonly id?: string;
  readonly role?: NodeRole;
  readonly of?: string;
  readonly signer?: KeyedCertificate;
  readonly nowMs?: number;
}

async function identity({
  id = 'n1',
  role = 'worker',
  of = clusterId,
  signer = root,
  nowMs = Date.now(),
}: Who) {
  const { csrPem, keyPem } = await createCsr();
  const who = { nodeId: id as NodeId, role, clusterId: of as ClusterId };
  const certPem = await issueNodeCertificate({ rootCa: signer, csrPem, ...who, nowMs, validMs: hourMs });
  return { certPem, keyPem, rootPem: root.certPem };
}

/** The call's refusal; fails when it is none within five seconds. */
function refusalOf(method: Method, { credentials, options }: ClientSecurity): Promise<ServiceError> {
  const client = new Client(address, credentials, options);
  const { path, requestSerialize, responseDeserialize, requestStream, responseStream } = method;
  const deadline = { deadline: Date.now() + 5_000 };
  return new Promise<ServiceError>((resolve, reject) => {
    const done = (err: ServiceError | null): void =>
      err ? resolve(err) : reject(new Error(`${path} was served`));
    if (requestStream && responseStream) {
      const call = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, deadline);
      call.on('error', (err: ServiceError) => done(err));
      call.on('data', () => done(null));
    } else if (requestStream)
      client.makeClientStreamRequest(path, requestSerialize, responseDeserialize, deadline, done);
    else if (responseStream) {
      const answers = client.makeServerStreamRequest(
        path,
        requestSerialize,
        responseDeserialize,
        {},
        deadline,
      );
      answers.on('error', (err: ServiceError) => done(err));
      answers.on('data', () => done(null));
    } else client.makeUnaryRequest(path, requestSerialize, responseDeserialize, {}, deadline, done);
  }).finally(() => client.close());
}

beforeAll(async () => {
  root = await createRootCa(Date.now());
  stranger = await createRootCa(Date.now());
  const manager = { ...node('m1'), role: 'manager' as const };
  store = await storeOf({
    cluster: [cluster({ id: clusterId, rootCa: root, joinTokens: { worker: 'w', manager: 'm' } })],
    node: [node('n1'), manager, node('demoted')],
  });
  const manages = createManagerServices({
    ...{ store, clock: systemClock, random: (size) => randomBytes(size), log, allocateLeg },
    ...new ClusterCa({ clock: { nowMs: () => Date.now() + aheadMs } }),
    issueCertificate: () => expect.fail('nobody gets a certificate here'),
    managers: { join: () => expect.fail('nobody joins here') },
  });
  leading = manages.lead(store, over.signal);
  server = createRpcServer(manages.services, log);
  const credentials = new NodeServerCredentials(await identity({ id: 'm1', role: 'manager' }));
  address = `127.0.0.1:${await listen(server, '127.0.0.1:0', credentials)}`;
});
afterAll(async () => {
  over.abort();
  await leading;
  server.forceShutdown();
});
beforeEach(() => logged.splice(0));

/** Every caller there is that may not, and what it is told; the same of every method that it may not call. */
interface Stranger {
  readonly name: string;
  readonly security: () => ClientSecurity | Promise<ClientSecurity>;
  readonly code: status;
  /** Methods for these are closed to it. */
  readonly closed: readonly string[];
  /** Where a join token, or the proof of an expired certificate, is asked for. */
  readonly tokenCode?: status;
}

const nobody = (): ClientSecurity => ({
  ...joiningClientSecurity(root.certPem),
  options: { 'grpc.ssl_target_name_override': 'swarm-manager' },
});
const as = async (who: Who): Promise<ClientSecurity> => nodeClientSecurity(await identity(who));
const strangers: readonly Stranger[] = [
  {
    name: 'nobody',
    security: nobody,
    code: status.UNAUTHENTICATED,
    closed: ['token', 'node', 'manager'],
    tokenCode: status.INVALID_ARGUMENT,
  },
  {
    name: 'who has another root',
    security: () => as({ signer: stranger }),
    code: status.UNAUTHENTICATED,
    closed: ['token', 'node', 'manager'],
    tokenCode: status.INVALID_ARGUMENT,
  },
  {
    name: 'who has expired',
    security: () => as({ nowMs: Date.now() - 2 * hourMs }),
    code: status.UNAUTHENTICATED,
    closed: ['token', 'node', 'manager'],
    tokenCode: status.INVALID_ARGUMENT,
  },
  {
    name: 'another cluster’s manager',
    security: () => as({ of: 'c2', role: 'manager', id: 'm1' }),
    code: status.PERMISSION_DENIED,
    closed: ['token', 'node', 'manager'],
  },
  {
    name: 'a worker that was removed',
    security: () => as({ id: 'gone' }),
    code: status.PERMISSION_DENIED,
    closed: ['token', 'node', 'manager'],
  },
  {
    name: 'a manager that was removed',
    security: () => as({ id: 'gone', role: 'manager' }),
    code: status.PERMISSION_DENIED,
    closed: ['token', 'node', 'manager'],
  },
  {
    name: 'a worker',
    security: () => as({}),
    code: status.PERMISSION_DENIED,
    closed: ['manager'],
  },
  {
    name: 'a worker that calls itself a manager',
    security: () => as({ role: 'manager' }),
    code: status.PERMISSION_DENIED,
    closed: ['manager'],
  },
  {
    name: 'a manager that was demoted',
    security: () => as({ id: 'demoted', role: 'manager' }),
    code: status.PERMISSION_DENIED,
    closed: ['manager'],
  },
];

test('every method that is served says who may call it', () => {
  expect(allMethods.map(({ path }) => path).sort()).toEqual(Object.keys(mayCall).sort());
});

describe.each(strangers)(
  '$name is refused, and written down once',
  ({ security, code, closed, tokenCode }) => {
    test.each(Object.keys(mayCall).filter((path) => closed.includes(mayCall[path]!)))('%s', async (path) => {
      const before = store.view().revision;
      const method = allMethods.find((served) => served.path === path)!;
      const refusal = await refusalOf(method, await security());
      expect(refusal.code).toBe(isFor(method, 'token') ? (tokenCode ?? code) : code);
      expect(logged.map(({ call, reason }) => ({ call, reason }))).toEqual([
        { call: path, reason: refusal.details },
      ]);
      expect(store.view().revision).toBe(before);
    });
  },
);

test('a node without a session', async () => {
  // Streams of requests name what they are for in their first message.
  for (const method of refusing('node').filter(
    ({ path, requestStream }) => !requestStream && !path.endsWith('/Session'),
  ))
    expect((await refusalOf(method, await as({}))).details).toBe('node not registered');
});

describe('a connection that was good once', () => {
  const heartbeat = (): Method => allMethods.find(({ path }) => path.endsWith('/Heartbeat'))!;
  /** The same connection for both calls. */
  async function before(change: () => Promise<void>): Promise<{ first: number; then: number }> {
    const { credentials, options } = await as({});
    const client = new Client(address, credentials, options);
    const { path, requestSerialize, responseDeserialize } = heartbeat();
    const call = (): Promise<number> =>
      new Promise((resolve) =>
        client.makeUnaryRequest(path, requestSerialize, responseDeserialize, {}, (err) =>
          resolve(err?.code ?? status.OK),
        ),
      );
    try {
      const first = await call();
      await change();
      return { first, then: await call() };
    } finally {
      client.close();
    }
  }

  test('is refused once its certificate has expired', async () => {
    const change = async (): Promise<void> => void (aheadMs = 2 * hourMs);
    try {
      expect(await before(change)).toEqual({ first: status.NOT_FOUND, then: status.UNAUTHENTICATED });
    } finally {
      aheadMs = 0;
    }
  });

  test('is refused once its root is none any more', async () => {
    const replaceRoot = (rootCa: KeyedCertificate): Promise<void> =>
      store.update((tx) => tx.update('cluster', { ...tx.cluster(), rootCa }));
    try {
      expect(await before(() => replaceRoot(stranger))).toEqual({
        first: status.NOT_FOUND,
        then: status.UNAUTHENTICATED,
      });
    } finally {
      await replaceRoot(root);
    }
  });
});
