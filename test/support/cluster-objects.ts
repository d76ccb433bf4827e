/** Cluster objects with defaults for all that a test does not care about, and a seeded source of randomness. */
import { attachmentTask } from '../../src/model/attachments.js';
import type { Cidr, Ip, Mac } from '../../src/model/addresses.js';
import type { GenericResource } from '../../src/model/generic-resources.js';
import { leaderId } from '../../src/model/ids.js';
import type { ClusterId, NetworkId, NodeId, RandomSource, ServiceId, TaskId } from '../../src/model/ids.js';
import type {
  Cluster,
  ClusterSpec,
  Leader,
  ManagerPresence,
  Network,
  Node,
  Service,
  Task,
} from '../../src/model/objects.js';
import type { PayloadKind, PayloadSpec } from '../../src/model/payloads.js';
import type {
  EndpointSpec,
  NetworkAttachmentSpec,
  PayloadReference,
  ServiceSpec,
  TaskSpec,
} from '../../src/model/service-spec.js';
import { emptyContainer } from '../../src/model/service-spec.js';
import { isJob } from '../../src/model/service-laws.js';
import type { TaskState } from '../../src/model/task-state.js';
import { allKinds } from '../../src/controlplane/store/keys.js';
import { MemoryStore } from '../../src/controlplane/store/memory.js';
import type { Kind, Objects, View } from '../../src/controlplane/store/store.js';

const meta = { version: 0, createdAtMs: 0, updatedAtMs: 0 };

/** As `docker swarm init` leaves it. */
export const clusterSpec: ClusterSpec = {
  name: 'default',
  labels: {},
  taskHistoryRetentionLimit: 5,
  raft: {
    snapshotInterval: 10000,
    keepOldSnapshots: 0,
    logEntriesForSlowFollowers: 500,
    electionTick: 10,
    heartbeatTick: 1,
  },
  heartbeatPeriodNs: 5e9,
  nodeCertExpiryNs: 7776e12,
  forceRotate: 0,
  autoLockManagers: false,
};

export const cluster = (over: Partial<Cluster> = {}): Cluster => ({
  ...meta,
  id: 'cluster' as ClusterId,
  spec: clusterSpec,
  rootCa: { certPem: '', keyPem: '' },
  joinTokens: { worker: '', manager: '' },
  defaultAddrPool: ['10.0.0.0/8' as Cidr],
  subnetSize: 24,
  dataPathPort: 4789,
  ...over,
});

export interface NodeOptions {
  readonly labels?: Readonly<Record<string, string>>;
  readonly state?: Node['status']['state'];
  readonly availability?: Node['spec']['availability'];
  readonly nanoCpus?: number;
  readonly memoryBytes?: number;
  readonly genericResources?: readonly GenericResource[];
  /** Destinations that it has routes to, all of `eth0`. */
  readonly routes?: readonly string[];
}

export const node = (id: string, options: NodeOptions = {}): Node => ({
  ...meta,
  id: id as NodeId,
  spec: {
    name: '',
    labels: options.labels ?? {},
    role: 'worker',
    availability: options.availability ?? 'active',
  },
  role: 'worker',
  description: {
    hostname: id,
    platform: { architecture: 'x86_64', os: 'linux' },
    resources: {
      nanoCpus: options.nanoCpus ?? 4e9,
      memoryBytes: options.memoryBytes ?? 2 ** 32,
      ...(options.genericResources && { genericResources: options.genericResources }),
    },
    engine: { engineVersion: '20.10', labels: {}, plugins: [] },
    tlsInfo: { trustRoot: '', certIssuerSubject: '', certIssuerPublicKey: '' },
    routes: (options.routes ?? []).map((to) => ({ destination: to as Cidr, device: 'eth0' })),
  },
  status: { state: options.state ?? 'ready', message: '', addr: '192.0.2.1' },
  attachments: [],
});

/** A manager whose daemon is alive. */
export const presence = (id: string): ManagerPresence => ({
  ...meta,
  id: id as NodeId,
  addr: `${id}.example:2377`,
});

export const leader = (nodeId: string, raftTerm = 2): Leader => ({
  ...meta,
  id: leaderId,
  nodeId: nodeId as NodeId,
  raftTerm,
});

export interface NetworkOptions {
  readonly ingress?: boolean;
  readonly subnet?: string;
  readonly range?: string;
  readonly gateway?: string;
  readonly vnis?: string;
  readonly attachable?: boolean;
  readonly auxiliaryAddresses?: Readonly<Record<string, string>>;
}

export const network = (id: string, options: NetworkOptions = {}): Network => ({
  ...meta,
  id: id as NetworkId,
  spec: {
    name: id,
    labels: {},
    driver: 'overlay',
    driverOptions:
      options.vnis === undefined ? {} : { 'com.docker.network.driver.overlay.vxlanid_list': options.vnis },
    ipv6: false,
    internal: false,
    attachable: options.attachable ?? false,
    ingress: options.ingress ?? false,
    ipam: {
      driver: 'default',
      options: {},
      configs:
        options.subnet === undefined
          ? []
          : [
              {
                subnet: options.subnet as Cidr,
                ...(options.range === undefined ? {} : { range: options.range as Cidr }),
                ...(options.gateway === undefined ? {} : { gateway: options.gateway as Ip }),
                ...(options.auxiliaryAddresses === undefined
                  ? {}
                  : { auxiliaryAddresses: options.auxiliaryAddresses as Readonly<Record<string, Ip>> }),
              },
            ],
    },
  },
  addressCursor: 0,
});

export const taskSpec = (over: Partial<TaskSpec> = {}, image = 'image:1'): TaskSpec => ({
  container: { ...emptyContainer, image },
  forceUpdate: 0,
  ...over,
});

export const serviceSpec = (name: string, over: Partial<ServiceSpec> = {}): ServiceSpec => ({
  name,
  labels: {},
  taskTemplate: taskSpec(),
  mode: { kind: 'replicated', replicas: 1 },
  ...over,
});

export const service = (
  id: string,
  spec: Partial<ServiceSpec> = {},
  over: Partial<Service> = {},
): Service => ({
  ...meta,
  id: id as ServiceId,
  spec: serviceSpec(id, spec),
  specVersion: 1,
  ...(spec.mode && isJob(spec.mode) ? { jobStatus: { iteration: 0, lastExecutionMs: 0 } } : {}),
  ...over,
});

/** A secret or config of that content. */
export const payload = <K extends PayloadKind>(
  id: string,
  content = 'content',
  over: Partial<PayloadSpec> = {},
): Objects[K] =>
  ({
    ...meta,
    id,
    spec: { name: id, labels: {}, data: Buffer.from(content).toString('base64'), ...over },
  }) as unknown as Objects[K];

/** As a container is given it. */
export const reference = (id: string, file: Partial<PayloadReference['file']> = {}): PayloadReference => ({
  id,
  name: id,
  file: { name: id, uid: '0', gid: '0', mode: 0o444, ...file },
});

export const ports = (
  ...published: readonly (readonly [number, (number | undefined)?, ('tcp' | 'udp')?, ('ingress' | 'host')?])[]
): EndpointSpec => ({
  mode: 'vip',
  ports: published.map(([targetPort, publishedPort, protocol = 'tcp', publishMode = 'ingress']) => ({
    protocol,
    targetPort,
    publishMode,
    ...(publishedPort === undefined ? {} : { publishedPort }),
  })),
});

/** A task of `of` as if the orchestrator had made it. */
export const task = (
  id: string,
  of: Service,
  state: TaskState,
  over: Partial<Task> & {
    readonly appliedAtMs?: number;
    readonly node?: string;
    /** The task is its node's: it has no slot. */
    readonly bound?: true;
  } = {},
): Task => {
  const { appliedAtMs = 0, node: nodeId, bound, ...rest } = over;
  return {
    ...meta,
    id: id as TaskId,
    serviceId: of.id,
    serviceName: of.spec.name,
    serviceLabels: of.spec.labels,
    ...(bound ? {} : { slot: 1 }),
    spec: of.spec.taskTemplate,
    specVersion: of.specVersion,
    ...(of.spec.endpointSpec ? { endpointSpec: of.spec.endpointSpec } : {}),
    desiredState: 'running',
    status: { state, message: '', timestampMs: appliedAtMs, appliedAtMs },
    networks: [],
    ...(nodeId === undefined ? {} : { nodeId: nodeId as NodeId }),
    ...rest,
  };
};

/** An attachment of a container on `nodeId`, as the dispatcher makes them. */
export const attachment = (
  id: string,
  nodeId: string,
  leg: { readonly networkId: string; readonly address: string; readonly aliases?: readonly string[] },
  container: Partial<NetworkAttachmentSpec> = {},
): Task => ({
  ...meta,
  ...attachmentTask(
    id as TaskId,
    nodeId as NodeId,
    { containerId: '', containerName: '', nameservers: [], ...container },
    {
      networkId: leg.networkId as NetworkId,
      address: leg.address as Ip,
      prefixLength: 24,
      mac: '02:00:00:00:0a:01' as Mac,
      aliases: leg.aliases ?? [],
    },
    0,
  ),
});

type Given = { readonly [K in Kind]?: readonly Objects[K][] };

/** A clock that only moves when told. */
export class FakeTime {
  constructor(public ms = 0) {}
  nowMs = (): number => this.ms;
}

/** A store with these objects (and a cluster); each is created at its own `createdAtMs`. */
export async function storeOf(given: Given, time = new FakeTime()): Promise<MemoryStore> {
  const now = time.ms;
  const store = new MemoryStore({ clock: time });
  for (const kind of allKinds) {
    const objects = given[kind] ?? (kind === 'cluster' ? [cluster()] : []);
    for (const { version: _v, createdAtMs, updatedAtMs: _u, ...object } of objects) {
      time.ms = createdAtMs;
      await store.update((tx) => tx.create(kind, object as never));
    }
  }
  time.ms = now;
  return store;
}

export const viewOf = async (given: Given): Promise<View> => (await storeOf(given)).view();

/** mulberry32: numbers in [0, 1) that a seed repeats. */
export function seededNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export const seededBytes = (seed: number): RandomSource => {
  const next = seededNumbers(seed);
  return (size) => Uint8Array.from({ length: size }, () => Math.floor(next() * 256));
};
