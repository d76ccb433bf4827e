/** The network that is programmed: one overlay with many services, every tenth of them published on ingress, as one node has it. */
import type { Cidr, Ip, Mac } from '../../src/model/addresses.js';
import { numberToIp } from '../../src/model/addresses.js';
import type { NetworkId, NodeId, ServiceId, TaskId, Vni } from '../../src/model/ids.js';
import { applyStateChange, endpointKey, itemAt } from '../../src/dataplane/state-change.js';
import type {
  Endpoint,
  NodeNetworkState,
  Overlay,
  OverlayService,
  PublishedPort,
} from '../../src/dataplane/state.js';
import { defaultAliasRanges } from '../../src/model/network-laws.js';

export interface NetworkSize {
  readonly services: number;
  /** Of each service; they are on the other nodes. */
  readonly endpoints: number;
}

/** This node's, on the underlay. */
export const vtep = '192.168.50.1' as Ip;
const nodeId = 'node00' as NodeId;
const otherNodes = Array.from({ length: 9 }, (_, index) => `node0${index + 1}` as NodeId);
/** Every so many services one is published. */
const publishedEach = 10;
/** Host parts: the gateway, the nodes' own addresses, VIPs from here on, and endpoints behind them. */
const firstPart = 16;

/** Ids as the managers make them: 25 characters that differ from the first on. */
function idOf(kind: string, index: number): string {
  const mixed = Math.imul(index + 1, 0x9e3779b1) >>> 0;
  return `${mixed.toString(36).padStart(7, '0')}${kind}${index}`.padEnd(25, '0').slice(0, 25);
}

const addressOf = (base: bigint, part: number): Ip => numberToIp(base + BigInt(part), 4);
const macOf = (network: number, part: number): Mac =>
  `02:42:0${network}:${[16, 8, 0].map((shift) => ((part >> shift) & 255).toString(16).padStart(2, '0')).join(':')}` as Mac;

export function networkOf({ services: count, endpoints: each }: NetworkSize, revision = 1): NodeNetworkState {
  const published = Array.from(
    { length: Math.ceil(count / publishedEach) },
    (_, index) => index * publishedEach,
  );
  const all = Array.from({ length: count }, (_, index) => index);
  return {
    revision,
    nodeId,
    vtep,
    dataPathPort: 4789,
    aliasRange: defaultAliasRanges[4],
    encryptionKeys: [],
    overlays: [
      overlayOf(
        { id: 'ingress', base: 0x0a000000n, prefixLength: 18, network: 0, vni: 4096 },
        published,
        each,
      ),
      overlayOf({ id: 'mynet', base: 0x0b000000n, prefixLength: 15, network: 1, vni: 4097 }, all, each),
    ],
    publishedPorts: published
      .map((index): PublishedPort => ({
        serviceId: idOf('s', index) as ServiceId,
        protocol: 'tcp',
        publishedPort: 10_000 + index / publishedEach,
        targetPort: 80,
      }))
      .sort((a, b) => a.publishedPort - b.publishedPort),
  };
}

interface OverlayOf {
  readonly id: string;
  readonly base: bigint;
  readonly prefixLength: number;
  readonly network: number;
  readonly vni: number;
}

function overlayOf(
  { id, base, prefixLength, network, vni }: OverlayOf,
  services: readonly number[],
  each: number,
): Overlay {
  const isIngress = id === 'ingress';
  const place = (part: number): { address: Ip; mac: Mac } => ({
    address: addressOf(base, part),
    mac: macOf(network, part),
  });
  const firstEndpoint = firstPart + (isIngress ? 0 : services.length);
  return {
    id: id as NetworkId,
    name: id,
    vni: vni as Vni,
    subnet: `${numberToIp(base, 4)}/${prefixLength}` as Cidr,
    gateway: addressOf(base, 1),
    ingress: isIngress,
    internal: false,
    underlayMtuBytes: null,
    encrypted: false,
    own: place(2),
    peers: otherNodes.map((peer, index) => ({
      nodeId: peer,
      vtep: `192.168.50.${index + 2}` as Ip,
      espEpoch: 0,
      ...place(3 + index),
    })),
    endpoints: services
      .flatMap((service, position) =>
        Array.from({ length: each }, (_, index): Endpoint => ({
          taskId: idOf('t', service * each + index) as TaskId,
          serviceId: idOf('s', service) as ServiceId,
          nodeId: otherNodes[index % otherNodes.length] as NodeId,
          ...place(firstEndpoint + position * each + index),
          name: `s${service}.${index}`,
          serving: true,
          weight: 1,
          aliases: [],
          nameservers: [],
        })),
      )
      .sort((a, b) => (a.taskId < b.taskId ? -1 : 1)),
    services: services
      .map((service, position): OverlayService => ({
        id: idOf('s', service) as ServiceId,
        name: `s${service}`,
        aliases: [],
        ...(isIngress ? {} : { vip: addressOf(base, firstPart + position) }),
        scheduler: 'rr',
        affinityS: null,
      }))
      .sort((a, b) => (a.id < b.id ? -1 : 1)),
  };
}

/**
 * The next state: the first endpoint of the first service, which is published, is gone from both overlays, or there again.
 */
export function withOneChange(
  state: NodeNetworkState,
  { services, endpoints }: NetworkSize,
): NodeNetworkState {
  const taskId = idOf('t', 0);
  const whole = smallest(endpoints);
  return applyStateChange(state, {
    nodeId,
    baseRevision: state.revision,
    revision: state.revision + 1,
    overlays: state.overlays.map(({ id, endpoints: held }) => {
      const isThere = itemAt(held, endpointKey, taskId) !== undefined;
      const endpoint = { ...whole(id), ...(id === 'mynet' ? placeInMynet(services) : {}) };
      return {
        id,
        endpoints: isThere ? [] : [endpoint],
        removedEndpoints: isThere ? [taskId] : [],
        services: [],
        removedServices: [],
      };
    }),
    publishedPorts: [],
    removedPorts: [],
  });
}

/** The first endpoint of the first service, as it is in a network of that service alone. */
function smallest(endpoints: number): (overlay: NetworkId) => Endpoint {
  const { overlays } = networkOf({ services: 1, endpoints });
  return (overlay) => {
    const found = overlays
      .find(({ id }) => id === overlay)
      ?.endpoints.find(({ taskId }) => taskId === idOf('t', 0));
    if (found === undefined) throw new Error(`no endpoint on ${overlay}`);
    return found;
  };
}
/** There its address lies behind the VIPs. */
const placeInMynet = (services: number): { address: Ip; mac: Mac } => ({
  address: addressOf(0x0b000000n, firstPart + services),
  mac: macOf(1, firstPart + services),
});
