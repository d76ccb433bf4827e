/**
 * NodeNetworkState: all that one node's network should be, as one value. The agent assembles it from the manager's
 * assignments and hands it over whole (proto/dataplane.proto); skep-dataplane keeps it on disk and needs nothing
 * else to restore the kernel. Values only: no behaviour beyond the alias arithmetic that both sides must share.
 */
import assert from 'node:assert';
import type { Cidr, Ip, Mac } from '../model/addresses.js';
import { familyOf, formatCidr, hostPart, numberToIp, parseCidr } from '../model/addresses.js';
import type { Scheduler } from '../model/balancing.js';
import {
  aliasPartBits,
  aliasRangePrefixLengthMax,
  hostPartBitsMax,
  ingressPrefixLengthMin,
} from '../model/network-laws.js';
import { hostNumber } from '../model/network-subnets.js';
import type { NetworkSubnets } from '../model/network-subnets.js';
import type { NetworkId, NodeId, ServiceId, TaskId, Vni } from '../model/ids.js';
import type { SecretBytes } from '../model/secret-bytes.js';
import type { Items } from '../runtime/keyed-list.js';

export interface NodeNetworkState {
  /** Manager's store revision that this value reflects. Never goes back within one cluster. */
  readonly revision: number;
  readonly nodeId: NodeId;
  /** This node's VTEP address; the underlay device is the one that holds it. */
  readonly vtep: Ip;
  readonly dataPathPort: number;
  /** What mesh aliases are cut from, of ingress's family, see {@link aliasAddress}. */
  readonly aliasRange: Cidr;
  readonly overlays: readonly Overlay[];
  /** Ordered by {@link publishedPortKey}. */
  readonly publishedPorts: Items<PublishedPort>;
  /**
   * Keys of encrypted overlays, none of them where the manager withholds them. Never on disk: null in a state that was read
   * from there, and what the kernel holds then stands.
   */
  readonly encryptionKeys: readonly EncryptionKey[] | null;
}

/** A key of the cluster, which those of each pair of nodes are derived from. All keys given receive. */
export interface EncryptionKey {
  /** Counts the keys of a cluster, from 1. */
  readonly sequence: number;
  /** The one that nodes send with. */
  readonly sends: boolean;
  readonly key: SecretBytes;
}

/** One overlay network on this node. */
export interface Overlay extends NetworkSubnets {
  readonly id: NetworkId;
  readonly name: string;
  readonly vni: Vni;
  readonly ingress: boolean;
  readonly internal: boolean;
  /** Its VXLAN packets leave and enter nodes as ESP only. */
  readonly encrypted: boolean;
  /** This node's own address there: the bridge's, the DNS server's and, on ingress, the way back of the mesh. */
  readonly own: { readonly address: Ip; readonly mac: Mac };
  /** The other nodes that take part. */
  readonly peers: readonly Peer[];
  /** All endpoints of the network in the cluster, local ones included (nodeId says). Ordered by task, services by id. */
  readonly endpoints: Items<Endpoint>;
  readonly services: Items<OverlayService>;
  /** What the user says the underlay carries in one packet; null: as much as the device that holds the VTEP. */
  readonly underlayMtuBytes: number | null;
}

export interface Peer {
  readonly nodeId: NodeId;
  readonly vtep: Ip;
  readonly address: Ip;
  readonly mac: Mac;
  /** Of the keys that it sends with, see plan/esp.ts; 0: not known. */
  readonly espEpoch: number;
}

export interface Endpoint {
  readonly taskId: TaskId;
  readonly serviceId: ServiceId;
  readonly nodeId: NodeId;
  readonly address: Ip;
  readonly mac: Mac;
  /** `<service>.<slot>.<task>`, or the name of a container that belongs to no service. */
  readonly name: string;
  /** Takes new flows and stands in DNS: the task runs and is healthy. */
  readonly serving: boolean;
  /** Its share of new flows among the service's endpoints, 1 to 1000, where the service's scheduler regards weights. */
  readonly weight: number;
  /** Further names that DNS knows it by on this overlay. */
  readonly aliases: readonly string[];
  /**
   * Of a container that is also on networks of the engine's own, whose names only the engine's resolver knows: the servers that
   * this one asks for the rest. The overlay's DNS stands in for them; only the container's own node acts on it.
   */
  readonly nameservers: readonly Ip[];
  /**
   * Ports of its service by which it is reached otherwise than {@link PublishedPort} says: an update of the service has changed
   * them, and a task keeps what it was started with. Absent: none. Never empty.
   */
  readonly targetPorts?: readonly TargetPort[];
  /** Its node gives no sign of life: see silence.ts. Marked by skep-dataplane itself, in what it plans from alone. */
  readonly silent?: true;
}

/** How one task is reached by a published port of its service. */
export interface TargetPort {
  readonly protocol: PublishedPort['protocol'];
  readonly publishedPort: number;
  /** 0: it is not. */
  readonly targetPort: number;
}

/** A service as one network sees it. */
export interface OverlayService {
  readonly id: ServiceId;
  readonly name: string;
  readonly aliases: readonly string[];
  /** Absent for dnsrr. */
  readonly vip?: Ip;
  /** Of the VIP and of the ports published for the service. */
  readonly scheduler: Scheduler;
  /** Seconds for which a client's new flows go to the task that its last one went to; null: each is balanced anew. */
  readonly affinityS: number | null;
}

/**
 * A port that every node answers on. Backends are the serving ingress endpoints of `serviceId`, at `targetPort` but for those
 * that know better ({@link Endpoint.targetPorts}).
 */
export interface PublishedPort {
  readonly serviceId: ServiceId;
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  readonly publishedPort: number;
  readonly targetPort: number;
  /** Devices that a request may come in by, `lo` for the node's own calls. Absent: any. Never empty. */
  readonly interfaces?: readonly string[];
  /** Networks that the called address of the node must lie in. Absent: any. Never empty. */
  readonly cidrs?: readonly Cidr[];
}

/** What makes a published port itself: given once in a cluster. */
export const publishedPortKey = ({
  protocol,
  publishedPort,
}: Pick<PublishedPort, 'protocol' | 'publishedPort'>): string => `${protocol}/${publishedPort}`;

/**
 * The address under which the task at `taskAddress` is reached through the node at `nodeAddress` (both on ingress):
 * range | host part of the node << 14 | host part of the task. A reply's source so names the node that must undo
 * the translation, with no state anywhere. Holds for ingress subnets whose host parts have at most 14 bits.
 */
export function aliasAddress(aliasRange: Cidr, ingressSubnet: Cidr, nodeAddress: Ip, taskAddress: Ip): Ip {
  return numberToIp(
    aliasNumber(aliasRange, ingressSubnet, nodeAddress) | hostPart(ingressSubnet, taskAddress),
    familyOf(aliasRange),
  );
}

/** All aliases of one node, e.g. for the rule that returns replies to it. */
export function nodeAliasCidr(aliasRange: Cidr, ingressSubnet: Cidr, nodeAddress: Ip): Cidr {
  const family = familyOf(aliasRange);
  return formatCidr({
    family,
    base: aliasNumber(aliasRange, ingressSubnet, nodeAddress),
    prefixLength: ingressPrefixLengthMin(family),
  });
}

function aliasNumber(aliasRange: Cidr, ingressSubnet: Cidr, nodeAddress: Ip): bigint {
  const [range, ingress] = [parseCidr(aliasRange), parseCidr(ingressSubnet)];
  assert(range.family === ingress.family, 'aliases and ingress of different families');
  assert(range.prefixLength <= aliasRangePrefixLengthMax(range.family), 'alias range too small');
  assert(ingress.prefixLength >= ingressPrefixLengthMin(ingress.family), 'ingress subnet too large');
  return range.base | (hostPart(ingressSubnet, nodeAddress) << BigInt(aliasPartBits));
}

/** The value's own address of a service's published port in the host's mangle table: unique per port and protocol. */
export const publishedPortMark = (protocol: PublishedPort['protocol'], port: number): number =>
  (markPrefix | ({ tcp: 0, udp: 1, sctp: 2 }[protocol] << 16) | port) >>> 0;

/** The mark of a VIP inside its overlay's namespace: unique per network by the VIP's number there. */
export const vipMark = (network: NetworkSubnets, vip: Ip): number => {
  const number = hostNumber(network, vip);
  assert(number !== undefined && number < 1n << BigInt(hostPartBitsMax), 'VIP exceeds the mark');
  return (markPrefix | Number(number)) >>> 0;
};

/** Top byte of every mark of ours ('^' of ASCII 0x5e): far from Docker's, Kubernetes' and Cilium's. */
export const markPrefix = 0x5e000000;
