/**
 * Where the checks happen: three nodes (the third without tasks), three tasks of `web` and a caller, in the other subnet of their
 * overlay a task of `far` and a caller, two outside clients and a container that is nothing of ours, with somebody at each end. A check names only what it wants otherwise than usual.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cidr, Ip, Mac } from '../../src/model/addresses.js';
import type { Scheduler } from '../../src/model/balancing.js';
import type { NodeId, ServiceId, TaskId } from '../../src/model/ids.js';
import type { BalancerEngine } from '../../src/dataplane/balancer/engine.js';
import type { EngineName } from '../../src/dataplane/plan/balancing.js';
import type {
  Endpoint,
  NodeNetworkState,
  Overlay,
  OverlayService,
  PublishedPort,
} from '../../src/dataplane/state.js';
import { built, CleanupStack } from '../../src/runtime/cleanup-stack.js';
import type { ContainerOf } from '../support/mesh-cluster.js';
import { MeshCluster } from '../support/mesh-cluster.js';
import { mynetAddress, stateOf, vtepOf } from '../unit/dataplane/plan/network-state.js';
import { openEngineOf } from './engines.js';
import { Peer } from './peer.js';

/** What a check may want otherwise. */
export interface Shape {
  readonly scheduler?: Scheduler;
  readonly affinityS?: number;
  /** By part; 1 where absent. */
  readonly weights?: Readonly<Record<number, number>>;
  /** Parts of tasks that take no new flows. */
  readonly draining?: readonly number[];
  /** Parts of tasks that are no longer in the state, though their containers still run. */
  readonly gone?: readonly number[];
  /** An update has led {@link ports}.web to another port of the tasks, but for those that it has not reached yet. */
  readonly update?: { readonly webTarget: number; readonly notUpdated: readonly number[] };
  /** How many ports more node 1 has, from {@link manyPortsFirst} on. */
  readonly manyPorts?: number;
  /** How many services more the overlay has, each with a VIP and a task on node 2. */
  readonly manyServices?: number;
}

const tcp = (publishedPort: number, targetPort: number): PublishedPort =>
  port('tcp', publishedPort, targetPort);
const port = (
  protocol: PublishedPort['protocol'],
  publishedPort: number,
  targetPort: number,
): PublishedPort => ({ serviceId: 'web' as ServiceId, protocol, publishedPort, targetPort });

/** Published ports; the tasks listen on the targets but on {@link closedPort}. */
export const ports = {
  web: 8080,
  /** The same target as `web`. */
  webAgain: 8081,
  refused: 8090,
  udp: 5300,
  /** Its server knows only 0.0.0.0, as most do. */
  udpAnySource: 5400,
  udpRefused: 5500,
  sctp: 9000,
  /** Limited to the uplink. */
  byDevice: 8082,
  udpByDevice: 5301,
  /** Limited to the addresses of docker0 and of loopback. */
  byAddress: 8083,
  /** Limited to docker0 and to the node's own calls, at the node's address on the underlay. */
  byBoth: 8084,
} as const;
export const targetPorts = { web: 80, other: 8088, udp: 53, udpAnySource: 54, sctp: 90 } as const;
export const closedPort = 55;
export const manyPortsFirst = 20_000;

const publishedPorts: readonly PublishedPort[] = [
  tcp(ports.web, targetPorts.web),
  tcp(ports.webAgain, targetPorts.web),
  tcp(ports.refused, closedPort),
  port('udp', ports.udp, targetPorts.udp),
  port('udp', ports.udpAnySource, targetPorts.udpAnySource),
  port('udp', ports.udpRefused, closedPort),
  port('sctp', ports.sctp, targetPorts.sctp),
  { ...tcp(ports.byDevice, targetPorts.web), interfaces: ['eth0'] },
  { ...port('udp', ports.udpByDevice, targetPorts.udp), interfaces: ['eth0'] },
  { ...tcp(ports.byAddress, targetPorts.web), cidrs: ['172.17.0.0/16' as Cidr, '127.0.0.0/8' as Cidr] },
  {
    ...tcp(ports.byBoth, targetPorts.web),
    interfaces: ['docker0', 'lo'],
    cidrs: ['192.168.50.0/24' as Cidr],
  },
];

export const nodes = [1, 2, 3] as const;
/** Parts of the tasks of `web`: one on node 1, two on node 2. */
export const webParts = [3, 4, 6] as const;
export const webTasks: readonly string[] = webParts.map((part) => `c${part}`);
const containers: readonly ContainerOf[] = [
  { part: 3, node: 1, ingress: true },
  { part: 4, node: 2, ingress: true },
  { part: 6, node: 2, ingress: true },
  { part: 5, node: 1, service: 'caller', ingress: false },
  { part: 133, node: 2, service: 'far', ingress: false },
  { part: 134, node: 1, service: 'caller', ingress: false },
];
/** The overlay's two subnets: parts up to 127 are in the first one. */
const subnets = {
  subnet: '10.0.1.0/25' as Cidr,
  gateway: mynetAddress(1),
  furtherSubnets: [{ subnet: '10.0.1.128/25' as Cidr, gateway: mynetAddress(129) }],
};
const outsiders = { client: 100, other: 101 } as const;
export const clientAddress = vtepOf(outsiders.client);
export const vip = '10.0.1.2' as Ip;
/** Of `far`, in the second subnet. */
export const farVip = mynetAddress(130);

export interface WorldOptions {
  readonly engine: EngineName;
  /** Nodes that have another one. Checks that look into an engine's own tables are not for such a world. */
  readonly exceptions?: ReadonlyMap<number, EngineName>;
  /** Begins the names of all namespaces; unique on this kernel. */
  readonly name: string;
  /** On a bpffs: each node keeps its maps in a directory below it. Used by `ebpf` only. */
  readonly pinDirectory: string;
}

export class World implements AsyncDisposable {
  readonly #peers = new Map<string, Peer>();
  readonly #undo = new CleanupStack();
  #shape: Shape = {};
  #revision = 0;
  /** SCTP by the kernel's own sockets; else by packets of the peers' making. */
  hasSctp = false;

  private constructor(
    readonly engine: EngineName,
    readonly cluster: MeshCluster,
    /** Directory in which a node keeps its maps. */
    readonly pinsOf: (node: number) => string,
  ) {
    this.#undo.use(cluster);
  }

  static async create({ engine, exceptions, name, pinDirectory }: WorldOptions): Promise<World> {
    const pinsOf = (node: number): string => join(pinDirectory, `node${node}`);
    const openEngine = (node: number): BalancerEngine =>
      openEngineOf(exceptions?.get(node) ?? engine, pinsOf(node));
    const cluster = await MeshCluster.create({ name, nodes, containers, outsiders, openEngine });
    return built(new World(engine, cluster, pinsOf), (world) => world.#build());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#undo[Symbol.asyncDispose]();
  }

  /** An outside client on the underlay. */
  get client(): Peer {
    return this.peer('client');
  }

  /** A task of another service on the overlay. */
  get caller(): Peer {
    return this.peer('c5');
  }

  /** Whoever lives in that namespace: `node1`, `c3`, `client`, `other`, `boxed`. */
  peer(name: string): Peer {
    const peer = this.#peers.get(name);
    if (!peer) throw new Error(`nobody lives in ${name}`);
    return peer;
  }

  /**
   * Programs nodes with the usual state but for `shape`.
   * @param on those that are told; the others keep the state they have
   * @returns how many milliseconds each of them took
   */
  async program(shape: Shape = {}, on: readonly number[] = nodes): Promise<ReadonlyMap<number, number>> {
    this.#shape = shape;
    this.#revision += 1;
    return this.cluster.program((node) => this.#state(node), [], on);
  }

  /** All nodes leave the cluster. */
  async leave(): Promise<void> {
    this.#shape = {};
    await this.cluster.program(() => null);
  }

  /** How often the nodes were programmed. */
  get revision(): number {
    return this.#revision;
  }

  /** Back to the usual state, if a check left another. */
  async restore(): Promise<void> {
    if (Object.keys(this.#shape).length > 0) await this.program();
  }

  async #build(): Promise<void> {
    for (const node of nodes) await this.#likeDocker(node);
    await this.cluster.addBridged(1, 'boxed');
    await this.program();
    await this.cluster.startContainers();
    const names = [
      ...nodes.map((node) => `node${node}`),
      ...containers.map(({ part }) => `c${part}`),
      ...Object.keys(outsiders),
      'boxed',
    ];
    for (const name of names) this.#peers.set(name, this.#undo.use(new Peer(name, this.cluster.path(name))));
    this.hasSctp = await this.client.hasSctp();
    for (const task of [...webTasks, 'c133']) await this.#serve(this.peer(task));
  }

  async #serve(task: Peer): Promise<void> {
    await task.listen(targetPorts.web);
    await task.listen(targetPorts.other);
    await task.listenUdp(targetPorts.udp);
    await task.listenUdp(targetPorts.udpAnySource, true);
    if (this.hasSctp) await task.listen(targetPorts.sctp, 'sctp');
    else await task.listenRawSctp(targetPorts.sctp);
  }

  /** What is not accepted is dropped, and connections are tracked: a mesh must do with that. */
  async #likeDocker(node: number): Promise<void> {
    const iptables = (line: string): Promise<string> =>
      this.cluster.run(`node${node}`, 'iptables', ...line.split(' '));
    await iptables('-P FORWARD DROP');
    await iptables('-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT');
    // Somebody's own firewall on one of them; the others refuse by their own TCP what nobody listens to.
    if (node !== 2) return;
    await iptables('-P INPUT DROP');
    await iptables('-A INPUT -p udp --dport 4789 -j ACCEPT');
    await iptables('-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT');
  }

  #state(node: number): NodeNetworkState {
    const {
      scheduler = 'rr',
      affinityS = null,
      weights = {},
      draining = [],
      gone = [],
      update,
      manyPorts = 0,
      manyServices = 0,
    } = this.#shape;
    const formerWeb = [{ protocol: 'tcp', publishedPort: ports.web, targetPort: targetPorts.web }] as const;
    const tasks = containers
      .filter(({ part }) => !gone.includes(part))
      .map((task) => ({
        ...task,
        serving: !draining.includes(task.part),
        weight: weights[task.part] ?? 1,
        ...(update?.notUpdated.includes(task.part) && { targetPorts: formerWeb }),
      }));
    const state = stateOf(node, { revision: this.#revision, nodes, tasks, ingress: true });
    const web = { id: 'web' as ServiceId, name: 'web', aliases: [], scheduler, affinityS };
    return {
      ...state,
      publishedPorts: [
        ...publishedPorts.map((one) =>
          update && one.publishedPort === ports.web ? { ...one, targetPort: update.webTarget } : one,
        ),
        ...Array.from({ length: node === 1 ? manyPorts : 0 }, (_, i) =>
          tcp(manyPortsFirst + i, targetPorts.web),
        ),
      ],
      overlays: state.overlays.map((overlay): Overlay =>
        overlay.ingress
          ? { ...overlay, services: [web] }
          : withServices(
              {
                ...overlay,
                ...subnets,
                services: [
                  { ...web, vip },
                  { ...web, id: 'far' as ServiceId, name: 'far', vip: farVip },
                ],
              },
              manyServices,
            ),
      ),
    };
  }
}

/** The overlay with so many services more, in a larger subnet where there are any. */
function withServices(overlay: Overlay, count: number): Overlay {
  if (count === 0) return overlay;
  const all = Array.from({ length: count }, (_, index) => index);
  const addressOf = (index: number, of: number): Ip => `10.${of}.${index >> 8}.${index & 255}` as Ip;
  const services = all.map((index): OverlayService => ({
    id: `many${index}` as ServiceId,
    name: `many${index}`,
    aliases: [],
    vip: addressOf(index, 2),
    scheduler: 'rr',
    affinityS: null,
  }));
  const endpoints = services.map(({ id, name }, index): Endpoint => ({
    taskId: `task-${id}` as TaskId,
    serviceId: id,
    nodeId: 'node2' as NodeId,
    address: addressOf(index, 3),
    mac: `02:42:0a:03:${[index >> 8, index & 255].map((part) => part.toString(16).padStart(2, '0')).join(':')}` as Mac,
    name: `${name}.1`,
    serving: true,
    weight: 1,
    aliases: [],
    nameservers: [],
  }));
  const { furtherSubnets: _, ...rest } = overlay;
  return {
    ...rest,
    subnet: '10.0.0.0/14' as Cidr,
    endpoints: [...overlay.endpoints, ...endpoints],
    services: [...overlay.services, ...services],
  };
}

/**
 * Waits until `probe` gives a value.
 * @throws Error naming `what` when it has not within `timeoutMs`
 */
export async function until<T>(
  what: string,
  probe: () => Promise<T | undefined>,
  timeoutMs = 10_000,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const found = await probe();
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await sleep(20);
  }
}
