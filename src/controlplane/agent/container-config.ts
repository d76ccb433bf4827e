/**
 * A task as the engine's create request (semantics 13.1). Pure. The networks of the user's are there before the process
 * starts. Ingress, where it is not the only one, is connected right after: a 20.10 engine numbers the interfaces of a
 * start by the networks' names, and the user's overlay must be eth0 and docker_gwbridge eth1 whatever they are called.
 * A server does not miss it, for nothing is sent to the task before all its sandboxes are programmed.
 */
import type Docker from 'dockerode';
import type { ConfigNetwork } from '../dockerd/client.js';
import { ipamConfigOf } from '../dockerd/ipam-config.js';
import { engineNetworkOf } from '../../model/engine-networks.js';
import { SkepError } from '../../model/errors.js';
import { resourceEnvironment } from '../../model/generic-resources.js';
import { hostAccess } from '../../model/host-access.js';
import type { HostAccess } from '../../model/host-access.js';
import { vniOptionName } from '../../model/network-options.js';
import { configNetworkLabel } from '../../model/node-networks.js';
import type { NodeNetworkAttachment } from '../../model/objects.js';
import type { NetworkAttachment, Task } from '../../model/objects.js';
import { taskName } from '../../model/objects.js';
import type { ContainerSpec, Mount, PortConfig, Privileges } from '../../model/service-spec.js';
import { taskLabels } from '../../model/task-labels.js';
import type { AssignmentItems } from '../rpc/assignment.js';
import type { PayloadMount } from './task-payloads.js';

/** Swarm's default of `stopGracePeriod`. */
const graceNsDefault = 10e9;

/** A task's leg on one overlay. */
export interface Leg {
  readonly attachment: NetworkAttachment;
  readonly overlay: AssignmentItems['overlay'];
}

/** `network` is the engine's name of it. */
export interface Connection {
  readonly network: string;
  readonly endpoint: Docker.EndpointSettings;
}

export interface ContainerPlan {
  readonly create: Docker.ContainerCreateOptions;
  /** To connect after creation. */
  readonly connect: readonly Connection[];
  /** To connect after the start. */
  readonly connectStarted: readonly Connection[];
  /** Volumes to create before, because they have labels or a driver. */
  readonly volumes: readonly Docker.VolumeCreateOptions[];
}

/**
 * `spec` is the task's container spec with its placeholders expanded, `payloads` its secrets and configs as files. Throws `invalidArgument` for what the engine
 * would accept and Swarm does not.
 */
export function planContainer(
  task: Task,
  spec: ContainerSpec,
  legs: readonly Leg[],
  payloads: readonly PayloadMount[] = [],
): ContainerPlan {
  const ordered = orderLegs(legs);
  // Ingress last: in the order in which a container is connected.
  const connections = [
    ...ordered.filter(({ overlay }) => !overlay.ingress).map(toConnection),
    ...(task.nodeNetworks ?? []).map((attachment) => toNodeConnection(task, attachment)),
  ];
  const ofIngress = ordered.filter(({ overlay }) => overlay.ingress).map(toConnection);
  const [first, ...others] = connections.length > 0 ? connections : ofIngress;
  checkSpec(spec);
  const { limits } = task.spec.resources ?? {};
  const { healthcheck } = spec;
  const hostPorts = task.endpointSpec?.ports.filter(({ publishMode }) => publishMode === 'host') ?? [];
  const nameservers = dnsServers(legs, spec);
  const networkMode = engineNetworkOf(task.spec.networks) ?? first?.network;
  const access = hostAccess(task.serviceLabels);
  const create: Docker.ContainerCreateOptions = {
    name: taskName(task),
    Image: withTag(spec.image),
    ...(spec.command.length > 0 && { Entrypoint: [...spec.command] }),
    ...((spec.command.length > 0 || spec.args.length > 0) && { Cmd: [...spec.args] }),
    Env: [...spec.env, ...resourceEnvironment(task.assignedGenericResources ?? [])],
    Labels: containerLabels(task, spec),
    ...(spec.hostname !== undefined && { Hostname: spec.hostname }),
    ...(spec.dir !== undefined && { WorkingDir: spec.dir }),
    ...(spec.user !== undefined && { User: spec.user }),
    Tty: spec.tty,
    OpenStdin: spec.openStdin,
    ...(spec.stopSignal !== undefined && { StopSignal: spec.stopSignal }),
    ...(healthcheck && {
      Healthcheck: {
        Test: [...healthcheck.test],
        Interval: healthcheck.intervalNs,
        Timeout: healthcheck.timeoutNs,
        StartPeriod: healthcheck.startPeriodNs,
        Retries: healthcheck.retries,
        ...(healthcheck.startIntervalNs > 0 && { StartInterval: healthcheck.startIntervalNs }),
      },
    }),
    ExposedPorts: Object.fromEntries(hostPorts.map((port) => [`${port.targetPort}/${port.protocol}`, {}])),
    HostConfig: {
      ...(networkMode !== undefined && { NetworkMode: networkMode }),
      PortBindings: portBindings(hostPorts),
      Mounts: [...spec.mounts.map(toMount), ...payloads.map(toReadOnlyBind)],
      GroupAdd: listOrNothing(spec.groups),
      ReadonlyRootfs: spec.readOnly,
      ...(spec.init !== undefined && { Init: spec.init }),
      // The only one that Linux has; Swarm says so, too.
      Isolation: 'default',
      Sysctls: { ...spec.sysctls },
      SecurityOpt: listOrNothing(securityOptions(spec.privileges)),
      CapAdd: listOrNothing(spec.capabilityAdd),
      CapDrop: listOrNothing(spec.capabilityDrop),
      Ulimits: spec.ulimits.map(({ name, soft, hard }) => ({ Name: name, Soft: soft, Hard: hard })),
      ...(spec.oomScoreAdj !== undefined && { OomScoreAdj: spec.oomScoreAdj }),
      ...(nameservers.length > 0 && { Dns: nameservers }),
      DnsSearch: listOrNothing(spec.dnsConfig?.search),
      DnsOptions: listOrNothing(spec.dnsConfig?.options),
      ExtraHosts: listOrNothing(spec.hosts.flatMap(extraHost)),
      ...(access && hostAccessSettings(access)),
      // Limits only: reservations are the scheduler's business.
      ...(limits && limits.memoryBytes > 0 && { Memory: limits.memoryBytes }),
      ...(limits && limits.nanoCpus > 0 && { NanoCpus: limits.nanoCpus }),
      ...(limits && limits.pids > 0 && { PidsLimit: limits.pids }),
      ...(task.logDriver && {
        LogConfig: { Type: task.logDriver.name, Config: { ...task.logDriver.options } },
      }),
    },
    ...(first && {
      NetworkingConfig: { EndpointsConfig: { [first.network]: first.endpoint } },
    }),
  };
  return {
    create,
    connect: others,
    connectStarted: connections.length > 0 ? ofIngress : [],
    volumes: spec.mounts.flatMap(toVolume),
  };
}

/** Swarm's agent says nothing of a list with nothing in it: the engine then shows it as null. */
const listOrNothing = (texts: readonly string[] | undefined): string[] | undefined =>
  texts === undefined || texts.length === 0 ? undefined : [...texts];

/** What no field of a service says. */
const hostAccessSettings = ({ devices, privileged, shmSizeBytes }: HostAccess): Docker.HostConfig => ({
  ...(devices.length > 0 && {
    Devices: devices.map(({ pathOnHost, pathInContainer, permissions }) => ({
      PathOnHost: pathOnHost,
      PathInContainer: pathInContainer,
      CgroupPermissions: permissions,
    })),
  }),
  ...(privileged && { Privileged: true }),
  ...(shmSizeBytes !== undefined && { ShmSize: shmSizeBytes }),
});

/** A target port may be published more than once. Without a number the engine chooses one. */
function portBindings(ports: readonly PortConfig[]): Record<string, { readonly HostPort: string }[]> {
  const bindings: Record<string, { readonly HostPort: string }[]> = {};
  for (const { targetPort, protocol, publishedPort } of ports)
    (bindings[`${targetPort}/${protocol}`] ??= []).push({
      HostPort: publishedPort ? String(publishedPort) : '',
    });
  return bindings;
}

/** In seconds, as the engine takes it; rounded up so that a short grace is not none. */
export const stopGraceSeconds = (spec: Pick<ContainerSpec, 'stopGracePeriodNs'>): number =>
  Math.ceil((spec.stopGracePeriodNs ?? graceNsDefault) / 1e9);

/** In the order in which the container is connected: ingress comes last. */
export const orderLegs = (legs: readonly Leg[]): Leg[] => [
  ...legs.filter(({ overlay }) => !overlay.ingress),
  ...legs.filter(({ overlay }) => overlay.ingress),
];

/**
 * The engine's embedded resolver asks these from inside the sandbox: skep-dataplane's DNS at this node's own address of
 * each overlay, which forwards what is not the cluster's. The user's own servers come after, for when it is away.
 */
const dnsServers = (legs: readonly Leg[], spec: ContainerSpec): string[] => [
  ...orderLegs(legs).map(({ overlay }) => overlay.ownAddress),
  ...(spec.dnsConfig?.nameservers ?? []),
];

/** How the engine is asked to connect the task's container there. */
export const toConnection = (leg: Leg): Connection => ({
  network: leg.overlay.name,
  endpoint: endpointSettings(leg),
});

/** The engine gives the address, and tells the node's other containers there what the service is called. */
const toNodeConnection = ({ serviceName }: Task, { spec, aliases }: NodeNetworkAttachment): Connection => ({
  network: spec.name,
  endpoint: { Aliases: [...new Set([serviceName, `tasks.${serviceName}`, ...aliases])] },
});

const endpointSettings = ({ attachment }: Leg): Docker.EndpointSettings => ({
  IPAMConfig: ipamConfigOf(attachment.address),
});

function containerLabels(task: Task, spec: ContainerSpec): Record<string, string> {
  return {
    ...spec.labels,
    [taskLabels.task]: '',
    [taskLabels.taskId]: task.id,
    [taskLabels.taskName]: taskName(task),
    [taskLabels.nodeId]: task.nodeId ?? '',
    [taskLabels.serviceId]: task.serviceId,
    [taskLabels.serviceName]: task.serviceName,
  };
}

function checkSpec({ image, mounts }: ContainerSpec): void {
  const refuse = (text: string): never => {
    throw new SkepError('invalidArgument', text);
  };
  if (image === '') refuse('dockerexec: image required');
  for (const { target, type, source } of mounts) {
    if (!target.startsWith('/')) refuse(`invalid mount target, must be an absolute path: ${target}`);
    if (type === 'bind' && !source.startsWith('/'))
      refuse(`invalid bind mount source, must be an absolute path: ${source}`);
    if (type === 'volume' && source.startsWith('/'))
      refuse(`invalid volume mount source, must not be an absolute path: ${source}`);
    if (type === 'tmpfs' && source !== '') refuse('invalid tmpfs source, source must be empty');
  }
}

/** `:latest` where neither tag nor digest is given. */
export const withTag = (image: string): string =>
  image.includes('@') || /:[^/]*$/.test(image) || /^[0-9a-f]{64}$/.test(image) ? image : `${image}:latest`;

/** In Swarm's order. */
function securityOptions(privileges: Privileges | undefined): string[] {
  if (!privileges) return [];
  const { seLinuxContext: context, seccomp, appArmor, noNewPrivileges } = privileges;
  const label = (name: string, value: string): string[] => (value === '' ? [] : [`label=${name}:${value}`]);
  return [
    ...(context?.disable ? ['label=disable'] : []),
    ...(context
      ? [
          ...label('user', context.user),
          ...label('role', context.role),
          ...label('level', context.level),
          ...label('type', context.type),
        ]
      : []),
    ...(seccomp?.mode === 'unconfined' ? ['seccomp=unconfined'] : []),
    ...(seccomp?.mode === 'custom' ? [`seccomp=${Buffer.from(seccomp.profile, 'base64').toString()}`] : []),
    ...(appArmor?.mode === 'disabled' ? ['apparmor=unconfined'] : []),
    ...(noNewPrivileges ? ['no-new-privileges=true'] : []),
  ];
}

function extraHost(entry: string): string[] {
  const [address, host] = entry.trim().split(/\s+/);
  return address && host ? [`${host}:${address}`] : [];
}

function toMount(mount: Mount): Docker.MountSettings {
  const { bindOptions, volumeOptions, tmpfsOptions } = mount;
  const settings = {
    Type: mount.type,
    Source: mount.source,
    Target: mount.target,
    ReadOnly: mount.readOnly,
    ...(bindOptions && {
      BindOptions: {
        ...(bindOptions.propagation !== undefined && { Propagation: bindOptions.propagation }),
        ...(bindOptions.nonRecursive !== undefined && { NonRecursive: bindOptions.nonRecursive }),
        ...(bindOptions.createMountpoint !== undefined && {
          CreateMountpoint: bindOptions.createMountpoint,
        }),
        ...(bindOptions.readOnlyNonRecursive && { ReadOnlyNonRecursive: true }),
        ...(bindOptions.readOnlyForceRecursive && { ReadOnlyForceRecursive: true }),
      },
    }),
    ...(volumeOptions && {
      VolumeOptions: {
        NoCopy: volumeOptions.noCopy ?? false,
        Labels: { ...volumeOptions.labels },
        ...(volumeOptions.subpath !== undefined && { Subpath: volumeOptions.subpath }),
        ...(volumeOptions.driverConfig && {
          DriverConfig: {
            Name: volumeOptions.driverConfig.name,
            Options: { ...volumeOptions.driverConfig.options },
          },
        }),
      },
    }),
    ...(tmpfsOptions && {
      TmpfsOptions: {
        ...(tmpfsOptions.sizeBytes !== undefined && { SizeBytes: tmpfsOptions.sizeBytes }),
        ...(tmpfsOptions.mode !== undefined && { Mode: tmpfsOptions.mode }),
        ...(tmpfsOptions.options && { Options: tmpfsOptions.options }),
      },
    }),
  };
  return settings as Docker.MountSettings;
}

const toReadOnlyBind = ({ source, target }: PayloadMount): Docker.MountSettings => ({
  Type: 'bind',
  Source: source,
  Target: target,
  ReadOnly: true,
});

function toVolume({ type, source, volumeOptions }: Mount): Docker.VolumeCreateOptions[] {
  if (type !== 'volume' || source === '' || !volumeOptions) return [];
  const { labels, driverConfig } = volumeOptions;
  return [
    {
      Name: source,
      Labels: { ...labels },
      ...(driverConfig && { Driver: driverConfig.name, DriverOpts: { ...driverConfig.options } }),
    },
  ];
}

/** What a node's engine makes of a network that is each node's own, with the settings of the configuration that it names, if any. */
export const nodeLocalNetwork = (
  { networkId, spec }: NodeNetworkAttachment,
  config: ConfigNetwork | undefined,
): Docker.NetworkCreateOptions => ({
  Name: spec.name,
  CheckDuplicate: true,
  Driver: spec.driver,
  Internal: spec.internal,
  Attachable: spec.attachable,
  EnableIPv6: config?.enableIpv6 ?? spec.ipv6,
  Labels: {
    ...config?.labels,
    ...spec.labels,
    [overlayIdOption]: networkId,
    ...(config && { [configNetworkLabel]: config.name }),
  },
  Options: { ...(config?.options ?? spec.driverOptions) },
  IPAM: config?.ipam ?? {
    Driver: spec.ipam.driver || 'default',
    Options: { ...spec.ipam.options },
    Config: spec.ipam.configs.map(({ subnet, range, gateway, auxiliaryAddresses }) => ({
      ...(subnet !== '' && { Subnet: subnet }),
      ...(range !== undefined && { IPRange: range }),
      ...(gateway !== undefined && { Gateway: gateway }),
      ...(auxiliaryAddresses && { AuxiliaryAddresses: auxiliaryAddresses }),
    })),
  },
});

/** The option by which the `skep` network driver knows the overlay. */
export const overlayIdOption = 'skep.network.id';

/** The node-local network that stands for an overlay in the engine. */
export const localNetwork = (overlay: AssignmentItems['overlay']): Docker.NetworkCreateOptions => ({
  Name: overlay.name,
  CheckDuplicate: true,
  Driver: 'skep',
  Internal: overlay.internal,
  // Containers that users run may not join what was not made attachable; the agent's own connect by the same call,
  // so the engine cannot tell them apart and the API front refuses.
  Attachable: overlay.attachable,
  Labels: { ...overlay.labels, [overlayIdOption]: overlay.id },
  Options: { ...overlay.driverOptions, [vniOptionName]: String(overlay.vni), [overlayIdOption]: overlay.id },
  IPAM: {
    Driver: 'skep',
    Config: [overlay, ...(overlay.furtherSubnets ?? [])].map(({ subnet, gateway }) => ({
      Subnet: subnet,
      Gateway: gateway,
    })),
  },
});
