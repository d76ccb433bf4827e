/**
 * Every RPC there is, called by everybody who may not: all are refused before anything is done, and written down once. A new
 * method is found by itself.
 */
import { randomBytes } from 'node:crypto';
import { Client, Server, status } from '@grpc/grpc-js';
import type { ServiceError } from '@grpc/grpc-js';
import { pino } from 'pino';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { allocateLeg } from '../../../src/controlplane/allocator/leg.js';
import {
  createCsr,
  createRootCa,
  issueNodeCertificate,
  tlsInfo,
} from '../../../src/controlplane/ca/certificates.js';
import type { KeyedCertificate } from '../../../src/controlplane/ca/certificates.js';
import {
  joiningClientSecurity,
  nodeClientSecurity,
  NodeServerCredentials,
  peerOf,
} from '../../../src/controlplane/ca/credentials.js';
import type { ClientSecurity } from '../../../src/controlplane/ca/credentials.js';
import { createManagerServices } from '../../../src/controlplane/dispatcher/manager-services.js';
import {
  dispatcherDefinition,
  managersDefinition,
  nodeCaDefinition,
} from '../../../src/controlplane/rpc/proto.js';
import type { MemoryStore } from '../../../src/controlplane/store/memory.js';
import type { ClusterId, NodeId } from '../../../src/model/ids.js';
import type { NodeRole } from '../../../src/model/objects.js';
import { systemClock } from '../../../src/runtime/clock.js';
import { cluster, node, storeOf } from '../../support/cluster-objects.js';

type Method = (typeof dispatcherDefinition)[string];

const methods = (service: typeof dispatcherDefinition): readonly Method[] => Object.values(service);
const ofNodes = methods(dispatcherDefinition);
const ofManagers = methods(managersDefinition);
/** Open to whoever brings a token; what that has to be is the tests' of joining. */
const open = methods(nodeCaDefinition);

const clusterId = 'c1' as ClusterId;
const hourMs = 3_600_000;
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
    if (requestStream)
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
  const services = createManagerServices({
    ...{ store, clock: systemClock, random: (size) => randomBytes(size), log, allocateLeg },
    peerOf: (call) => peerOf(call),
    issueCertificate: () => expect.fail('nobody gets a certificate here'),
    tlsInfoOf: tlsInfo,
    managers: { join: () => expect.fail('nobody joins here') },
  });
  leading = services.lead(store, over.signal);
  server = new Server();
  for (const { definition, implementation } of services.services)
    server.addService(definition, implementation);
  const credentials = new NodeServerCredentials(await identity({ id: 'm1', role: 'manager' }));
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', credentials, (err, bound) => (err ? reject(err) : resolve(bound))),
  );
  address = `127.0.0.1:${port}`;
});
afterAll(async () => {
  over.abort();
  await leading;
  server.forceShutdown();
});
beforeEach(() => logged.splice(0));

const guarded = [...ofNodes, ...ofManagers];

describe('refused', () => {
  const nobody = (): ClientSecurity => ({
    ...joiningClientSecurity(root.certPem),
    options: { 'grpc.ssl_target_name_override': 'swarm-manager' },
  });
  const as = async (who: Who): Promise<ClientSecurity> => nodeClientSecurity(await identity(who));
  test.each<[string, () => ClientSecurity | Promise<ClientSecurity>, status, readonly Method[]]>([
    ['nobody', nobody, status.UNAUTHENTICATED, guarded],
    ['who has another root', () => as({ signer: stranger }), status.UNAUTHENTICATED, guarded],
    ['who has expired', () => as({ nowMs: Date.now() - 2 * hourMs }), status.UNAUTHENTICATED, guarded],
    [
      'another cluster’s',
      () => as({ of: 'c2', role: 'manager', id: 'm1' }),
      status.PERMISSION_DENIED,
      guarded,
    ],
    ['a worker, at managers’ doors', () => as({}), status.PERMISSION_DENIED, ofManagers],
    [
      'a manager that was demoted, at managers’ doors',
      () => as({ id: 'demoted', role: 'manager' }),
      status.PERMISSION_DENIED,
      ofManagers,
    ],
  ])('%s, and written down once', async (_, security, code, called) => {
    const before = store.view().revision;
    for (const method of called) {
      logged.splice(0);
      const refusal = await refusalOf(method, await security());
      expect({ path: method.path, code: refusal.code }).toEqual({ path: method.path, code });
      expect(logged.map(({ call, reason }) => ({ call, reason }))).toEqual([
        { call: method.path, reason: refusal.details },
      ]);
    }
    expect(store.view().revision).toBe(before);
  });

  test('a node that was removed', async () => {
    for (const method of guarded) {
      const role = ofManagers.includes(method) ? 'manager' : 'worker';
      const refusal = await refusalOf(method, await as({ id: 'gone', role }));
      expect({ path: method.path, code: refusal.code, text: refusal.details }).toEqual({
        path: method.path,
        code: status.NOT_FOUND,
        text: 'node not registered',
      });
    }
  });

  test('a node without a session', async () => {
    for (const method of ofNodes.filter(({ path }) => !/\/(Session|PublishLogs)$/.test(path)))
      expect((await refusalOf(method, await as({}))).details).toBe('node not registered');
  });
});

test('two methods only are open, and one of them asks for a token', async () => {
  expect(open.map(({ path }) => path.split('/').at(-1)).sort()).toEqual([
    'GetRootCaCertificate',
    'IssueNodeCertificate',
  ]);
  const issue = open.find(({ path }) => path.endsWith('IssueNodeCertificate'));
  const refusal = await refusalOf(issue!, joiningClientSecurity(root.certPem));
  expect(refusal.code).toBe(status.INVALID_ARGUMENT);
});
