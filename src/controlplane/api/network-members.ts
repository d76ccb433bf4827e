/**
 * Who is on a network of the swarm: `Peers` and, with `verbose`, `Services` of `GET /networks/{id}`. Swarm tells what this node has
 * heard by gossip, and nothing where it has no part in the network; a manager here knows it of the whole cluster. The engine's id of
 * an endpoint is known of this node's alone; of others it stays empty.
 */
import { parseCidr } from '../../model/addresses.js';
import { isAttachment, shortContainerId } from '../../model/attachments.js';
import type { NodeId } from '../../model/ids.js';
import { subnetAround } from '../../model/network-subnets.js';
import { taskName } from '../../model/objects.js';
import type { Network, Node, Service, Task } from '../../model/objects.js';
import { vipMark } from '../../dataplane/state.js';
import type { View } from '../store/store.js';
import type { EngineNetwork } from './network-lookup.js';

/** libnetwork's PeerInfo. */
export interface PeerInfo {
  readonly Name: string;
  readonly IP: string;
}

/** libnetwork's ServiceInfo. */
export interface ServiceInfo {
  readonly VIP: string;
  readonly Ports: readonly string[];
  /** The firewall mark of the VIP in the network's namespace; 0: there is none. */
  readonly LocalLBIndex: number;
  readonly Tasks: readonly MemberTask[];
}

interface MemberTask {
  readonly Name: string;
  readonly EndpointID: string;
  readonly EndpointIP: string;
  readonly Info: { readonly 'Host IP': string };
}

/** How Go prints an address that is none. */
const noVip = '<nil>';
/** As many digits as a node has in Swarm's gossip. */
const peerNameLength = 12;

const hostIp = ({ dataPathAddr, status }: Node): string => dataPathAddr ?? status.addr;

/** The nodes that take part in the network; of one that is each node's own, those that have a task on it. */
export const peersOf = (view: View, { id }: Network): readonly PeerInfo[] =>
  view
    .list('node')
    .filter(
      (node) =>
        node.attachments.some(({ networkId }) => networkId === id) ||
        view
          .tasksOnNode(node.id)
          .some(
            ({ status, nodeNetworks = [] }) =>
              status.state === 'running' && nodeNetworks.some(({ networkId }) => networkId === id),
          ),
    )
    .map((node) => ({ Name: node.id.slice(0, peerNameLength), IP: hostIp(node) }));

/**
 * By the service's name, each with its tasks that take flows; what belongs to no service stands under the empty name.
 * @param local the network as this node's engine has it, for the ids of its endpoints
 */
export function servicesOf(
  view: View,
  network: Network,
  local: EngineNetwork | undefined,
): Readonly<Record<string, ServiceInfo>> {
  const endpointIds = new Map(
    Object.entries(local?.Containers ?? {}).map(([id, endpoint]) => [
      id,
      (endpoint as { EndpointID?: string } | null)?.EndpointID ?? '',
    ]),
  );
  const byService = new Map<string, Task[]>();
  for (const task of view.list('task')) {
    const isOn = task.networks.some(({ networkId }) => networkId === network.id);
    if (!isOn || task.status.state !== 'running' || task.status.draining) continue;
    const name = isAttachment(task) ? '' : task.serviceName;
    byService.set(name, [...(byService.get(name) ?? []), task]);
  }
  const own = byService.get('') ?? [];
  byService.delete('');
  const nobodys = [
    ...meshEndpoints(view, network),
    ...own.map((task) => memberOf(view, network, task, endpointIds)),
  ];
  const nameless = nobodys.length === 0 ? [] : [['', { ...withoutVip, Tasks: nobodys }] as const];
  const services = [...byService]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, tasks]) => {
      const [first] = tasks;
      const service = first && view.get('service', first.serviceId);
      const members = tasks
        .sort((a, b) => (a.slot ?? 0) - (b.slot ?? 0) || (a.id < b.id ? -1 : 1))
        .map((task) => memberOf(view, network, task, endpointIds));
      return [name, { ...frontOf(network, service), Tasks: members }] as const;
    });
  return Object.fromEntries([...nameless, ...services]);
}

const withoutVip = { VIP: noVip, Ports: [], LocalLBIndex: 0 } as const;

/** What clients call the service by on this network. */
function frontOf(
  { id, spec, allocation }: Network,
  service: Service | undefined,
): Omit<ServiceInfo, 'Tasks'> {
  const vip = service?.endpoint?.virtualIps.find(({ networkId }) => networkId === id);
  if (!vip) return withoutVip;
  const ports = spec.ingress
    ? (service?.endpoint?.ports ?? [])
        .filter(({ publishMode }) => publishMode === 'ingress')
        .map(({ targetPort, publishedPort }) => `Target: ${targetPort}, Publish: ${publishedPort}`)
    : [];
  const mark = allocation ? vipMark(allocation, vip.address) : 0;
  return { VIP: vip.address, Ports: ports, LocalLBIndex: mark };
}

function memberOf(
  view: View,
  { id }: Network,
  task: Task,
  endpointIds: ReadonlyMap<string, string>,
): MemberTask {
  const attached = task.spec.networkAttachment;
  const containerId = attached?.containerId ?? task.status.container?.containerId ?? '';
  const node = task.nodeId && view.get('node', task.nodeId);
  return {
    Name: attached ? attached.containerName || shortContainerId(attached.containerId) : taskName(task),
    EndpointID: endpointIds.get(containerId) ?? '',
    EndpointIP: task.networks.find(({ networkId }) => networkId === id)?.address ?? '',
    Info: { 'Host IP': node ? hostIp(node) : '' },
  };
}

/** libnetwork's EndpointResource. */
export interface EndpointResource {
  readonly Name: string;
  readonly EndpointID: string;
  readonly MacAddress: string;
  readonly IPv4Address: string;
  readonly IPv6Address: string;
}

/**
 * The asked node's end of the routing mesh as Swarm shows it among the containers of the ingress network; empty where there is none.
 * No engine's endpoint stands for it, so that it has no id.
 */
export function meshSandboxOf(
  view: View,
  { id, spec, allocation }: Network,
  nodeId: NodeId,
): Readonly<Record<string, EndpointResource>> {
  const own = view.get('node', nodeId)?.attachments.find(({ networkId }) => networkId === id);
  if (!spec.ingress || !allocation || !own) return {};
  const { subnet } = subnetAround(allocation, own.address) ?? allocation;
  const { family, prefixLength } = parseCidr(subnet);
  const address = `${own.address}/${prefixLength}`;
  return {
    [`${spec.name}-sbox`]: {
      Name: `${spec.name}-endpoint`,
      EndpointID: '',
      MacAddress: own.mac,
      IPv4Address: family === 4 ? address : '',
      IPv6Address: family === 6 ? address : '',
    },
  };
}

/** The nodes' own ends of the routing mesh. */
const meshEndpoints = (view: View, { id, spec }: Network): readonly MemberTask[] =>
  spec.ingress
    ? view.list('node').flatMap((node) =>
        node.attachments
          .filter(({ networkId }) => networkId === id)
          .map(({ address }) => ({
            Name: `${spec.name}-endpoint`,
            EndpointID: '',
            EndpointIP: address,
            Info: { 'Host IP': hostIp(node) },
          })),
      )
    : [];
