/** Mutual TLS over a real gRPC connection on loopback: who is believed to be whom. */
import assert from 'node:assert/strict';
import type { TLSSocket } from 'node:tls';
import { connect } from 'node:tls';
import { Client, Server, credentials, status } from '@grpc/grpc-js';
import type { ServerUnaryCall, ServiceError, sendUnaryData, ServerCredentials } from '@grpc/grpc-js';
import { afterAll, beforeAll, test } from 'vitest';
import { createCsr, createRootCa, issueNodeCertificate } from '../../../src/controlplane/ca/certificates.js';
import type { KeyedCertificate } from '../../../src/controlplane/ca/certificates.js';
import {
  NodeServerCredentials,
  joiningClientSecurity,
  nodeClientSecurity,
  peerOf,
  unverifiedClientSecurity,
} from '../../../src/controlplane/ca/credentials.js';
import type { ClientSecurity } from '../../../src/controlplane/ca/credentials.js';
import { identityFromPem } from '../../../src/controlplane/ca/node-identity.js';
import type { NodeIdentity } from '../../../src/controlplane/ca/node-identity.js';
import type { ClusterId, NodeId } from '../../../src/model/ids.js';
import { listen } from '../../../src/controlplane/rpc/server.js';

const hourMs = 3_600_000;
const bytes = { serialize: (value: Buffer) => value, deserialize: (value: Buffer) => value };
const whoAmI = {
  whoAmI: {
    path: '/test.Test/WhoAmI',
    requestStream: false,
    responseStream: false,
    requestSerialize: bytes.serialize,
    requestDeserialize: bytes.deserialize,
    responseSerialize: bytes.serialize,
    responseDeserialize: bytes.deserialize,
  },
};

interface TestCluster {
  readonly ca: KeyedCertificate;
  readonly node: (id: string, role: 'worker' | 'manager', validMs?: number) => Promise<NodeIdentity>;
}

async function cluster(id: string): Promise<TestCluster> {
  const ca = await createRootCa(Date.now());
  return {
    ca,
    node: async (nodeId, role, validMs = hourMs) => {
      const { csrPem, keyPem } = await createCsr();
      const certPem = await issueNodeCertificate({
        rootCa: ca,
        csrPem,
        nodeId: nodeId as NodeId,
        role,
        clusterId: id as ClusterId,
        nowMs: Date.now(),
        validMs,
      });
      return identityFromPem(certPem, keyPem, ca.certPem);
    },
  };
}

let ours: TestCluster;
let theirs: TestCluster;
let manager: NodeIdentity;
let server: Server;
let serverCredentials: NodeServerCredentials;
let port: number;

const serve = (target: Server, creds: ServerCredentials): Promise<number> => {
  target.addService(whoAmI, {
    whoAmI: (call: ServerUnaryCall<Buffer, Buffer>, reply: sendUnaryData<Buffer>) => {
      const peer = peerOf(call);
      reply(null, Buffer.from(peer ? `${peer.clusterId}/${peer.role}/${peer.nodeId}` : 'nobody'));
    },
  });
  return listen(target, '127.0.0.1:0', creds);
};

beforeAll(async () => {
  [ours, theirs] = await Promise.all([cluster('ours'), cluster('theirs')]);
  manager = await ours.node('m1', 'manager');
  server = new Server();
  serverCredentials = new NodeServerCredentials(manager);
  port = await serve(server, serverCredentials);
});
afterAll(() => server.forceShutdown());

const ask = (security: ClientSecurity, toPort = port): Promise<string> => {
  const options = { ...security.options, 'grpc.use_local_subchannel_pool': 1 };
  const client = new Client(`127.0.0.1:${toPort}`, security.credentials, options);
  return new Promise<string>((resolve, reject) => {
    client.makeUnaryRequest(
      '/test.Test/WhoAmI',
      bytes.serialize,
      bytes.deserialize,
      Buffer.alloc(0),
      { deadline: Date.now() + 5_000 },
      (err: ServiceError | null, reply?: Buffer) => (err ? reject(err) : resolve(String(reply))),
    );
  }).finally(() => client.close());
};

const unreachable = (err: unknown): boolean => (err as ServiceError).code === status.UNAVAILABLE;

test('a node of the cluster is known by its certificate', async () => {
  assert.equal(await ask(nodeClientSecurity(await ours.node('w1', 'worker'))), 'ours/worker/w1');
  assert.equal(await ask(nodeClientSecurity(manager, 'swarm-ca')), 'ours/manager/m1');
});

test('a node without a certificate gets through and is nobody', async () => {
  assert.equal(await ask(joiningClientSecurity(ours.ca.certPem)), 'nobody');
  assert.equal(await ask(unverifiedClientSecurity()), 'nobody');
});

test('certificates that do not verify make nobody: another cluster’s, an expired, a self-made one', async () => {
  const foreign = await theirs.node('w1', 'worker');
  const expired = await ours.node('w1', 'worker', -60_000);
  const trusting = (identity: NodeIdentity): ClientSecurity =>
    nodeClientSecurity({ ...identity, rootPem: ours.ca.certPem });
  assert.equal(await ask(trusting(foreign)), 'nobody');
  assert.equal(await ask(trusting(expired)), 'nobody');
  const { certPem, keyPem } = theirs.ca;
  assert.equal(await ask(nodeClientSecurity({ certPem, keyPem, rootPem: ours.ca.certPem })), 'nobody');
});

test('a client refuses a manager of another cluster, and a worker that poses as one', async () => {
  await assert.rejects(ask(nodeClientSecurity(await theirs.node('w1', 'worker'))), unreachable);
  await assert.rejects(ask(joiningClientSecurity(theirs.ca.certPem)), unreachable);

  const posing = new Server();
  const posingPort = await serve(posing, new NodeServerCredentials(await ours.node('w2', 'worker')));
  const client = await ours.node('w1', 'worker');
  for (const name of ['swarm-manager', 'swarm-ca'] as const)
    await assert.rejects(ask(nodeClientSecurity(client, name), posingPort), unreachable);
  assert.equal(await ask(unverifiedClientSecurity(), posingPort), 'nobody');
  posing.forceShutdown();
});

test('plain text and TLS below 1.2 are refused', async () => {
  await assert.rejects(ask({ credentials: credentials.createInsecure(), options: {} }));
  const attempt = (maxVersion: 'TLSv1.1' | 'TLSv1.2'): Promise<string | null> =>
    new Promise((resolve, reject) => {
      const socket: TLSSocket = connect(
        {
          port,
          host: '127.0.0.1',
          rejectUnauthorized: false,
          minVersion: 'TLSv1',
          maxVersion,
          ALPNProtocols: ['h2'],
          // OpenSSL itself refuses old versions above level 0.
          ciphers: 'DEFAULT@SECLEVEL=0',
        },
        () => {
          resolve(socket.getProtocol());
          socket.destroy();
        },
      );
      socket.once('error', reject);
    });
  assert.equal(await attempt('TLSv1.2'), 'TLSv1.2');
  await assert.rejects(attempt('TLSv1.1'));
});

test('a renewed certificate is shown to the next connection', async () => {
  const client = await ours.node('w1', 'worker');
  const shown = (): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket: TLSSocket = connect(
        { port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['h2'] },
        () => {
          resolve(socket.getPeerCertificate().fingerprint256);
          socket.destroy();
        },
      );
      socket.once('error', reject);
    });
  const before = await shown();
  serverCredentials.renew(await ours.node('m1', 'manager'));
  assert.notEqual(await shown(), before);
  assert.equal(await ask(nodeClientSecurity(client)), 'ours/worker/w1');
});
