/**
 * What the store of a cluster holds that has run for a while: nodes, services and their tasks, all allocated and running on one
 * network. Every node has a task there, so that every node has to know every endpoint: there is nothing larger to tell a node.
 */
import type { Cidr, Ip } from '../../src/model/addresses.js';
import { numberToIp } from '../../src/model/addresses.js';
import type { NetworkId, NodeId, RandomSource, ServiceId, TaskId, Vni } from '../../src/model/ids.js';
import { newId } from '../../src/model/ids.js';
import type { Network, NetworkAttachment, Node, Service, Task } from '../../src/model/objects.js';
import type { TaskState } from '../../src/model/task-state.js';
import { macOf } from '../../src/controlplane/allocator/mac.js';
import type { StoredObject } from '../../src/controlplane/store/store.js';
import * as made from '../../test/support/cluster-objects.js';

export interface ClusterSize {
  /** They run the tasks. */
  readonly nodes: number;
  /** Besides, without tasks. */
  readonly idleNodes: number;
  readonly services: number;
  /** Tasks, spread over services and nodes. */
  readonly endpoints: number;
  /** What the tasks have come to. */
  readonly state: TaskState;
  /** The first so many tasks have come no further than this: `starting`. */
  readonly startingTasks: number;
}

/** Which of the nodes a task is on, of those with tasks and the manager's: as there are in `nodeIds`. */
export const nodeIndexOf = (taskIndex: number, { nodes }: Pick<ClusterSize, 'nodes'>): number =>
  taskIndex % (nodes + 1);

export interface ClusterObjects {
  readonly objects: readonly StoredObject[];
  /** Those with tasks first. */
  readonly nodeIds: readonly NodeId[];
  readonly taskIds: readonly TaskId[];
}

/** Room for 262,000 addresses, and for 4,000; the gateway is the first. */
const subnets = {
  mynet: { base: 0x0a000000n, prefixLength: 14, vni: 4097 as Vni },
  ingress: { base: 0x0b000000n, prefixLength: 20, vni: 4096 as Vni },
} as const;

/** Where a node's peers would send to: none of these is anybody's. */
export const dataPathAddrOf = (index: number): Ip => numberToIp(0xc6120000n + BigInt(index + 1), 4);

type Leg = Omit<NetworkAttachment, 'aliases'>;

/** Hands out the addresses of a network, one after another. */
class Legs {
  #taken = 1n;

  constructor(
    readonly id: NetworkId,
    private readonly subnet: (typeof subnets)[keyof typeof subnets],
  ) {}

  next(holder: NodeId | TaskId): Leg {
    const { base, prefixLength } = this.subnet;
    const address = numberToIp(base + (this.#taken += 1n), 4);
    return { networkId: this.id, address, prefixLength, mac: macOf(holder, this.id) };
  }

  /** The network, with what is taken of it so far. */
  network(ingress: boolean): Network {
    const { base, prefixLength, vni } = this.subnet;
    const subnet = `${numberToIp(base, 4)}/${prefixLength}` as Cidr;
    return {
      ...made.network(this.id, { ingress }),
      allocation: { vni, subnet, gateway: numberToIp(base + 1n, 4) },
      addressCursor: Number(this.#taken),
    };
  }
}

/** @param founder the manager's own node, which is among the objects then */
export function clusterObjects(
  size: ClusterSize,
  founder: NodeId,
  ingressId: NetworkId,
  random: RandomSource,
): ClusterObjects {
  const mynet = new Legs(newId(random), subnets.mynet);
  const ingress = new Legs(ingressId, subnets.ingress);
  const nodes = Array.from({ length: size.nodes + 1 + size.idleNodes }, (_, index): Node => {
    const id = index === size.nodes ? founder : newId<NodeId>(random);
    const { status, description, ...known } = made.node(id, { nanoCpus: 1e12, memoryBytes: 2 ** 42 });
    const attachments = [ingress, mynet].map((legs) => {
      const { networkId, address, mac } = legs.next(id);
      return { networkId, address, mac };
    });
    // It has registered before, from where it will again, and says what it said then (simulated-agent.ts).
    const registered = { status: { ...status, addr: '127.0.0.1' }, dataPathAddr: dataPathAddrOf(index) };
    // One that comes only when the others have been told has never said anything: it is not missed, and its task stays.
    return { ...known, ...registered, ...(index <= size.nodes && { description }), attachments };
  });
  const services = Array.from({ length: size.services }, (_, index) =>
    serviceOf(index, size, newId(random), mynet),
  );
  const tasks = Array.from({ length: size.endpoints }, (_, index) =>
    taskOf(services[index % services.length] as Service, newId(random), mynet, {
      slot: Math.floor(index / services.length) + 1,
      // The founder's, too.
      node: (nodes[nodeIndexOf(index, size)] as Node).id,
      state: index < size.startingTasks ? 'starting' : size.state,
    }),
  );
  // What keeps a node on the network, though nothing of it runs there yet.
  const waiting = nodes.slice(size.nodes + 1).map(({ id: node }, index) => {
    const service = made.service(newId<ServiceId>(random), {
      ...{ name: `waiting${index}`, endpointSpec: withoutPorts },
      taskTemplate: taskTemplateOn(mynet.id),
    });
    const endpoint = { spec: withoutPorts, ports: [], virtualIps: [virtualIpOf(mynet, service.id)] };
    const whole: Service = { ...service, endpoint };
    return {
      service: whole,
      task: taskOf(whole, newId(random), mynet, { slot: 1, node, state: 'assigned' }),
    };
  });
  return {
    objects: [
      { kind: 'network', object: ingress.network(true) },
      { kind: 'network', object: mynet.network(false) },
      ...nodes.map((object) => ({ kind: 'node', object }) as const),
      ...[...services, ...waiting.map(({ service }) => service)].map(
        (object) => ({ kind: 'service', object }) as const,
      ),
      ...[...tasks, ...waiting.map(({ task }) => task)].map((object) => ({ kind: 'task', object }) as const),
    ],
    nodeIds: nodes.map(({ id }) => id),
    taskIds: tasks.map(({ id }) => id),
  };
}

const withoutPorts = { mode: 'vip', ports: [] } as const;

const taskTemplateOn = (target: NetworkId) =>
  made.taskSpec({
    networks: [{ target, aliases: [] }],
    restartPolicy: { condition: 'none', delayNs: 5e9, maxAttempts: 0, windowNs: 0 },
  });

function virtualIpOf(legs: Legs, holder: ServiceId): Omit<Leg, 'mac'> {
  const { mac: _, ...virtualIp } = legs.next(holder as string as TaskId);
  return virtualIp;
}

function serviceOf(index: number, { services, endpoints }: ClusterSize, id: ServiceId, legs: Legs): Service {
  const replicas = Math.floor((endpoints + services - 1 - index) / services);
  return made.service(
    id,
    {
      ...{ name: `service${index}`, endpointSpec: withoutPorts, mode: { kind: 'replicated', replicas } },
      taskTemplate: taskTemplateOn(legs.id),
    },
    { endpoint: { spec: withoutPorts, ports: [], virtualIps: [virtualIpOf(legs, id)] } },
  );
}

function taskOf(
  service: Service,
  id: TaskId,
  legs: Legs,
  { slot, node, state }: { readonly slot: number; readonly node: NodeId; readonly state: TaskState },
): Task {
  const container = { containerId: `${id}${id}${id}`.slice(0, 64), pid: 1_000, exitCode: 0 };
  const times = { timestampMs: 1, appliedAtMs: 1 };
  return made.task(id, service, state, {
    ...{ node, slot, networks: [{ ...legs.next(id), aliases: [] }] },
    endpoint: { ports: [], virtualIps: service.endpoint?.virtualIps ?? [] },
    status: {
      ...{ state, message: '', ...times },
      ...(state === 'running' && { runningAtMs: 1, container }),
    },
  });
}
