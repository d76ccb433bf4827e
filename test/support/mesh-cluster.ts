/**
 * A cluster as namespaces of one kernel: nodes, each programmed by a reconciler of its own, tasks in containers' namespaces,
 * and outsiders, all on one underlay bridge. What the engine and the agent would do to a container is done here.
 * Nothing outside the namespaces is touched but a directory for overlays under /run; all of it goes with the scope.
 */
import assert from 'node:assert';
import { execFile } from 'node:child_process';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { pino } from 'pino';
import type { BalancerEngine, BalancerTable } from '../../src/dataplane/balancer/engine.js';
import { ipvsEngine } from '../../src/dataplane/balancer/ipvs.js';
import { differenceLine } from '../../src/dataplane/difference.js';
import type { DnsServer } from '../../src/dataplane/dns/server.js';
import type { NameThread } from '../../src/dataplane/dns/thread.js';
import { hostReader } from '../../src/dataplane/kernel/host-reader.js';
import { LinuxKernel } from '../../src/dataplane/kernel/linux-kernel.js';
import type { ReservationsRecord } from '../../src/dataplane/kernel/reserved-ports.js';
import { unkeptReservations } from '../../src/dataplane/kernel/reserved-ports.js';
import { balancerCollector } from '../../src/dataplane/metrics/balancer-collector.js';
import { CounterReader } from '../../src/dataplane/metrics/counter-reader.js';
import { dataplaneMetrics } from '../../src/metrics/dataplane-table.js';
import type { DataplaneMetrics } from '../../src/metrics/dataplane-table.js';
import { Metrics } from '../../src/metrics/registry.js';
import type { Desired } from '../../src/dataplane/plan/node.js';
import { native } from '../../src/runtime/native.js';
import type { EspSenderRecord } from '../../src/dataplane/reconcile/reconciler.js';
import { Reconciler, unkeptSender } from '../../src/dataplane/reconcile/reconciler.js';
import { ResetRelay } from '../../src/dataplane/resets/relay.js';
import type { SandboxEndpoint } from '../../src/dataplane/sandbox.js';
import { containerEndName } from '../../src/dataplane/sandbox.js';
import { SilenceMarks } from '../../src/dataplane/silence.js';
import type { NodeNetworkState } from '../../src/dataplane/state.js';
import type { ServiceTrace } from '../../src/dataplane/trace.js';
import { trace } from '../../src/dataplane/tracer.js';
import { parseCidr } from '../../src/model/addresses.js';
import type { NodeId, Vni } from '../../src/model/ids.js';
import { subnetAround } from '../../src/model/network-subnets.js';
import { systemClock } from '../../src/runtime/clock.js';
import { built, CleanupStack } from '../../src/runtime/cleanup-stack.js';
import type { TaskOf } from '../unit/dataplane/plan/network-state.js';
import { ingressId, mynetId, sandboxOf, vtepOf } from '../unit/dataplane/plan/network-state.js';

const exec = promisify(execFile);

/** A container: a task's, with the overlays it is on. */
export interface ContainerOf extends TaskOf {
  readonly ingress: boolean;
}

export interface MeshClusterOptions {
  /** Begins the names of all namespaces; unique on this kernel. At most 8 characters. */
  readonly name: string;
  readonly nodes: readonly number[];
  readonly containers: readonly ContainerOf[];
  /** Hosts that are no nodes, and the last octet of their addresses on the underlay. */
  readonly outsiders: Readonly<Record<string, number>>;
  /** What balances on a node, opened anew for each daemon and closed with it; `ipvs` by default. */
  readonly openEngine?: (node: number) => BalancerEngine;
  /** What balances as a stranger has it, see {@link MeshCluster.openStranger}; the same by default. */
  readonly openStrangersEngine?: (node: number) => BalancerEngine;
  /** Answers names in the overlays and containers of a node; asked for once a node. Absent: nobody does. */
  readonly openNames?: (node: number, netnsDirectory: string) => DnsServer | NameThread;
  /** Without the engine's bridges on the nodes, whose address translation makes the host track connections. */
  readonly bare?: true;
}

/** The engine's own bridges on a node and their networks: plain containers, and the way out of those with overlays. */
const bridges = { docker0: '172.17', docker_gwbridge: '172.18' } as const;
type Bridge = keyof typeof bridges;

/** What a node's daemon knows of others, beside what it was programmed with. */
interface Silence {
  readonly marks: SilenceMarks;
  silent: ReadonlySet<NodeId>;
}

/** A node's daemon, as far as the kernel is concerned. */
interface Daemon {
  readonly kernel: LinuxKernel;
  readonly reconciler: Reconciler;
}

export class MeshCluster implements AsyncDisposable {
  readonly #daemons = new Map<number, Daemon>();
  readonly #desired = new Map<number, Desired>();
  readonly #silence = new Map<number, Silence>();
  readonly #names = new Map<number, DnsServer | NameThread>();
  readonly #resets = new Map<number, ResetRelay>();
  readonly #metrics = new Map<number, Metrics<DataplaneMetrics>>();
  /** What a node's daemons keep on disk. */
  readonly #espSenders = new Map<number, EspSenderRecord>();
  readonly #reservations = new Map<number, ReservationsRecord>();
  readonly #undo = new CleanupStack();

  private constructor(private readonly options: MeshClusterOptions) {}

  /** Makes all namespaces; nothing is programmed yet. Needs root. */
  static async create(options: MeshClusterOptions): Promise<MeshCluster> {
    return built(new MeshCluster(options), (cluster) => cluster.#build());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#undo[Symbol.asyncDispose]();
  }

  get nodes(): readonly number[] {
    return this.options.nodes;
  }

  /** Path of a namespace: `node1`, `c3`, or an outsider by its name. */
  path(name: string): string {
    return `/run/netns/${this.#namespace(name)}`;
  }

  reconciler(node: number): Reconciler {
    return this.#daemon(node).reconciler;
  }

  kernel(node: number): LinuxKernel {
    return this.#daemon(node).kernel;
  }

  /** What a node was last programmed with, and which nodes it takes for silent. */
  desired(node: number): Desired {
    const desired = this.#desired.get(node);
    assert(desired, `node${node} was programmed`);
    const { marks, silent } = this.#silenceOf(node);
    return { ...desired, state: marks.mark(desired.state, silent) };
  }

  /** Has a node take others for silent from now on, as its prober would. */
  async setSilent(node: number, silent: ReadonlySet<NodeId>): Promise<void> {
    this.#silenceOf(node).silent = silent;
    this.#hand(node);
    await this.pass(node);
  }

  /** Where a node's daemon finds its namespaces. */
  places(node: number): { readonly hostNetns: string; readonly netnsDirectory: string } {
    return { hostNetns: this.path(`node${node}`), netnsDirectory: this.#overlays(node) };
  }

  overlayPath(node: number, vni: number): string {
    return `${this.#overlays(node)}/skep-${vni}`;
  }

  /** Runs a command in a namespace, without a shell; gives its standard output. Rejects when it fails or takes 20 s. */
  async run(name: string, ...command: string[]): Promise<string> {
    return this.runAt(this.path(name), ...command);
  }

  async runAt(path: string, ...command: string[]): Promise<string> {
    const { stdout } = await exec('nsenter', [`--net=${path}`, ...command], { timeout: 20_000 });
    return stdout;
  }

  /**
   * Brings all nodes to their states, null to leave the cluster. Rejects when a node cannot.
   * @param absent containers whose endpoint the engine has removed
   * @param on the nodes that are told
   * @returns how many milliseconds each node took
   */
  async program(
    stateOf: (node: number) => NodeNetworkState | null,
    absent: readonly number[] = [],
    on: readonly number[] = this.nodes,
  ): Promise<ReadonlyMap<number, number>> {
    for (const node of on) {
      const state = stateOf(node);
      const present = this.options.containers.filter(
        (task) => task.node === node && !absent.includes(task.part),
      );
      const sandboxes = state === null ? [] : present.flatMap((container) => this.#legs(container));
      this.#desired.set(node, { state, sandboxes });
      this.#hand(node);
    }
    const tookMs = new Map<number, number>();
    for (const node of on) {
      const startMs = performance.now();
      await this.pass(node);
      tookMs.set(node, Math.round(performance.now() - startMs));
    }
    return tookMs;
  }

  /** One pass of a node. Rejects with what stands in its way. */
  async pass(node: number): Promise<void> {
    const reconciler = this.reconciler(node);
    reconciler.poke();
    await reconciler.pass();
    const { lastError } = reconciler.status();
    if (lastError !== '') throw new Error(`node${node}: ${lastError}`);
    await this.#names.get(node)?.retry();
    await this.#resets.get(node)?.retry();
  }

  #silenceOf(node: number): Silence {
    const known = this.#silence.get(node) ?? { marks: new SilenceMarks(), silent: new Set() };
    this.#silence.set(node, known);
    return known;
  }

  /** Tells whoever acts by it what is desired. */
  #hand(node: number): void {
    const desired = this.desired(node);
    this.#names.get(node)?.setNetwork(desired.state, desired.sandboxes);
    this.#resets.get(node)?.setNetwork(desired.state);
    this.reconciler(node).setDesired(desired);
  }

  /** Moves the containers' ends of their veth pairs in, as the engine does, and programs the inside. */
  async startContainers(): Promise<void> {
    for (const container of this.options.containers) {
      const name = this.#namespace(`c${container.part}`);
      for (const [index, leg] of this.#legs(container).entries()) {
        const end = containerEndName(leg.endpointId);
        await ip(
          `-n ${this.#namespace(`node${container.node}`)} link set ${end} netns ${name} name eth${index}`,
        );
        const overlay = this.desired(container.node).state?.overlays.find(({ id }) => id === leg.overlayId);
        const { subnet } = (overlay && subnetAround(overlay, leg.address)) ?? assert.fail(leg.address);
        await ip(`-n ${name} addr add ${leg.address}/${parseCidr(subnet).prefixLength} dev eth${index}`);
        await ip(`-n ${name} link set eth${index} up`);
      }
      if (!this.options.bare)
        await this.#connectToBridge(container.node, 'docker_gwbridge', name, container.part);
    }
    for (const node of this.nodes) await this.pass(node);
  }

  /**
   * A container behind a bridge of a node, as those on docker0: nothing of ours, its calls leave under the node's address.
   * @returns the path of its namespace
   */
  async addBridged(node: number, name: string): Promise<string> {
    const namespace = await this.#makeNamespace(name);
    await this.#connectToBridge(node, 'docker0', namespace, 2);
    return this.path(name);
  }

  /** Ends a node's daemon as `kill -9` does: the kernel keeps all it was given, for whoever comes next. */
  async kill(node: number): Promise<void> {
    // Does nothing more, but closes what it listens with.
    await this.reconciler(node).run(AbortSignal.abort());
    this.#close(this.kernel(node));
    this.#daemons.delete(node);
  }

  /** As after `kill -9` of a node's daemon: a new one that knows nothing but the desired value, over the same kernel. */
  async restart(node: number): Promise<void> {
    const desired = this.desired(node);
    if (this.#daemons.has(node)) await this.kill(node);
    this.#start(node);
    this.reconciler(node).setDesired(desired);
    await this.pass(node);
  }

  /** Lets somebody else change a node's kernel behind its daemon's back. */
  async asStranger(node: number, change: (kernel: LinuxKernel) => Promise<void>): Promise<void> {
    using stranger = this.openStranger(node);
    await change(stranger.kernel);
  }

  /** A node's kernel as somebody else has it, who neither knows its daemon nor is known to it. */
  openStranger(node: number): Disposable & { readonly kernel: LinuxKernel } {
    const { openStrangersEngine, openEngine } = this.options;
    const kernel = this.#open(node, openStrangersEngine ?? openEngine, true);
    return { kernel, [Symbol.dispose]: () => this.#close(kernel) };
  }

  /** As `skep trace` on a node. */
  trace(node: number, service: string, from: string | null): Promise<ServiceTrace> {
    const desired = this.desired(node);
    assert(desired.state);
    const { kernel, reconciler } = this.#daemon(node);
    const table = (vni: Vni | null): Promise<BalancerTable> =>
      kernel.table(vni === null ? { kind: 'host' } : { kind: 'overlay', vni });
    const sources = {
      state: desired.state,
      endpoints: desired.sandboxes,
      verify: () => reconciler.verify(),
      counters: async (vni: Vni | null) => (await table(vni)).counters(),
      flows: async (vni: Vni | null, limit: number) => (await table(vni)).flows(limit),
      host: hostReader(this.path(`node${node}`)),
      clock: systemClock,
    };
    return trace(sources, service, from, AbortSignal.timeout(20_000));
  }

  /** What a scrape of a node's daemon says of services. */
  scrape(node: number): Promise<string> {
    let metrics = this.#metrics.get(node);
    if (!metrics) {
      const kernel = (): LinuxKernel => this.kernel(node);
      const log = pino({ level: process.env['SKEP_LOG'] ?? 'silent' }).child({ node });
      metrics = new Metrics({ table: dataplaneMetrics, clock: systemClock, log });
      const reader = new CounterReader({
        table: (vni) => kernel().table(vni === null ? { kind: 'host' } : { kind: 'overlay', vni }),
        clock: systemClock,
      });
      metrics.collect(
        'balancer',
        balancerCollector({
          state: () => this.desired(node).state,
          engine: () => kernel().engine.name,
          reader,
          perEndpoint: true,
        }),
      );
      this.#metrics.set(node, metrics);
    }
    return metrics.text();
  }

  /** What differs from the states, a line each with the node's name; [] when nothing does. */
  async verify(): Promise<string[]> {
    const found = await Promise.all(
      this.nodes.map(async (node) =>
        (await this.reconciler(node).verify()).map(
          (difference) => `node${node}: ${differenceLine(difference)}`,
        ),
      ),
    );
    return found.flat();
  }

  async #build(): Promise<void> {
    const underlay = await this.#makeNamespace('underlay');
    await ip(`-n ${underlay} link add bridge type bridge`);
    await ip(`-n ${underlay} link set bridge up`);
    const members = [
      ...this.nodes.map((node) => [`node${node}`, vtepOf(node)] as const),
      ...Object.entries(this.options.outsiders).map(([name, part]) => [name, vtepOf(part)] as const),
    ];
    for (const [name, address] of members) {
      const namespace = await this.#makeNamespace(name);
      await ip(`-n ${namespace} link add eth0 type veth peer name ${name} netns ${underlay}`);
      await ip(`-n ${underlay} link set ${name} master bridge up`);
      await ip(`-n ${namespace} addr add ${address}/24 dev eth0`);
      await ip(`-n ${namespace} link set eth0 up`);
    }
    for (const node of this.options.bare ? [] : this.nodes)
      for (const bridge of Object.keys(bridges)) await this.#makeBridge(node, bridge as Bridge);
    for (const { part } of this.options.containers) await this.#makeNamespace(`c${part}`);
    for (const node of this.nodes) {
      await mkdir(this.#overlays(node), { recursive: true });
      this.#undo.defer(() => this.#removeOverlays(node));
      const names = this.options.openNames?.(node, this.#overlays(node));
      if (names) this.#names.set(node, this.#undo.use(names));
      const netnsPath = (vni: number): string => this.overlayPath(node, vni);
      const log = pino({ level: process.env['SKEP_LOG'] ?? 'silent' }).child({ node });
      this.#resets.set(node, this.#undo.use(new ResetRelay({ log, clock: systemClock, netnsPath })));
      this.#start(node);
      this.#undo.defer(() => this.#leave(node));
    }
  }

  /** Removes whatever is left of a node; its failures have been reported by whoever programmed it. */
  async #leave(node: number): Promise<void> {
    if (!this.#daemons.has(node)) this.#start(node);
    const { kernel, reconciler } = this.#daemon(node);
    reconciler.setDesired({ state: null, sandboxes: [] });
    await reconciler.pass();
    this.#close(kernel);
  }

  /** Those that a daemon which could not leave has left. */
  async #removeOverlays(node: number): Promise<void> {
    const directory = this.#overlays(node);
    for (const name of await readdir(directory)) native().deleteNetns(join(directory, name));
    await rm(directory, { recursive: true });
  }

  #start(node: number): void {
    const kernel = this.#open(node, this.options.openEngine, false);
    const log = pino({ level: process.env['SKEP_LOG'] ?? 'silent' }).child({ node });
    const espSender = this.#espSenders.get(node) ?? unkeptSender(Date.now());
    this.#espSenders.set(node, espSender);
    const reconciler = new Reconciler({
      kernel,
      clock: systemClock,
      log,
      espSender,
      // Looks that nothing asks for cost seconds in a slow guest; a daemon's first pass and `verify` look at everything.
      resyncMs: 3_600_000,
      freshMs: 3_600_000,
    });
    this.#daemons.set(node, { kernel, reconciler });
  }

  /** @param isStranger what the daemon has reserved is known, and kept by nobody but the daemon */
  #open(
    node: number,
    openEngine: ((node: number) => BalancerEngine) | undefined,
    isStranger: boolean,
  ): LinuxKernel {
    const ofDaemon = this.#reservations.get(node) ?? unkeptReservations();
    this.#reservations.set(node, ofDaemon);
    const names = isStranger ? undefined : this.#names.get(node);
    return new LinuxKernel({
      reservations: isStranger
        ? {
            get current() {
              return ofDaemon.current;
            },
            save: async () => undefined,
          }
        : ofDaemon,
      ...this.places(node),
      engine: openEngine?.(node) ?? ipvsEngine,
      ...(names && { names }),
    });
  }

  #close(kernel: LinuxKernel): void {
    kernel[Symbol.dispose]();
    kernel.engine[Symbol.dispose]();
  }

  #daemon(node: number): Daemon {
    const daemon = this.#daemons.get(node);
    assert(daemon, `node${node} exists`);
    return daemon;
  }

  #legs({ part, ingress }: ContainerOf): SandboxEndpoint[] {
    const path = this.path(`c${part}`);
    return [...(ingress ? [sandboxOf(ingressId, part, path)] : []), sandboxOf(mynetId, part, path)];
  }

  async #makeBridge(node: number, bridge: Bridge): Promise<void> {
    const host = this.#namespace(`node${node}`);
    const network = `${bridges[bridge]}.${node}`;
    await ip(`-n ${host} link add ${bridge} type bridge`);
    await ip(`-n ${host} addr add ${network}.1/24 dev ${bridge}`);
    await ip(`-n ${host} link set ${bridge} up`);
    const translated = `-A POSTROUTING -s ${network}.0/24 ! -o ${bridge} -j MASQUERADE`;
    await this.run(`node${node}`, 'iptables', '-t', 'nat', ...translated.split(' '));
    await this.run(`node${node}`, 'iptables', ...`-A FORWARD -i ${bridge} -j ACCEPT`.split(' '));
  }

  /** Gives a container an interface on the bridge, and its default route. */
  async #connectToBridge(node: number, bridge: Bridge, namespace: string, part: number): Promise<void> {
    const host = this.#namespace(`node${node}`);
    const port = `b${part}-${bridge.slice(7)}`;
    const network = `${bridges[bridge]}.${node}`;
    await ip(`-n ${host} link add ${port} master ${bridge} type veth peer name ethb netns ${namespace}`);
    await ip(`-n ${host} link set ${port} up`);
    await ip(`-n ${namespace} addr add ${network}.${part}/24 dev ethb`);
    await ip(`-n ${namespace} link set ethb up`);
    await ip(`-n ${namespace} route add default via ${network}.1`);
  }

  async #makeNamespace(name: string): Promise<string> {
    const namespace = this.#namespace(name);
    await ip(`netns add ${namespace}`);
    this.#undo.defer(() => ip(`netns del ${namespace}`));
    await ip(`-n ${namespace} link set lo up`);
    return namespace;
  }

  #namespace(name: string): string {
    return `${this.options.name}-${name}`;
  }

  #overlays(node: number): string {
    return `/run/${this.options.name}-overlays${node}`;
  }
}

const ip = async (line: string): Promise<void> => void (await exec('ip', line.split(' ')));
