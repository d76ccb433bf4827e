/**
 * A manager as skepd has it, in a process of its own: etcd, store, server with the cluster's TLS, and while it leads the dispatcher
 * and the loops; only the engine and the API for users are missing. Its store is filled before it starts.
 */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { SwarmEvents } from '../../src/controlplane/api/swarm-events.js';
import { createCsr, issueNodeCertificate } from '../../src/controlplane/ca/certificates.js';
import { ClusterCa } from '../../src/controlplane/ca/cluster-ca.js';
import { lockOf } from '../../src/controlplane/node/keyring.js';
import { checkedInitRequest, initialObjects } from '../../src/controlplane/node/initial-cluster.js';
import { startManager } from '../../src/controlplane/node/manager.js';
import type { ServingManager } from '../../src/controlplane/node/manager.js';
import { newCluster } from '../../src/controlplane/node/new-cluster.js';
import { NodeCertificate } from '../../src/controlplane/node/node-certificate.js';
import { NodeKeys } from '../../src/controlplane/node/node-keys.js';
import { fillStore } from '../../src/controlplane/store/fill.js';
import type { StoredObject } from '../../src/controlplane/store/store.js';
import type { Ip } from '../../src/model/addresses.js';
import { leaderId } from '../../src/model/ids.js';
import type { NodeId, TaskId } from '../../src/model/ids.js';
import { CleanupStack } from '../../src/runtime/cleanup-stack.js';
import { systemClock } from '../../src/runtime/clock.js';
import { createLog } from '../../src/runtime/log.js';
import { Waiters } from '../../src/runtime/waiters.js';
import { machineMs, serveParent } from '../harness/child.js';
import { clusterObjects } from './objects.js';
import { swarmDirIn } from './manager-directory.js';
import type { ClusterSize } from './objects.js';

export interface ManagerRequest extends ClusterSize {
  /** Of loopback, of its own. */
  readonly host: string;
}

export interface StartRequest extends ManagerRequest {
  /** {@link makeManagerDirectory}'s. */
  readonly directory: string;
}

/** What a node needs to take part. */
export interface NodeKeysText {
  readonly nodeId: NodeId;
  readonly certPem: string;
  readonly keyPem: string;
  readonly rootPem: string;
}

export interface ManagerStarted {
  readonly managerId: NodeId;
  readonly clusterId: string;
  readonly addr: string;
  readonly nodes: readonly NodeKeysText[];
  readonly taskIds: readonly TaskId[];
}

export interface ManagerSample {
  /** User and system time so far. */
  readonly processorMs: number;
  readonly residentBytes: number;
}

const log = createLog('manager', process.env['SKEP_LOG']);
const random = (size: number): Uint8Array => randomBytes(size);
const undo = new CleanupStack();
let manager: ServingManager | undefined;
const leadMsMax = 60_000;
const yearMs = 365 * 24 * 3_600_000;

async function start({ host, directory, ...size }: StartRequest): Promise<ManagerStarted> {
  const [swarmDir, runDir] = [swarmDirIn(directory), join(directory, 'run')];
  const address = host as Ip;
  const addresses = {
    ...{ listenHost: host, listenPort: 2377, advertiseHost: address, advertisePort: 2377 },
    dataPathHost: address,
  };
  const request = checkedInitRequest({
    ...{ listenAddr: host, advertiseAddr: host, dataPathAddr: '', dataPathPort: 0, forceNewCluster: false },
    ...{ spec: {}, autoLockManagers: false, availability: 'active', defaultAddrPool: [], subnetSize: 0 },
  });
  const nowMs = systemClock.nowMs();
  const { membership, identity, dataKey, cluster } = await newCluster(request, addresses, { nowMs, random });
  const { nodeId, clusterId } = membership;
  const keys = new NodeKeys(swarmDir);
  await keys.found(identity, dataKey, lockOf(cluster.managersLock));
  const certificate = new NodeCertificate(keys, join(runDir, 'etcd-tls'));
  const ca = new ClusterCa({ clock: systemClock, identity: () => certificate.known() });
  const { objects, nodeIds, taskIds } = clusterObjects(size, nodeId, cluster.ingressId, random);
  const description = objects.flatMap(({ kind, object }) => (kind === 'node' ? [object.description] : []))[0];
  if (!description) throw new Error('a cluster has nodes');
  const initial = initialObjects(request, cluster, addresses, description);
  const meta = { version: 0, createdAtMs: nowMs, updatedAtMs: nowMs };
  const all: readonly StoredObject[] = [
    { kind: 'cluster', object: { ...initial.cluster, ...meta } },
    ...objects.map((one): StoredObject => {
      if (one.kind === 'network' && one.object.spec.ingress)
        return { kind: 'network', object: { ...one.object, spec: initial.ingress.spec } };
      if (one.kind !== 'node' || one.object.id !== nodeId) return one;
      const { dataPathAddr: _, attachments: _a, ...founder } = initial.node;
      return { kind: 'node', object: { ...one.object, ...founder } };
    }),
  ];
  // Before there is a leader, who waits for nodes for so long only.
  const nodes: NodeKeysText[] = [];
  for (const id of nodeIds) {
    const { csrPem, keyPem } = await createCsr();
    const certPem = await issueNodeCertificate({
      ...{ rootCa: cluster.rootCa, csrPem, nodeId: id, clusterId, nowMs, validMs: yearMs, role: 'worker' },
    });
    nodes.push({ nodeId: id, certPem, keyPem, rootPem: cluster.rootCa.certPem });
  }
  manager = await startManager({
    ...{ membership, mode: 'new', swarmDir, runDir, keys, random, log },
    certificateFiles: await certificate.files(),
    trusted: () => certificate.known().rootPem,
    serverCredentials: certificate.serverCredentials(),
    clientSecurity: () => certificate.clientSecurity(),
    security: ca,
    onEtcd: (client, sealer) => fillStore(client, sealer, { objects: all, revisionBase: 0 }),
    onStore: async () => undefined,
    swarmEvents: new SwarmEvents(systemClock),
    clock: systemClock,
  });
  const { store } = manager;
  undo.defer(() => manager?.close());
  // Whoever asks before that is turned away, and waits.
  const led = new Waiters();
  const unsubscribe = store.subscribe(() => led.check());
  await led.until(() => store.view().get('leader', leaderId) !== undefined, AbortSignal.timeout(leadMsMax));
  unsubscribe();
  return { managerId: nodeId, clusterId, addr: `${host}:2377`, nodes, taskIds };
}

/** The task takes no new flows from now on. @returns when that was asked of the store, and its revision then */
async function drain(id: TaskId): Promise<{ readonly writtenMs: number; readonly revision: number }> {
  if (!manager) throw new Error('not started');
  const { store } = manager;
  const writtenMs = machineMs();
  await store.update((tx) => {
    const task = tx.get('task', id);
    if (task) tx.update('task', { ...task, status: { ...task.status, draining: true } });
  });
  return { writtenMs, revision: store.view().get('task', id)?.version ?? NaN };
}

async function sample(): Promise<ManagerSample> {
  const { user, system } = process.cpuUsage();
  return { processorMs: (user + system) / 1_000, residentBytes: process.memoryUsage.rss() };
}

serveParent({ start, drain, sample }, () => undo[Symbol.asyncDispose]());
