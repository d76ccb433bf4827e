/**
 * Docker's ServiceSpec and all below it. Each table is the only statement of how a struct looks in JSON: key, type,
 * whether it is dropped when empty, and since which API version a request may set it.
 */
import { SkepError } from '../../../model/errors.js';
import type {
  ContainerSpec,
  EndpointSpec,
  LogDriver,
  NetworkAttachmentConfig,
  NetworkAttachmentSpec,
  Placement,
  PortConfig,
  RestartPolicy,
  ServiceMode,
  ServiceSpec,
  TaskSpec,
  UpdateConfig,
} from '../../../model/service-spec.js';
import {
  always,
  choice,
  duration,
  field,
  float32,
  int64,
  labels,
  list,
  opt,
  ptr,
  strings,
  struct,
  text,
  uint32,
  uint64,
  via,
} from './codec.js';
import type { Codec } from './codec.js';
import { containerSpec } from './container.js';
import { reservedResources } from './generic-resource.js';

export const logDriver = struct<LogDriver>('Driver', {
  name: field('Name', text),
  options: field('Options', labels),
});

export const networkAttachmentConfig = struct<NetworkAttachmentConfig>('NetworkAttachmentConfig', {
  target: field('Target', text),
  aliases: field('Aliases', strings),
  driverOpts: field('DriverOpts', opt(labels)),
});

type Resources = NonNullable<TaskSpec['resources']>;

const resources = struct<Resources>('ResourceRequirements', {
  limits: field(
    'Limits',
    ptr(
      struct<NonNullable<Resources['limits']>>('Limit', {
        nanoCpus: field('NanoCPUs', int64),
        memoryBytes: field('MemoryBytes', int64),
        pids: field('Pids', int64, 41),
      }),
    ),
  ),
  reservations: field(
    'Reservations',
    ptr(
      struct<NonNullable<Resources['reservations']>>('Resources', {
        nanoCpus: field('NanoCPUs', int64),
        memoryBytes: field('MemoryBytes', int64),
        genericResources: field('GenericResources', reservedResources),
      }),
    ),
  ),
});

const restartPolicy = struct<RestartPolicy>('RestartPolicy', {
  condition: field(
    'Condition',
    choice({
      go: 'swarm.RestartPolicyCondition',
      values: ['none', 'on-failure', 'any'],
      absent: 'any',
      refuse: (word) => `invalid RestartCondition: "${word}"`,
    }),
  ),
  delayNs: field('Delay', ptr(duration)),
  maxAttempts: always('MaxAttempts', uint64),
  windowNs: field('Window', duration),
});

const placement = struct<Placement>('Placement', {
  constraints: field('Constraints', strings),
  preferences: field(
    'Preferences',
    list(
      struct<Placement['preferences'][number]>(
        'PlacementPreference',
        { spreadDescriptor: field('Spread.SpreadDescriptor', text) },
        { inner: { Spread: 'SpreadOver' } },
      ),
    ),
  ),
  maxReplicas: field('MaxReplicas', uint64, 40),
  platforms: field(
    'Platforms',
    list(
      struct<Placement['platforms'][number]>('Platform', {
        architecture: field('Architecture', text),
        os: field('OS', text),
      }),
    ),
  ),
});

/** A task template as sent: the runtime decides which of the specs must be there. */
type SentTaskSpec = Omit<TaskSpec, 'container' | 'networkAttachment'> & {
  readonly container?: ContainerSpec;
  readonly pluginSpec?: object;
  readonly networkAttachment?: Pick<NetworkAttachmentSpec, 'containerId'>;
};

const zeroContainer = containerSpec.zero();

/** Runtime is checked here: only container services exist, and they need a ContainerSpec. */
export const taskSpec: Codec<TaskSpec> = via<SentTaskSpec, TaskSpec>(
  struct<SentTaskSpec>(
    'TaskSpec',
    {
      container: field('ContainerSpec', ptr(containerSpec)),
      // Shown of attachments, which no user makes as such.
      networkAttachment: field(
        'NetworkAttachmentSpec',
        ptr(
          struct<Pick<NetworkAttachmentSpec, 'containerId'>>('NetworkAttachmentSpec', {
            containerId: field('ContainerID', text),
          }),
        ),
      ),
      pluginSpec: field('PluginSpec', ptr(struct<object>('PluginSpec', {}, { package: 'runtime' }))),
      resources: field('Resources', ptr(resources)),
      restartPolicy: field('RestartPolicy', ptr(restartPolicy)),
      placement: field('Placement', ptr(placement)),
      networks: field('Networks', opt(list(networkAttachmentConfig))),
      logDriver: field('LogDriver', ptr(logDriver)),
      forceUpdate: always('ForceUpdate', uint64),
      runtime: field('Runtime', opt(text)),
    },
    {},
  ),
  // What is not this runtime's is passed over.
  ({ container, pluginSpec, networkAttachment: _, runtime = 'container', ...rest }, at) => {
    if (runtime === 'plugin' && pluginSpec !== undefined && container === undefined)
      at.refuse(new SkepError('unimplemented', 'plugin services are not supported'));
    else if (runtime !== 'container' && runtime !== 'plugin')
      at.refuse(new SkepError('invalidArgument', 'unsupported runtime'));
    else if (runtime === 'plugin' || container === undefined)
      at.refuse(new SkepError('invalidArgument', 'mismatched Runtime and *Spec fields'));
    return { container: container ?? zeroContainer, ...rest };
  },
  ({ container, networkAttachment, ...spec }) =>
    networkAttachment ? { ...spec, networkAttachment } : { ...spec, container },
);

interface SentMode {
  readonly replicated?: { readonly replicas?: number };
  readonly global?: object;
  readonly replicatedJob?: { readonly maxConcurrent?: number; readonly totalCompletions?: number };
  readonly globalJob?: object;
}

const serviceMode: Codec<ServiceMode> = via(
  struct<SentMode>('ServiceMode', {
    replicated: field(
      'Replicated',
      ptr(
        struct<NonNullable<SentMode['replicated']>>('ReplicatedService', {
          replicas: field('Replicas', ptr(uint64)),
        }),
      ),
    ),
    global: field('Global', ptr(struct<object>('GlobalService', {}))),
    replicatedJob: field(
      'ReplicatedJob',
      ptr(
        struct<NonNullable<SentMode['replicatedJob']>>('ReplicatedJob', {
          maxConcurrent: field('MaxConcurrent', ptr(uint64)),
          totalCompletions: field('TotalCompletions', ptr(uint64)),
        }),
      ),
      41,
    ),
    globalJob: field('GlobalJob', ptr(struct<object>('GlobalJob', {})), 41),
  }),
  (sent, at) => {
    if (Object.keys(sent).length > 1)
      at.refuse(new SkepError('invalidArgument', 'must specify only one service mode'));
    if (sent.global) return { kind: 'global' };
    if (sent.globalJob) return { kind: 'global-job' };
    if (sent.replicatedJob) {
      const maxConcurrent = sent.replicatedJob.maxConcurrent ?? 1;
      const totalCompletions = sent.replicatedJob.totalCompletions ?? maxConcurrent;
      return { kind: 'replicated-job', maxConcurrent, totalCompletions };
    }
    return { kind: 'replicated', replicas: sent.replicated?.replicas ?? 1 };
  },
  (mode): SentMode => {
    switch (mode.kind) {
      case 'replicated':
        return { replicated: { replicas: mode.replicas } };
      case 'global':
        return { global: {} };
      case 'replicated-job':
        return {
          replicatedJob: { maxConcurrent: mode.maxConcurrent, totalCompletions: mode.totalCompletions },
        };
      case 'global-job':
        return { globalJob: {} };
    }
  },
);

const updateConfig = struct<UpdateConfig>('UpdateConfig', {
  parallelism: always('Parallelism', uint64),
  delayNs: field('Delay', duration),
  failureAction: field(
    'FailureAction',
    choice({
      go: 'string',
      values: ['pause', 'continue', 'rollback'],
      absent: 'pause',
      refuse: (word) => `unrecognized update failure action ${word}`,
    }),
  ),
  monitorNs: field('Monitor', duration),
  maxFailureRatio: always('MaxFailureRatio', float32),
  order: always(
    'Order',
    choice({
      go: 'string',
      values: ['stop-first', 'start-first'],
      absent: 'stop-first',
      refuse: (word) => `unrecognized update order ${word}`,
    }),
  ),
});

/** dockerd takes an unknown protocol or publish mode as the default, without a word. */
export const portConfig = struct<PortConfig>('PortConfig', {
  name: field('Name', opt(text)),
  protocol: field(
    'Protocol',
    choice({ go: 'swarm.PortConfigProtocol', values: ['tcp', 'udp', 'sctp'], absent: 'tcp' }),
  ),
  targetPort: field('TargetPort', uint32),
  publishedPort: field('PublishedPort', opt(uint32)),
  publishMode: field(
    'PublishMode',
    choice({ go: 'swarm.PortConfigPublishMode', values: ['ingress', 'host'], absent: 'ingress' }),
  ),
});

export const endpointSpec = struct<EndpointSpec>('EndpointSpec', {
  mode: field(
    'Mode',
    choice({
      go: 'swarm.ResolutionMode',
      values: ['vip', 'dnsrr'],
      absent: 'vip',
      refuse: (word) => `invalid resolution mode: "${word}"`,
    }),
  ),
  ports: field('Ports', list(portConfig)),
});

export const serviceSpec = struct<ServiceSpec>('ServiceSpec', {
  name: field('Name', text),
  labels: always('Labels', labels),
  // Services show the runtime even when it was not sent; tasks do not.
  taskTemplate: always(
    'TaskTemplate',
    via(
      taskSpec,
      (spec) => spec,
      (spec) => ({ ...spec, runtime: 'container' }),
    ),
  ),
  mode: always('Mode', serviceMode),
  updateConfig: field('UpdateConfig', ptr(updateConfig)),
  rollbackConfig: field('RollbackConfig', ptr(updateConfig)),
  networks: field('Networks', opt(list(networkAttachmentConfig))),
  endpointSpec: field('EndpointSpec', ptr(endpointSpec)),
});
