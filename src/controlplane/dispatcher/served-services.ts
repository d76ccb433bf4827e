/**
 * The services that nodes have to know, and by what each is reached: all there are, with what they hold, and beyond that what
 * tasks that have not ended are still reached by: the ports and virtual IPs of a service that was removed, a port that an
 * update took away. No flow of theirs may end before they have. Whatever a service holds now goes before what another held.
 */
import type { NetworkId, ServiceId } from '../../model/ids.js';
import type { AllocatedPort, Service, Task } from '../../model/objects.js';
import type { Labels } from '../../model/service-spec.js';
import { mayRun } from '../../model/task-state.js';
import type { View } from '../store/store.js';

export interface ServedNetwork {
  readonly overlayId: NetworkId;
  readonly aliases: readonly string[];
  /** Empty for none. */
  readonly vip: string;
}

export interface ServedService {
  readonly id: ServiceId;
  readonly name: string;
  readonly labels: Labels;
  readonly networks: readonly ServedNetwork[];
  /** Of the routing mesh alone. */
  readonly ports: readonly AllocatedPort[];
}

interface Serving extends ServedService {
  readonly networks: ServedNetwork[];
  readonly ports: AllocatedPort[];
}

export function servedServices(view: View): readonly ServedService[] {
  const services = new Map<ServiceId, Serving>();
  const taken = new Set<string>();
  for (const service of view.list('service')) {
    const { id, spec, endpoint } = service;
    const networks = networksOf(service);
    const ports = (endpoint?.ports ?? []).filter(isOfMesh);
    services.set(id, { id, name: spec.name, labels: spec.labels, networks, ports });
    for (const port of ports) taken.add(portKey(port));
    for (const { overlayId, aliases, vip } of networks) {
      if (vip !== '') taken.add(vipKey(overlayId, vip));
      for (const name of [spec.name, ...aliases]) taken.add(nameKey(overlayId, name));
    }
  }
  for (const task of view.list('task'))
    if (task.endpoint && mayRun(task.status.state)) addLeft(services, taken, task);
  return [...services.values()];
}

/** What the task is still reached by, and nobody holds any more. */
function addLeft(services: Map<ServiceId, Serving>, taken: Set<string>, task: Task): void {
  const { serviceId, serviceName, serviceLabels, networks, endpoint } = task;
  const service = services.get(serviceId) ?? {
    id: serviceId,
    // Two of one name would be answered as one; nobody asks for an id.
    name: networks.some(({ networkId }) => taken.has(nameKey(networkId, serviceName)))
      ? serviceId
      : serviceName,
    labels: serviceLabels,
    networks: [],
    ports: [],
  };
  for (const { networkId: overlayId, address } of endpoint?.virtualIps ?? []) {
    if (service.networks.some((network) => network.overlayId === overlayId)) continue;
    if (taken.has(vipKey(overlayId, address))) continue;
    taken.add(vipKey(overlayId, address));
    // What else it was called may be somebody else's name, who serves.
    service.networks.push({ overlayId, aliases: [], vip: address });
  }
  for (const port of endpoint?.ports ?? []) {
    if (!isOfMesh(port) || taken.has(portKey(port))) continue;
    taken.add(portKey(port));
    service.ports.push(port);
  }
  if (service.networks.length > 0 || service.ports.length > 0) services.set(serviceId, service);
}

/**
 * Where the ports that its service is reached by lead to at this task, as far as that is somewhere else: an update that changes
 * ports makes new tasks, and each keeps what its service held when it was allocated. Target 0: the task has not got the port.
 */
export function targetPorts(
  { endpoint }: Task,
  served: readonly AllocatedPort[],
): Pick<AllocatedPort, 'protocol' | 'publishedPort' | 'targetPort'>[] {
  if (!endpoint) return [];
  const own = new Map(endpoint.ports.filter(isOfMesh).map((port) => [portKey(port), port.targetPort]));
  return served.flatMap((port) => {
    const targetPort = own.get(portKey(port)) ?? 0;
    if (targetPort === port.targetPort) return [];
    return [{ protocol: port.protocol, publishedPort: port.publishedPort, targetPort }];
  });
}

/** The networks a service is known on: those of its spec, and ingress where it has a VIP there. */
function networksOf(service: Service): ServedNetwork[] {
  const vips = new Map(
    service.endpoint?.virtualIps.map(({ networkId, address }) => [networkId, address] as const),
  );
  const attachments = service.spec.taskTemplate.networks ?? service.spec.networks ?? [];
  const aliasesOf = new Map(
    attachments.map(({ target, aliases }) => [target as NetworkId, aliases] as const),
  );
  return [...new Set([...vips.keys(), ...aliasesOf.keys()])].map((overlayId) => ({
    overlayId,
    aliases: aliasesOf.get(overlayId) ?? [],
    vip: vips.get(overlayId) ?? '',
  }));
}

/** Whether the task is reached by nothing but what its service is reached by, which needs no look at any task. */
export function isServedAlike(task: Task, view: View): boolean {
  const { endpoint, serviceId } = task;
  if (!endpoint || !mayRun(task.status.state)) return true;
  const service = view.get('service', serviceId);
  if (service === undefined) return endpoint.virtualIps.length + endpoint.ports.filter(isOfMesh).length === 0;
  const networks = new Set(networksOf(service).map(({ overlayId }) => overlayId));
  const ports = new Set(service.endpoint?.ports.filter(isOfMesh).map(portKey));
  return (
    endpoint.virtualIps.every(({ networkId }) => networks.has(networkId)) &&
    endpoint.ports.every((port) => !isOfMesh(port) || ports.has(portKey(port)))
  );
}

const isOfMesh = ({ publishMode }: AllocatedPort): boolean => publishMode === 'ingress';
const portKey = ({ protocol, publishedPort }: AllocatedPort): string => `port ${protocol}/${publishedPort}`;
const vipKey = (overlayId: NetworkId, vip: string): string => `vip ${overlayId} ${vip}`;
const nameKey = (overlayId: NetworkId, name: string): string => `name ${overlayId} ${name.toLowerCase()}`;
