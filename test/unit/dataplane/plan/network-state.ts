/** Builders of small clusters, as each of their nodes sees them: a test names what matters and takes the rest as given. */
import type { Cidr, Ip, Mac } from '../../../../src/model/addresses.js';
import type { Scheduler } from '../../../../src/model/balancing.js';
import type { NetworkId, NodeId, ServiceId, TaskId, Vni } from '../../../../src/model/ids.js';
import { SecretBytes } from '../../../../src/model/secret-bytes.js';
import type { ebpfPlan } from '../../../../src/dataplane/plan/ebpf.js';
import type { KernelObject } from '../../../../src/dataplane/plan/objects.js';
import type { SandboxEndpoint } from '../../../../src/dataplane/sandbox.js';
import type {
  Endpoint,
  NodeNetworkState,
  Overlay,
  OverlayService,
  PublishedPort,
  TargetPort,
} from '../../../../src/dataplane/state.js';
import { defaultAliasRanges } from '../../../../src/model/network-laws.js';

export interface TaskOf {
  /** Last octet of its addresses; also names it. */
  readonly part: number;
  readonly node: number;
  readonly service?: string;
  readonly serving?: boolean;
  readonly weight?: number;
  readonly targetPorts?: readonly TargetPort[];
  /** Its node is. */
  readonly silent?: true;
}

export interface ClusterOf {
  readonly revision?: number;
  readonly nodes?: readonly number[];
  readonly tasks?: readonly TaskOf[];
  /** Published port -> target port, all of service `web`. */
  readonly ports?: Readonly<Record<number, number>>;
  /** Of every published port. */
  readonly limits?: Pick<PublishedPort, 'interfaces' | 'cidrs'>;
  /** Services of `mynet` and the last octet of their VIPs. */
  readonly vips?: Readonly<Record<string, number>>;
  /** Of every service. */
  readonly scheduler?: Scheduler;
  readonly affinityS?: number;
  readonly ingress?: boolean;
  readonly mynet?: boolean;
  /** Of every overlay, by its option. */
  readonly underlayMtuBytes?: number;
  /** Sequence numbers of the keys: given, `mynet` is encrypted. */
  readonly keys?: readonly number[];
  /** Which of them nodes send with; absent: none. */
  readonly sends?: number;
  /** By node; 1 where absent. */
  readonly epochs?: Readonly<Record<number, number>>;
}

export const mynetId = 'mynet' as NetworkId;
export const ingressId = 'ingress' as NetworkId;
export const mynetVni = 4097 as Vni;
export const ingressVni = 4096 as Vni;
export const vtepOf = (node: number): Ip => `192.168.50.${node}` as Ip;
export const nodeIdOf = (node: number): NodeId => `node${node}` as NodeId;
const hex = (part: number): string => part.toString(16).padStart(2, '0');
export const mynetMac = (part: number): Mac => `02:42:0a:00:01:${hex(part)}` as Mac;
export const ingressMac = (part: number): Mac => `02:42:0a:00:00:${hex(part)}` as Mac;
export const mynetAddress = (part: number): Ip => `10.0.1.${part}` as Ip;
export const ingressAddress = (part: number): Ip => `10.0.0.${part}` as Ip;
/** A node's own last octet on every overlay. */
export const ownPart = (node: number): number => 250 + node;

/** The value that node `self` gets. */
export function stateOf(self: number, cluster: ClusterOf): NodeNetworkState {
  const { nodes = [1, 2], tasks = [], ports = {}, vips = { web: 2 } } = cluster;
  const endpoints = (address: (part: number) => Ip, mac: (part: number) => Mac): Endpoint[] =>
    tasks.map(({ part, node, service = 'web', serving = true, weight = 1, targetPorts, silent }) => ({
      taskId: `task${part}` as TaskId,
      serviceId: service as ServiceId,
      nodeId: nodeIdOf(node),
      address: address(part),
      mac: mac(part),
      name: `${service}.${part}.task${part}`,
      serving,
      weight,
      aliases: [],
      nameservers: [],
      ...(targetPorts && { targetPorts }),
      ...(silent && { silent }),
    }));
  const epochOf = (node: number): number => cluster.epochs?.[node] ?? 1;
  const peers = (address: (part: number) => Ip, mac: (part: number) => Mac): Overlay['peers'] =>
    nodes
      .filter((node) => node !== self)
      .map((node) => ({
        nodeId: nodeIdOf(node),
        vtep: vtepOf(node),
        address: address(ownPart(node)),
        mac: mac(ownPart(node)),
        espEpoch: epochOf(node),
      }));
  const mynet: Overlay = {
    id: mynetId,
    name: 'mynet',
    vni: mynetVni,
    subnet: '10.0.1.0/24' as Cidr,
    gateway: mynetAddress(1),
    ingress: false,
    internal: false,
    encrypted: cluster.keys !== undefined,
    own: { address: mynetAddress(ownPart(self)), mac: mynetMac(ownPart(self)) },
    peers: peers(mynetAddress, mynetMac),
    endpoints: endpoints(mynetAddress, mynetMac),
    services: Object.entries(vips).map(([name, part]): OverlayService => ({
      id: name as ServiceId,
      name,
      aliases: [],
      vip: mynetAddress(part),
      scheduler: cluster.scheduler ?? 'rr',
      affinityS: cluster.affinityS ?? null,
    })),
    underlayMtuBytes: cluster.underlayMtuBytes ?? null,
  };
  const ingress: Overlay = {
    ...mynet,
    id: ingressId,
    name: 'ingress',
    vni: ingressVni,
    subnet: '10.0.0.0/24' as Cidr,
    gateway: ingressAddress(1),
    ingress: true,
    encrypted: false,
    own: { address: ingressAddress(ownPart(self)), mac: ingressMac(ownPart(self)) },
    peers: peers(ingressAddress, ingressMac),
    endpoints: endpoints(ingressAddress, ingressMac).filter(({ serviceId }) => serviceId === 'web'),
    services: [],
  };
  return {
    revision: cluster.revision ?? 1,
    nodeId: nodeIdOf(self),
    vtep: vtepOf(self),
    dataPathPort: 4789,
    aliasRange: defaultAliasRanges[4],
    overlays: [...(cluster.ingress ? [ingress] : []), ...(cluster.mynet === false ? [] : [mynet])],
    publishedPorts: Object.entries(ports).map(([publishedPort, targetPort]): PublishedPort => ({
      serviceId: 'web' as ServiceId,
      protocol: 'tcp',
      publishedPort: Number(publishedPort),
      targetPort,
      ...cluster.limits,
    })),
    encryptionKeys: (cluster.keys ?? []).map((sequence) => ({
      sequence,
      sends: sequence === cluster.sends,
      key: new SecretBytes(Buffer.alloc(32, sequence)),
    })),
  };
}

/** A task's leg, as the engine would have told of it. The id's first ten characters make the names of its links. */
export const sandboxOf = (
  overlayId: NetworkId,
  part: number,
  sandboxKey: string | null = null,
): SandboxEndpoint => ({
  endpointId: `${overlayId === ingressId ? 'e' : 'a'}${String(part).padStart(9, '0')}`.padEnd(64, '0'),
  overlayId,
  address: overlayId === ingressId ? ingressAddress(part) : mynetAddress(part),
  mac: overlayId === ingressId ? ingressMac(part) : mynetMac(part),
  sandboxKey,
});

/** Tags of the programs of an object file that was never loaded. */
export const programTags = Object.fromEntries(
  ['skep_uplink', 'skep_loopback', 'skep_return', 'skep_vip', 'skep_alias'].map((name, index) => [
    name,
    String(index + 1).padStart(16, '0'),
  ]),
) as Parameters<typeof ebpfPlan>[0];

/** Strangers' links and addresses in the host's namespace: uplink, a bridge of the engine's, a layer 3 tunnel, a port. */
export function hostOf(node: number): KernelObject[] {
  const link = (name: string, mac?: string): KernelObject => ({
    kind: 'link',
    name,
    type: 'other',
    ...(mac ? { mac: mac as Mac } : {}),
  });
  const address = (device: string, text: string, prefixLength: number): KernelObject => ({
    kind: 'address',
    device,
    address: text as Ip,
    prefixLength,
  });
  return [
    link('lo', '00:00:00:00:00:00'),
    link('eth0', `02:00:00:00:32:${hex(node)}`),
    link('docker0', '02:42:11:22:33:44'),
    link('veth1', '02:42:11:22:33:55'),
    link('wg0'),
    address('lo', '127.0.0.1', 8),
    address('eth0', vtepOf(node), 24),
    address('docker0', '172.17.0.1', 16),
    address('lo', '198.51.100.7', 32),
    address('wg0', '10.8.0.1', 24),
  ];
}
