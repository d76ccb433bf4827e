/**
 * Docker's view of what the store holds: nodes, the swarm, services, tasks and networks as `GET` shows them. Nearly
 * all of it is only ever written; NodeSpec and the swarm's Spec are read as well.
 */
import { vniOptionName } from '../../../model/network-options.js';
import { subnetsOf } from '../../../model/network-subnets.js';
import { isNodeNetwork } from '../../../model/node-networks.js';
import type {
  AllocatedPort,
  Cluster,
  ClusterSpec,
  ExternalCa,
  IpamConfig,
  JobStatus,
  Meta,
  Network,
  Node,
  NodeDescription,
  Service,
  ServiceEndpoint,
  Task,
  TaskStatus,
  TlsInfo,
} from '../../../model/objects.js';
import type { Cidr, Ip } from '../../../model/addresses.js';
import type { ClusterId, NetworkId, NodeId, ServiceId, TaskId } from '../../../model/ids.js';
import type { PortConfig, EndpointSpec, Labels } from '../../../model/service-spec.js';
import { taskStates } from '../../../model/task-state.js';
import {
  always,
  alwaysSince,
  bool,
  choice,
  duration,
  field,
  hidden,
  int64,
  labels,
  list,
  opt,
  orEmpty,
  orNull,
  ptr,
  strings,
  struct,
  text,
  time,
  uint32,
  uint64,
  written,
} from './codec.js';
import type { Codec, Field, Fields } from './codec.js';
import { genericResources } from './generic-resource.js';
import { endpointSpec, logDriver, portConfig, serviceSpec, taskSpec } from './service.js';

/** What Docker writes as null, for want of any. */
const nothing: Codec<null> = {
  go: '',
  zero: () => null,
  decode: () => null,
  encode: () => null,
  isEmpty: () => true,
};

/** A branded text. */
const branded = <T extends string>(): Codec<T> => text as unknown as Codec<T>;

/** What every object begins with. */
const meta = {
  version: field('Version.Index', uint64),
  createdAtMs: always('CreatedAt', time),
  updatedAtMs: always('UpdatedAt', time),
} satisfies { [K in keyof Meta]: Field<Meta[K]> };

// --- the swarm -------------------------------------------------------------------------------------------------

const externalCa = struct<ExternalCa>('ExternalCA', {
  protocol: always(
    'Protocol',
    choice({
      go: 'swarm.ExternalCAProtocol',
      values: ['cfssl'],
      absent: 'cfssl',
      refuse: (word) => `invalid protocol: "${word}"`,
    }),
  ),
  url: always('URL', text),
  options: field('Options', labels),
  caCert: always('CACert', text),
});

const clusterSpecFields: Fields<ClusterSpec> = {
  name: field('Name', text),
  labels: always('Labels', labels),
  taskHistoryRetentionLimit: always('Orchestration.TaskHistoryRetentionLimit', int64),
  raft: always(
    'Raft',
    struct<ClusterSpec['raft']>('RaftConfig', {
      snapshotInterval: field('SnapshotInterval', uint64),
      keepOldSnapshots: always('KeepOldSnapshots', uint64),
      logEntriesForSlowFollowers: field('LogEntriesForSlowFollowers', uint64),
      electionTick: always('ElectionTick', int64),
      heartbeatTick: always('HeartbeatTick', int64),
    }),
  ),
  heartbeatPeriodNs: field('Dispatcher.HeartbeatPeriod', duration),
  nodeCertExpiryNs: field('CAConfig.NodeCertExpiry', duration),
  forceRotate: field('CAConfig.ForceRotate', uint64),
  externalCas: field('CAConfig.ExternalCAs', opt(list(externalCa))),
  taskDefaultsLogDriver: field('TaskDefaults.LogDriver', ptr(logDriver)),
  autoLockManagers: always('EncryptionConfig.AutoLockManagers', bool),
};
const inner = { Orchestration: 'OrchestrationConfig', Dispatcher: 'DispatcherConfig' };

export const clusterSpec = struct<ClusterSpec>('Spec', clusterSpecFields, { inner });

/** As it is given: with what is never shown. */
export interface ClusterSpecRequest extends ClusterSpec {
  readonly signingCaCert: string;
  readonly signingCaKey: string;
}

export const clusterSpecRequest = struct<ClusterSpecRequest>(
  'Spec',
  {
    ...clusterSpecFields,
    signingCaCert: field('CAConfig.SigningCACert', text),
    signingCaKey: field('CAConfig.SigningCAKey', text),
  },
  { inner },
);

export const tlsInfo = struct<TlsInfo>('TLSInfo', {
  trustRoot: field('TrustRoot', text),
  certIssuerSubject: field('CertIssuerSubject', text),
  certIssuerPublicKey: field('CertIssuerPublicKey', text),
});

/** The cluster object with what its certificate says of itself. */
export interface ClusterView extends Omit<
  Cluster,
  'rootCa' | 'rootRotation' | 'joinTokens' | 'managersLock' | 'encryption' | 'trace'
> {
  readonly tlsInfo: TlsInfo;
  /** Only in `GET /swarm`. */
  readonly joinTokens?: Cluster['joinTokens'];
  readonly rootRotationInProgress: boolean;
}

export const swarm = struct<ClusterView>('Swarm', {
  id: always('ID', branded<ClusterId>()),
  ...meta,
  spec: always('Spec', clusterSpec),
  tlsInfo: always('TLSInfo', tlsInfo),
  rootRotationInProgress: always('RootRotationInProgress', bool),
  defaultAddrPool: always('DefaultAddrPool', list(branded<Cidr>())),
  subnetSize: always('SubnetSize', uint32),
  dataPathPort: always('DataPathPort', uint32),
  joinTokens: field(
    'JoinTokens',
    ptr(
      struct<Cluster['joinTokens']>('JoinTokens', {
        worker: always('Worker', text),
        manager: always('Manager', text),
      }),
    ),
  ),
});

// --- nodes -----------------------------------------------------------------------------------------------------

const roles = ['worker', 'manager'] as const;

export const nodeSpec = struct<Node['spec']>('NodeSpec', {
  name: field('Name', text),
  labels: always('Labels', labels),
  role: field(
    'Role',
    choice({
      go: 'swarm.NodeRole',
      values: roles,
      absent: 'worker',
      required: true,
      anyCase: true,
      refuse: (word) => `invalid Role: "${word}"`,
    }),
  ),
  availability: field(
    'Availability',
    choice({
      go: 'swarm.NodeAvailability',
      values: ['active', 'pause', 'drain'],
      absent: 'active',
      required: true,
      anyCase: true,
      refuse: (word) => `invalid Availability: "${word}"`,
    }),
  ),
});

const nodeDescription = struct<NodeDescription>('NodeDescription', {
  hostname: field('Hostname', text),
  platform: always(
    'Platform',
    struct<NodeDescription['platform']>('Platform', {
      architecture: field('Architecture', text),
      os: field('OS', text),
    }),
  ),
  resources: always(
    'Resources',
    struct<NodeDescription['resources']>('Resources', {
      nanoCpus: field('NanoCPUs', int64),
      memoryBytes: field('MemoryBytes', int64),
      genericResources: field('GenericResources', genericResources),
    }),
  ),
  engine: always(
    'Engine',
    struct<NodeDescription['engine']>('EngineDescription', {
      engineVersion: field('EngineVersion', text),
      labels: field('Labels', labels),
      plugins: field(
        'Plugins',
        list(
          struct<NodeDescription['engine']['plugins'][number]>('PluginDescription', {
            type: field('Type', text),
            name: field('Name', text),
          }),
        ),
      ),
    }),
  ),
  tlsInfo: always('TLSInfo', tlsInfo),
  routes: hidden(undefined),
});

const nodeState = text as unknown as Codec<Node['status']['state']>;

export const node = struct<Node>('Node', {
  id: always('ID', branded<NodeId>()),
  ...meta,
  spec: always('Spec', nodeSpec),
  description: always('Description', orEmpty(nodeDescription)),
  status: always(
    'Status',
    struct<Node['status']>('NodeStatus', {
      state: field('State', nodeState),
      message: field('Message', text),
      addr: field('Addr', text),
    }),
  ),
  managerStatus: field(
    'ManagerStatus',
    ptr(
      struct<NonNullable<Node['managerStatus']>>('ManagerStatus', {
        leader: field('Leader', bool),
        reachability: field(
          'Reachability',
          choice({
            go: 'swarm.Reachability',
            values: ['unknown', 'unreachable', 'reachable'],
            absent: 'unknown',
          }),
        ),
        addr: field('Addr', text),
      }),
    ),
  ),
  role: hidden('worker'),
  dataPathAddr: hidden(undefined),
  espEpoch: hidden(undefined),
  wantedIssuer: hidden(undefined),
  trace: hidden(undefined),
  attachments: hidden([]),
});

// --- services --------------------------------------------------------------------------------------------------

interface VirtualIp {
  readonly networkId: NetworkId;
  readonly addr: string;
}

const endpoint: Codec<ServiceEndpoint | undefined> = orEmptyEndpoint();

const holdsNothing = ({ spec, ports, virtualIps }: ServiceEndpoint): boolean =>
  spec.mode === 'vip' && spec.ports.length === 0 && ports.length === 0 && virtualIps.length === 0;

/** As in the spec, with the numbers that were found for them; a port of the node's own has none before a task runs. */
function shownPorts({ spec, ports }: ServiceEndpoint): readonly PortConfig[] {
  const left = [...ports];
  const shown = spec.ports.map((wanted): PortConfig => {
    const at = left.findIndex(
      ({ name, protocol, targetPort, publishMode, publishedPort }) =>
        name === wanted.name &&
        protocol === wanted.protocol &&
        targetPort === wanted.targetPort &&
        publishMode === wanted.publishMode &&
        (wanted.publishedPort === undefined || wanted.publishedPort === publishedPort),
    );
    return at < 0 ? wanted : (left.splice(at, 1)[0] ?? wanted);
  });
  return [...shown, ...left];
}

/** A service that was not allocated yet shows `{"Spec":{}}`, and so does one that has nothing to be allocated. */
function orEmptyEndpoint(): Codec<ServiceEndpoint | undefined> {
  interface Shown {
    readonly spec?: EndpointSpec;
    readonly ports: readonly AllocatedPort[];
    readonly virtualIps: readonly VirtualIp[];
  }
  const shown = struct<Shown>('Endpoint', {
    spec: always('Spec', orEmpty(endpointSpec)),
    ports: field('Ports', list(portConfig as Codec<AllocatedPort>)),
    virtualIps: field(
      'VirtualIPs',
      list(
        struct<VirtualIp>('EndpointVirtualIP', {
          networkId: field('NetworkID', branded<NetworkId>()),
          addr: field('Addr', text),
        }),
      ),
    ),
  });
  return written(shown, (value: ServiceEndpoint | undefined): Shown =>
    value === undefined || holdsNothing(value)
      ? { ports: [], virtualIps: [] }
      : {
          spec: value.spec,
          ports: shownPorts(value) as readonly AllocatedPort[],
          virtualIps: value.virtualIps.map(({ networkId, address, prefixLength }) => ({
            networkId,
            addr: `${address}/${prefixLength}`,
          })),
        },
  );
}

export interface ServiceStatus {
  readonly runningTasks: number;
  readonly desiredTasks: number;
  readonly completedTasks: number;
}

/** A first run has the number 0, which is left out: `"JobIteration":{}`. */
const jobStatus = struct<JobStatus>('JobStatus', {
  iteration: field('JobIteration.Index', uint64),
  lastExecutionMs: field('LastExecution', time),
  scheduledForMs: hidden(undefined),
});

export type ServiceView = Service & { readonly serviceStatus?: ServiceStatus };

/** The answer to `POST /services/create`. */
export interface CreatedService {
  readonly id: ServiceId;
  readonly warnings: readonly string[];
}

export const createdService = struct<CreatedService>('ServiceCreateResponse', {
  id: always('ID', branded<ServiceId>()),
  warnings: alwaysSince(44, 'Warnings', orNull(strings)),
});

export const service = struct<ServiceView>('Service', {
  id: always('ID', branded<ServiceId>()),
  ...meta,
  spec: always('Spec', serviceSpec),
  previousSpec: field('PreviousSpec', ptr(serviceSpec)),
  endpoint: always('Endpoint', endpoint),
  updateStatus: field(
    'UpdateStatus',
    ptr(
      struct<NonNullable<Service['updateStatus']>>('UpdateStatus', {
        state: field('State', text as unknown as Codec<NonNullable<Service['updateStatus']>['state']>),
        startedAtMs: field('StartedAt', time),
        completedAtMs: field('CompletedAt', ptr(time)),
        message: field('Message', text),
      }),
    ),
  ),
  jobStatus: field('JobStatus', ptr(jobStatus)),
  serviceStatus: field(
    'ServiceStatus',
    ptr(
      struct<ServiceStatus>('ServiceStatus', {
        runningTasks: always('RunningTasks', uint64),
        desiredTasks: always('DesiredTasks', uint64),
        completedTasks: always('CompletedTasks', uint64),
      }),
    ),
  ),
  specVersion: hidden(0),
  previousSpecVersion: hidden(undefined),
  rebalancing: hidden(undefined),
  trace: hidden(undefined),
});

// --- networks --------------------------------------------------------------------------------------------------

/** An overlay has a driver when it has been allocated. */
const shownDriver = ({ spec, allocation }: Network): string =>
  allocation || isNodeNetwork({ spec }) ? spec.driver : '';

/** Driver options as shown: the user's, and the VNI once there is one. */
const shownOptions = ({ spec, allocation }: Network): Labels =>
  allocation ? { ...spec.driverOptions, [vniOptionName]: String(allocation.vni) } : spec.driverOptions;

/** IPAM configs as shown: what was allocated, nothing before. */
const shownIpam = ({ spec, allocation }: Network): readonly IpamConfig[] => {
  if (!allocation) return [];
  return subnetsOf(allocation).map(({ subnet, gateway }, index) => {
    const { range, auxiliaryAddresses } = spec.ipam.configs[index] ?? {};
    return {
      subnet,
      ...(range ? { range } : {}),
      gateway,
      ...(auxiliaryAddresses ? { auxiliaryAddresses } : {}),
    };
  });
};

interface NetworkResource {
  readonly name: string;
  readonly id: NetworkId;
  readonly createdAtMs: number;
  readonly scope: string;
  readonly driver: string;
  readonly ipv4: boolean;
  readonly ipv6: boolean;
  readonly ipam: {
    readonly driver: string;
    readonly options: Labels;
    readonly configs: readonly IpamConfig[];
  };
  readonly internal: boolean;
  readonly attachable: boolean;
  readonly ingress: boolean;
  readonly configFrom: string;
  readonly configOnly: boolean;
  readonly containers: Labels;
  readonly options: Labels;
  readonly labels: Labels;
}

const ipamConfig = struct<IpamConfig>('IPAMConfig', {
  subnet: field('Subnet', branded<Cidr>()),
  range: field('IPRange', opt(branded<Cidr>())),
  gateway: field('Gateway', opt(branded<Ip>())),
  auxiliaryAddresses: field('AuxiliaryAddresses', opt(labels as Codec<Readonly<Record<string, Ip>>>)),
});

/** Of the stored form, which knows no auxiliary addresses. */
const storedIpamConfig = struct<IpamConfig>('IPAMConfig', {
  subnet: field('Subnet', branded<Cidr>()),
  range: field('Range', opt(branded<Cidr>())),
  gateway: field('Gateway', opt(branded<Ip>())),
  auxiliaryAddresses: hidden(undefined),
});

/** The form of `GET /networks`. */
export const networkResource: Codec<Network> = written(
  struct<NetworkResource>('NetworkResource', {
    name: always('Name', text),
    id: always('Id', branded<NetworkId>()),
    createdAtMs: always('Created', time),
    scope: always('Scope', text),
    driver: always('Driver', text),
    ipv4: always('EnableIPv4', bool, 48),
    ipv6: always('EnableIPv6', bool),
    ipam: always(
      'IPAM',
      struct<NetworkResource['ipam']>('IPAM', {
        driver: always('Driver', text),
        options: always('Options', orNull(labels)),
        configs: always('Config', list(ipamConfig)),
      }),
    ),
    internal: always('Internal', bool),
    attachable: always('Attachable', bool),
    ingress: always('Ingress', bool),
    configFrom: always('ConfigFrom.Network', text),
    configOnly: always('ConfigOnly', bool),
    containers: always('Containers', orNull(labels)),
    options: always('Options', orNull(labels)),
    labels: always('Labels', orNull(labels)),
  }),
  (network: Network): NetworkResource => {
    const { spec, allocation } = network;
    return {
      name: spec.name,
      id: network.id,
      createdAtMs: network.createdAtMs,
      scope: 'swarm',
      driver: shownDriver(network),
      ipv4: true,
      ipv6: spec.ipv6,
      ipam: {
        driver: allocation ? spec.ipam.driver || 'default' : '',
        options: {},
        configs: shownIpam(network),
      },
      internal: spec.internal,
      attachable: spec.attachable,
      ingress: spec.ingress,
      configFrom: spec.configFrom ?? '',
      configOnly: false,
      containers: {},
      options: shownOptions(network),
      labels: spec.labels,
    };
  },
);

interface NetworkObject extends Meta {
  readonly id: NetworkId;
  readonly name: string;
  readonly labels: Labels;
  readonly driverConfiguration: { readonly name: string; readonly options: Labels };
  readonly ipv6: boolean;
  readonly internal: boolean;
  readonly attachable: boolean;
  readonly ingress: boolean;
  readonly specIpam?: IpamOptions;
  readonly configFrom?: { readonly network: string };
  readonly scope: string;
  readonly driverState: { readonly name: string; readonly options: Labels };
  readonly ipam?: IpamOptions;
}
interface IpamOptions {
  readonly driver: { readonly name: string; readonly options: Labels };
  readonly configs: readonly IpamConfig[];
}

const ipamOptions = struct<IpamOptions>('IPAMOptions', {
  driver: always('Driver', logDriver),
  configs: field('Configs', list(storedIpamConfig)),
});

/** Whether the client said anything of addresses at all. */
const isSaid = ({ driver, options, configs }: Network['spec']['ipam']): boolean =>
  driver !== '' || configs.length > 0 || Object.keys(options).length > 0;

/** The stored form, which only a task's attachments show. */
const networkObject: Codec<Network> = written(
  struct<NetworkObject>('Network', {
    id: always('ID', branded<NetworkId>()),
    ...meta,
    name: field('Spec.Name', text),
    labels: always('Spec.Labels', labels),
    driverConfiguration: always('Spec.DriverConfiguration', logDriver),
    ipv6: field('Spec.IPv6Enabled', bool),
    internal: field('Spec.Internal', bool),
    attachable: field('Spec.Attachable', bool),
    ingress: field('Spec.Ingress', bool),
    specIpam: field('Spec.IPAMOptions', ptr(ipamOptions)),
    configFrom: field(
      'Spec.ConfigFrom',
      ptr(struct<{ readonly network: string }>('ConfigReference', { network: field('Network', text) })),
    ),
    scope: field('Spec.Scope', text),
    driverState: always('DriverState', logDriver),
    ipam: field('IPAMOptions', ptr(ipamOptions)),
  }),
  (network: Network): NetworkObject => {
    const { spec, allocation } = network;
    return {
      id: network.id,
      version: network.version,
      createdAtMs: network.createdAtMs,
      updatedAtMs: network.updatedAtMs,
      name: spec.name,
      labels: spec.labels,
      driverConfiguration: { name: spec.ingress ? '' : spec.driver, options: spec.driverOptions },
      ipv6: spec.ipv6,
      internal: spec.internal,
      attachable: spec.attachable,
      ingress: spec.ingress,
      ...(spec.ingress || isSaid(spec.ipam)
        ? {
            specIpam: {
              driver: { name: spec.ingress ? '' : spec.ipam.driver, options: spec.ipam.options },
              configs: spec.ipam.configs,
            },
          }
        : {}),
      ...(spec.configFrom !== undefined && { configFrom: { network: spec.configFrom } }),
      scope: 'swarm',
      driverState: { name: shownDriver(network), options: allocation ? shownOptions(network) : {} },
      ...(allocation
        ? {
            ipam: {
              driver: { name: spec.ipam.driver || 'default', options: spec.ipam.options },
              configs: shownIpam(network),
            },
          }
        : isNodeNetwork(network)
          ? { ipam: { driver: { name: '', options: {} }, configs: [] } }
          : {}),
    };
  },
);

// --- tasks -----------------------------------------------------------------------------------------------------

const taskState = choice({
  go: 'swarm.TaskState',
  values: Object.keys(taskStates) as (keyof typeof taskStates)[],
  absent: 'new',
});

type ShownStatus = Omit<TaskStatus, 'appliedAtMs' | 'runningAtMs' | 'draining'>;

const containerStatus = struct<NonNullable<TaskStatus['container']>>('ContainerStatus', {
  containerId: always('ContainerID', text),
  pid: always('PID', int64),
  exitCode: always('ExitCode', int64),
});

const taskStatus = struct<ShownStatus>('TaskStatus', {
  timestampMs: always('Timestamp', time),
  state: field('State', taskState),
  message: field('Message', text),
  err: field('Err', opt(text)),
  container: field('ContainerStatus', ptr(containerStatus)),
  ports: field('PortStatus.Ports', opt(list(portConfig))),
});

/** A task with its networks in full, as Docker nests them. */
export interface TaskView extends Pick<
  Task,
  keyof Meta | 'id' | 'spec' | 'serviceId' | 'slot' | 'nodeId' | 'desiredState' | 'assignedGenericResources'
> {
  readonly status: ShownStatus;
  readonly labels: Labels;
  /** Present in tasks of jobs. */
  readonly run?: { readonly iteration: number };
  readonly attachments: readonly { readonly network: Network; readonly addresses: readonly string[] }[];
  /** Of the cluster, of which there are none. */
  readonly volumes: null;
}

export const task = struct<TaskView>('Task', {
  id: always('ID', branded<TaskId>()),
  ...meta,
  labels: always('Labels', labels),
  spec: always('Spec', taskSpec),
  serviceId: field('ServiceID', branded<ServiceId>()),
  // Left out when it is 0, as Swarm leaves that of a job's first slot.
  slot: field('Slot', opt(int64)),
  nodeId: field('NodeID', opt(branded<NodeId>())),
  status: always('Status', taskStatus),
  desiredState: field('DesiredState', taskState),
  run: field(
    'JobIteration',
    ptr(struct<{ readonly iteration: number }>('Version', { iteration: field('Index', uint64) })),
  ),
  attachments: field(
    'NetworksAttachments',
    list(
      struct<TaskView['attachments'][number]>('NetworkAttachment', {
        network: always('Network', networkObject),
        addresses: field('Addresses', strings),
      }),
    ),
  ),
  assignedGenericResources: field('GenericResources', genericResources),
  volumes: always('Volumes', nothing, 42),
});
