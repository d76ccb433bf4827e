/** A node's state with a thousand services: each has a published port, a VIP and a task, which is on another node and is never called. */
import type {
  NodeNetworkState,
  Endpoint,
  Overlay,
  OverlayService,
  PublishedPort,
} from '../../src/dataplane/state.js';
import type { Cidr, Ip, Mac } from '../../src/model/addresses.js';
import type { ServiceId, TaskId } from '../../src/model/ids.js';
import type { ContainerOf } from '../../test/support/mesh-cluster.js';
import { nodeIdOf, stateOf } from '../../test/unit/dataplane/plan/network-state.js';

export const nodes = [1, 2] as const;
/** The server that is called, on the other node than the one that the client calls. */
export const server: ContainerOf = { part: 4, node: 2, ingress: true };
export const port = 8080;
const firstPort = 20_000;
/** Room for a task of each service; not where the nodes' own addresses are. */
const ingressSubnet = '10.0.0.0/20' as Cidr;
const mynetSubnet = '10.0.0.0/14' as Cidr;

/** @param count of services beside the one that is called */
export function stateWith(node: number, revision: number, count: number): NodeNetworkState {
  const state = stateOf(node, { revision, nodes, tasks: [server], ingress: true, ports: { [port]: 80 } });
  const all = Array.from({ length: count }, (_, index) => index);
  return {
    ...state,
    publishedPorts: [...state.publishedPorts, ...all.map(portOf)],
    overlays: state.overlays.map((overlay): Overlay => {
      if (overlay.ingress)
        return {
          ...overlay,
          subnet: ingressSubnet,
          services: all.map((index) => serviceOf(index)),
          endpoints: [...overlay.endpoints, ...all.map((index) => endpointOf(index, '10.0', 4, '06'))],
        };
      if (count === 0) return overlay;
      return {
        ...overlay,
        subnet: mynetSubnet,
        services: [
          ...overlay.services,
          ...all.map((index) => ({ ...serviceOf(index), vip: addressOf('10.2', 0, index) })),
        ],
        endpoints: [...overlay.endpoints, ...all.map((index) => endpointOf(index, '10.3', 0, '03'))],
      };
    }),
  };
}

const idOf = (index: number): ServiceId => `other${index}` as ServiceId;

const portOf = (index: number): PublishedPort => ({
  serviceId: idOf(index),
  protocol: 'tcp',
  publishedPort: firstPort + index,
  targetPort: 80,
});

const serviceOf = (index: number): OverlayService => ({
  id: idOf(index),
  name: idOf(index),
  aliases: [],
  scheduler: 'rr',
  affinityS: null,
});

const addressOf = (begin: string, from: number, index: number): Ip =>
  `${begin}.${from + (index >> 8)}.${index & 255}` as Ip;

const hex = (part: number): string => part.toString(16).padStart(2, '0');

const endpointOf = (index: number, begin: string, from: number, macPart: string): Endpoint => ({
  taskId: `task-${index}` as TaskId,
  serviceId: idOf(index),
  nodeId: nodeIdOf(2),
  address: addressOf(begin, from, index),
  mac: `02:42:0a:${macPart}:${hex(index >> 8)}:${hex(index & 255)}` as Mac,
  name: `${idOf(index)}.1`,
  serving: true,
  weight: 1,
  aliases: [],
  nameservers: [],
});
