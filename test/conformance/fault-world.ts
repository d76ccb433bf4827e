/** Two services with a task on each of two nodes and a node without any; programmed, and left to whoever then keeps the nodes. */
import { join } from 'node:path';
import type { Ip } from '../../src/model/addresses.js';
import type { ServiceId } from '../../src/model/ids.js';
import type { EngineName } from '../../src/dataplane/plan/balancing.js';
import type { NodeNetworkState, Overlay, PublishedPort } from '../../src/dataplane/state.js';
import { built, CleanupStack } from '../../src/runtime/cleanup-stack.js';
import type { ContainerOf } from '../support/mesh-cluster.js';
import { MeshCluster } from '../support/mesh-cluster.js';
import { ingressAddress, ingressMac, stateOf } from '../unit/dataplane/plan/network-state.js';
import { openEngineOf, openStrangersEngineOf } from './engines.js';
import type { DaemonOrder } from './fault-daemon.js';
import { Peer } from './peer.js';

export const nodes = [1, 2, 3] as const;
export const services = {
  web: { part: 2, tcp: 8080, udp: 5300 },
  other: { part: 20, tcp: 8081, udp: 5301 },
} as const;
export type ServiceName = keyof typeof services;
export const targetPorts = { tcp: 80, udp: 53 } as const;
export const containers: readonly (ContainerOf & { readonly service: ServiceName })[] = [
  { part: 3, node: 1, service: 'web', ingress: true },
  { part: 4, node: 2, service: 'web', ingress: true },
  { part: 5, node: 1, service: 'other', ingress: true },
  { part: 6, node: 2, service: 'other', ingress: true },
];
export const vipOf = (service: ServiceName): Ip => `10.0.1.${services[service].part}` as Ip;

/** Small maps: they are read whole each time somebody looks at them. */
const capacities = {
  skep_virtual_servers: 256,
  skep_cursors: 256,
  skep_virtual_counters: 256,
  skep_real_servers: 1024,
  skep_active: 1024,
  skep_counters: 2048,
  skep_slots: 4096,
};

export interface FaultWorldOptions {
  readonly engine: EngineName;
  readonly name: string;
  readonly pinDirectory: string;
}

export class FaultWorld implements AsyncDisposable {
  readonly #undo = new CleanupStack();
  readonly #peers = new Map<string, Peer>();

  private constructor(
    readonly cluster: MeshCluster,
    /** What a node's daemon is told. */
    readonly orderFor: (node: number) => DaemonOrder,
  ) {
    this.#undo.use(cluster);
  }

  static async create({ engine, name, pinDirectory }: FaultWorldOptions): Promise<FaultWorld> {
    const pinsOf = (node: number): string => join(pinDirectory, `node${node}`);
    const cluster = await MeshCluster.create({
      name,
      nodes,
      containers,
      outsiders: { client: 100 },
      openEngine: (node: number) => openEngineOf(engine, pinsOf(node), capacities),
      openStrangersEngine: (node: number) => openStrangersEngineOf(engine, pinsOf(node)),
    });
    const world = new FaultWorld(cluster, (node) => ({
      engine,
      pinDirectory: pinsOf(node),
      ...cluster.places(node),
      desired: cluster.desired(node),
    }));
    return built(world, () => world.#build());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#undo[Symbol.asyncDispose]();
  }

  peer(name: string): Peer {
    const peer = this.#peers.get(name);
    if (!peer) throw new Error(`nobody lives in ${name}`);
    return peer;
  }

  async #build(): Promise<void> {
    await this.cluster.program(stateOfNode);
    await this.cluster.startContainers();
    for (const name of [...containers.map(({ part }) => `c${part}`), 'client'])
      this.#peers.set(name, this.#undo.use(new Peer(name, this.cluster.path(name))));
    for (const { part } of containers) {
      await this.peer(`c${part}`).listen(targetPorts.tcp);
      await this.peer(`c${part}`).listenUdp(targetPorts.udp);
    }
    for (const node of nodes) await this.cluster.kill(node);
  }
}

function stateOfNode(node: number): NodeNetworkState {
  const state = stateOf(node, { nodes, tasks: containers, ingress: true });
  const mynetEndpoints = state.overlays.find(({ ingress }) => !ingress)?.endpoints ?? [];
  const names = Object.keys(services) as ServiceName[];
  const overlayServices = names.map((name) => ({
    id: name as string as ServiceId,
    name,
    aliases: [],
    scheduler: 'rr' as const,
    affinityS: null,
  }));
  return {
    ...state,
    publishedPorts: names.flatMap((name): PublishedPort[] =>
      (['tcp', 'udp'] as const).map((protocol) => ({
        serviceId: name as string as ServiceId,
        protocol,
        publishedPort: services[name][protocol],
        targetPort: targetPorts[protocol],
      })),
    ),
    overlays: state.overlays.map((overlay): Overlay =>
      overlay.ingress
        ? {
            ...overlay,
            services: overlayServices,
            // On ingress as on mynet.
            endpoints: mynetEndpoints.map((endpoint) => {
              const part = Number(endpoint.taskId.slice('task'.length));
              return { ...endpoint, address: ingressAddress(part), mac: ingressMac(part) };
            }),
          }
        : {
            ...overlay,
            services: overlayServices.map((one) => ({ ...one, vip: vipOf(one.name) })),
          },
    ),
  };
}
