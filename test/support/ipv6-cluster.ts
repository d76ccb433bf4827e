/**
 * Two nodes as namespaces of one kernel whose underlay and overlays are IPv6's, with a client beside them and tasks in
 * containers' namespaces: the twin of a small IPv4 cluster. What the engine and the agent would do to a container is done here.
 */
import assert from 'node:assert';
import { execFile } from 'node:child_process';
import type { Socket } from 'node:dgram';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdir, rm } from 'node:fs/promises';
import type { Server } from 'node:http';
import { createServer } from 'node:http';
import { promisify } from 'node:util';
import { pino } from 'pino';
import type { BalancerEngine } from '../../src/dataplane/balancer/engine.js';
import { differenceLine } from '../../src/dataplane/difference.js';
import { LinuxKernel } from '../../src/dataplane/kernel/linux-kernel.js';
import { native } from '../../src/runtime/native.js';
import type { Desired } from '../../src/dataplane/plan/node.js';
import { Reconciler } from '../../src/dataplane/reconcile/reconciler.js';
import type { SandboxEndpoint } from '../../src/dataplane/sandbox.js';
import { containerEndName } from '../../src/dataplane/sandbox.js';
import type { NodeNetworkState, PublishedPort } from '../../src/dataplane/state.js';
import type { Ip } from '../../src/model/addresses.js';
import { built, CleanupStack } from '../../src/runtime/cleanup-stack.js';
import { systemClock } from '../../src/runtime/clock.js';
import { twinOfSandboxes, twinOfState, twinOfText } from '../unit/dataplane/plan/ipv6-twin.js';
import type { ClusterOf, TaskOf } from '../unit/dataplane/plan/network-state.js';
import { ingressId, mynetId, sandboxOf, stateOf, vtepOf } from '../unit/dataplane/plan/network-state.js';

const run = promisify(execFile);

/** `web` on both nodes, on ingress and `mynet`, and a caller on `mynet` alone. */
const tasks: readonly TaskOf[] = [
  { part: 3, node: 1 },
  { part: 4, node: 2 },
  { part: 5, node: 1, service: 'caller' },
];
export const publishedPort = 8080;
export const nodes = [1, 2] as const;
const clientPart = 9;
/** The twin of an address of network-state.ts. */
export const twinOf = (address: Ip): Ip => twinOfText(address) as Ip;
export const vtep = (node: number): Ip => twinOf(vtepOf(node));
export const clientAddress = vtep(clientPart);

interface Daemon {
  readonly kernel: LinuxKernel;
  readonly reconciler: Reconciler;
}

export class Ipv6Cluster implements AsyncDisposable {
  readonly #undo = new CleanupStack();
  readonly #daemons = new Map<number, Daemon>();

  private constructor(
    /** Begins the names of all namespaces; unique on this kernel. */
    private readonly name: string,
    private readonly engine: BalancerEngine,
    private readonly limits: NonNullable<ClusterOf['limits']>,
  ) {}

  /** Nodes and client on one underlay; nothing is programmed yet. */
  static async create(
    name: string,
    engine: BalancerEngine,
    limits: NonNullable<ClusterOf['limits']> = {},
  ): Promise<Ipv6Cluster> {
    return built(new Ipv6Cluster(name, engine, limits), (cluster) => cluster.#build());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#undo[Symbol.asyncDispose]();
  }

  /** Name of the namespace of `node1`, `c3`, `client`. */
  namespace(of: string): string {
    return `${this.name}-${of}`;
  }

  directory(node: number): string {
    return `/run/${this.name}-${node}`;
  }

  /** The state of a node before it is made its twin. */
  ipv4State(node: number): NodeNetworkState {
    const state = stateOf(node, {
      ingress: true,
      tasks,
      ports: { [publishedPort]: 80 },
      limits: this.limits,
    });
    const publishedPorts = (['tcp', 'udp', 'sctp'] as const).flatMap((protocol) =>
      state.publishedPorts.map((port): PublishedPort => ({ ...port, protocol })),
    );
    return { ...state, publishedPorts };
  }

  desired(node: number): Desired & { readonly state: NodeNetworkState } {
    return { state: twinOfState(this.ipv4State(node)), sandboxes: this.legs(node) };
  }

  legs(node: number): SandboxEndpoint[] {
    return tasks.filter((task) => task.node === node).flatMap((task) => this.#legsOf(task));
  }

  reconciler(node: number): Reconciler {
    const daemon = this.#daemons.get(node);
    assert(daemon, `node${node} was programmed`);
    return daemon.reconciler;
  }

  kernel(node: number): LinuxKernel {
    const daemon = this.#daemons.get(node);
    assert(daemon, `node${node} was programmed`);
    return daemon.kernel;
  }

  /** A pass that looks at everything, as a restarted daemon's first one; gives what stood in its way, or ''. */
  async freshPass(node: number, want: Desired): Promise<string> {
    this.#daemons.get(node)?.kernel[Symbol.dispose]();
    const kernel = new LinuxKernel({
      hostNetns: `/run/netns/${this.namespace(`node${node}`)}`,
      netnsDirectory: this.directory(node),
      engine: this.engine,
    });
    const reconciler = new Reconciler({
      kernel,
      clock: systemClock,
      log: pino({ level: process.env['SKEP_LOG'] ?? 'silent' }),
    });
    this.#daemons.set(node, { kernel, reconciler });
    reconciler.setDesired(want);
    await reconciler.pass();
    return reconciler.status().lastError;
  }

  /** Programs both nodes, moves the containers' ends in as the engine does, and programs their insides. */
  async start(): Promise<void> {
    for (const node of nodes) assert.equal(await this.freshPass(node, this.desired(node)), '');
    for (const task of tasks) await this.#moveIn(task);
    for (const node of nodes) {
      const reconciler = this.reconciler(node);
      reconciler.poke();
      await reconciler.pass();
      for (const { endpointId } of this.legs(node))
        await reconciler.waitSandbox(endpointId, AbortSignal.timeout(5000));
      assert.equal(reconciler.status().lastError, '');
    }
  }

  async differences(node: number): Promise<string[]> {
    return (await this.reconciler(node).verify()).map(differenceLine);
  }

  /** Standard output of a command inside a namespace. */
  async run(namespace: string, ...command: string[]): Promise<string> {
    const args = [`--net=/run/netns/${this.namespace(namespace)}`, ...command];
    return (await run('nsenter', args, { timeout: 20_000 })).stdout;
  }

  /** Answers HTTP on port 80 of a container's every address: which task it is, and whom it sees. */
  async serve(part: number): Promise<void> {
    const server: Server = createServer((request, response) => {
      response.setHeader('connection', 'close').end(`web${part} ${request.socket.remoteAddress}\n`);
    });
    const fd = native().bindInNetns(`/run/netns/${this.namespace(`c${part}`)}`, 'tcp', '::', 80);
    await new Promise<void>((resolve) => server.listen({ fd }, resolve));
    this.#undo.defer(() => void server.close());
  }

  /** Sends each datagram that comes to port 80 of the container back. */
  async echo(part: number): Promise<void> {
    const socket = await this.#socket(`c${part}`, 80);
    socket.on('message', (data, from) => socket.send(data, from.port, from.address));
  }

  /** New connections from inside a namespace: how often each answer came. */
  async call(from: string, host: string, port: number, times: number): Promise<Record<string, number>> {
    const args = ['-s', '-m', '8', '-g', '-H', 'Connection: close'];
    const urls = Array.from({ length: times }, () => `http://[${host}]:${port}/`);
    const answers = await this.run(from, 'curl', ...args, ...urls).catch(
      (err: unknown) => (err as { stdout?: string }).stdout ?? '',
    );
    const count: Record<string, number> = {};
    for (const answer of answers.trim().split('\n').filter(Boolean)) count[answer] = (count[answer] ?? 0) + 1;
    return count;
  }

  /** From so many ports of a namespace a datagram each; how many came back from where they were sent to. */
  async exchange(from: string, host: Ip, port: number, times: number): Promise<number> {
    let answered = 0;
    for (let index = 0; index < times; index++) {
      const socket = await this.#socket(from, 0);
      socket.on('message', (_, { address, port: fromPort }) => {
        if (address === host && fromPort === port) answered += 1;
      });
      socket.send('who?', port, host);
    }
    for (let waited = 0; answered < times && waited < 3000; waited += 20) await systemClock.sleep(20);
    return answered;
  }

  async #socket(namespace: string, port: number): Promise<Socket> {
    const socket = createSocket('udp6');
    const listening = once(socket, 'listening');
    const path = `/run/netns/${this.namespace(namespace)}`;
    socket.bind({ fd: native().bindInNetns(path, 'udp', '::', port) });
    await listening;
    this.#undo.defer(() => void socket.close());
    return socket;
  }

  async #build(): Promise<void> {
    await this.#makeNamespace('underlay');
    const underlay = this.namespace('underlay');
    await ip(`-n ${underlay} link add bridge type bridge`);
    await ip(`-n ${underlay} link set bridge up`);
    const members = [...nodes.map((node) => [`node${node}`, vtep(node)] as const), ['client', clientAddress]];
    for (const [name, address] of members) {
      const namespace = await this.#makeNamespace(name ?? '');
      await ip(`-n ${namespace} link add eth0 type veth peer name ${name} netns ${underlay}`);
      await ip(`-n ${underlay} link set ${name} master bridge up`);
      await ip(`-n ${namespace} addr add ${address}/120 dev eth0 nodad`);
      await ip(`-n ${namespace} link set eth0 up`);
    }
    for (const { part } of tasks) await this.#makeNamespace(`c${part}`);
    for (const node of nodes) {
      await mkdir(this.directory(node), { recursive: true });
      // As Docker leaves it: what is not accepted is not forwarded.
      await this.run(`node${node}`, 'ip6tables', '-P', 'FORWARD', 'DROP');
      this.#undo.defer(() => this.#leave(node));
    }
  }

  async #leave(node: number): Promise<void> {
    await this.freshPass(node, { state: null, sandboxes: [] });
    this.kernel(node)[Symbol.dispose]();
    await rm(this.directory(node), { recursive: true, force: true });
  }

  async #makeNamespace(of: string): Promise<string> {
    const namespace = this.namespace(of);
    await ip(`netns add ${namespace}`);
    this.#undo.defer(() => ip(`netns del ${namespace}`));
    await ip(`-n ${namespace} link set lo up`);
    return namespace;
  }

  #legsOf({ part, service }: TaskOf): SandboxEndpoint[] {
    const path = `/run/netns/${this.namespace(`c${part}`)}`;
    const ids = service === 'caller' ? [mynetId] : [mynetId, ingressId];
    return twinOfSandboxes(ids.map((id) => sandboxOf(id, part, path)));
  }

  async #moveIn(task: TaskOf): Promise<void> {
    const container = this.namespace(`c${task.part}`);
    for (const [index, leg] of this.#legsOf(task).entries()) {
      const end = containerEndName(leg.endpointId);
      await ip(
        `-n ${this.namespace(`node${task.node}`)} link set ${end} netns ${container} name eth${index}`,
      );
      await ip(`-n ${container} addr add ${leg.address}/120 dev eth${index} nodad`);
      await ip(`-n ${container} link set eth${index} up`);
    }
    // As every container has one, or a datagram could not be answered before its way is known.
    await ip(`-6 -n ${container} route add default dev eth0`);
  }
}

const ip = async (line: string): Promise<void> => void (await run('ip', line.split(' ')));
