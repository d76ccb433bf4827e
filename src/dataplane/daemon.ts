/**
 * skep-dataplane without its adapters: takes states and the engine's calls, gives what is desired to the programmer,
 * and answers when it is programmed. Must stay true: the kernel is restored before any socket opens, with neither
 * manager nor engine; ending the daemon changes nothing in the kernel.
 */
import { stat } from 'node:fs/promises';
import type Docker from 'dockerode';
import { SkepError } from '../model/errors.js';
import type { NodeId, TaskId, Vni } from '../model/ids.js';
import type { Clock } from '../runtime/clock.js';
import type { Log } from '../runtime/log.js';
import { runLoop, Trigger } from '../runtime/loop.js';
import { Waiters } from '../runtime/waiters.js';
import type { BalancedFlow, VirtualServerCounters } from './balancer/engine.js';
import type { Difference } from './difference.js';
import type { DesiredNetwork, NodeNetwork } from './node-network.js';
import type { EngineName } from './plan/balancing.js';
import { observeEngine } from './plugin/engine.js';
import { repairTable } from './plugin/engine-table.js';
import { ipamDriver } from './plugin/ipam-driver.js';
import { networkDriver } from './plugin/network-driver.js';
import { SandboxWatch } from './plugin/sandbox-watch.js';
import type { PluginMethods } from './plugin/server.js';
import type { TraceReply } from './rpc/definition.js';
import type { DataplaneMethods } from './rpc/server.js';
import type { SandboxEndpoint } from './sandbox.js';
import { SilenceMarks } from './silence.js';
import { endpointKey, itemAt } from './state-change.js';
import type { NodeNetworkState } from './state.js';
import type { HostReader } from './tracer.js';
import { trace } from './tracer.js';

/** Makes the kernel equal to what is desired: the reconciler. */
export interface Programmer {
  /** Replaces what is desired; a pass follows at once. */
  setDesired(desired: DesiredNetwork): void;
  /** Asks for a pass: something outside has changed. */
  poke(): void;
  /** Calls `listener` whenever an overlay's namespace was made, or made anew in the place of one that is gone, and programmed. */
  onNamespaceMade(listener: () => void): void;
  /** Resolves with the programmed revision once it is at least `revision`. */
  waitProgrammed(revision: number, signal: AbortSignal): Promise<number>;
  /** Resolves once the endpoint's veth pair stands. */
  waitVeth(endpointId: string, signal: AbortSignal): Promise<void>;
  /** Resolves once the inside of the endpoint's sandbox equals the plan. */
  waitSandbox(endpointId: string, signal: AbortSignal): Promise<void>;
  /** Dumps and compares, changing nothing: one entry an operation of a repair. */
  verify(signal: AbortSignal): Promise<readonly Difference[]>;
  /** As {@link Programmer.verify}, and puts right what differs. */
  repair(signal: AbortSignal): Promise<{
    readonly found: readonly Difference[];
    readonly repaired: number;
    readonly left: readonly Difference[];
  }>;
  status(): {
    readonly programmedRevision: number;
    readonly lastError: string;
    readonly driftRepairs: number;
    /** What balances. */
    readonly engine: EngineName;
  };
  /** Passes until the signal aborts. Rejects on a bug only. */
  run(signal: AbortSignal): Promise<void>;
}

/** What balances, apart from being programmed. Methods reject with OutsideError. */
export interface Balancer {
  /** @param vni null: the host, where published ports are */
  counters(vni: Vni | null): Promise<readonly VirtualServerCounters[]>;
  /** At most `limit` of the scope's flows. */
  flows(vni: Vni | null, limit: number): Promise<readonly BalancedFlow[]>;
  /** Forgets flows that have been idle for too long; gives their number. */
  expireFlows(): Promise<number>;
}

/** What has sockets in overlays' namespaces and acts by the state: the DNS server, and the relay of resets. */
export interface Listeners {
  /** What to act by, and the containers of this node. State null: nothing is open. */
  setNetwork(state: NodeNetworkState | null, sandboxes: readonly SandboxEndpoint[]): void;
  /** Opens what is not open yet, for an overlay's namespace comes and goes with the programming; true once all is. */
  retry(): Promise<boolean>;
}

/** Which nodes give a sign of life: liveness/prober.ts. */
export interface Liveness extends Listeners {
  /** To whose tasks no new flow is to go; the same set until that changes. */
  readonly silent: ReadonlySet<NodeId>;
  /** Calls `listener` after each change of {@link Liveness.silent}. */
  onChange(listener: () => void): void;
  /** Asks until the signal aborts. */
  run(signal: AbortSignal): Promise<void>;
}

/** Encryption as the kernel and this node have it. */
export interface Encryption {
  /** Whether the kernel has ESP. */
  has(): Promise<boolean>;
  /** Of the keys that this node sends with. */
  epoch(): number;
}

export interface DaemonOptions {
  readonly network: NodeNetwork;
  readonly programmer: Programmer;
  readonly balancer: Balancer;
  readonly listeners: readonly Listeners[];
  readonly liveness: Liveness;
  readonly encryption: Encryption;
  readonly host: HostReader;
  readonly docker: Docker;
  readonly clock: Clock;
  readonly log: Log;
}

/** Bound on waits inside one call of the engine, whose own is 30 s. */
const pluginWaitMs = 20_000;
/** Listeners are looked after this often; sooner while one is missing. */
const listenersLookMs = 5_000;
const listenersRetryMs = 200;
/** The engine is asked for what it has this often, and again this soon after something differed. */
const engineLookMs = 60_000;
const engineSecondLookMs = 10_000;
/**
 * Idle flows are looked for this often, where the kernel does not do so itself. A look is at each flow once, seconds for a
 * million of them: it may take a twentieth of one CPU.
 */
const flowsLookMs = 10_000;
const flowsLookMsMax = 300_000;
const flowsLookShare = 1 / 20;

export class Daemon {
  readonly #watch: SandboxWatch;
  readonly #listenersTrigger = new Trigger();
  readonly #silence = new SilenceMarks();
  /** They look after somebody fell silent or is back. */
  readonly #silenceWaiters = new Waiters();

  constructor(private readonly options: DaemonOptions) {
    const { clock, log, programmer } = options;
    this.#watch = new SandboxWatch({
      clock,
      log,
      poke: () => programmer.poke(),
      waitProgrammed: (endpointId, signal) => programmer.waitSandbox(endpointId, signal),
    });
  }

  /** What the agent handed over, with what is known here of nodes that are silent. */
  get state(): NodeNetworkState | null {
    const { network, liveness } = this.options;
    return this.#silence.mark(network.state, liveness.silent);
  }

  /** The engine's calls. */
  get pluginMethods(): PluginMethods {
    const { network, programmer } = this.options;
    const driver = networkDriver({
      network,
      waitVeth: (endpointId, signal) => programmer.waitVeth(endpointId, signal),
      sandboxExists,
      waitMs: pluginWaitMs,
    });
    return { ...driver, ...ipamDriver };
  }

  /** The agent's and the command's calls. */
  get rpcMethods(): DataplaneMethods {
    const { network, programmer, encryption } = this.options;
    return {
      setState: (state, traces) => network.setState(state, traces),
      changeState: (change, traces) => network.changeState(change, traces),
      clearState: () => network.clearState(),
      waitProgrammed: async (revision, taskId, signal) => {
        const programmed = await programmer.waitProgrammed(revision, signal);
        if (taskId === null) return programmed;
        const endpointIds = await network.waitFor(() => sandboxesOf(network, taskId), signal);
        await Promise.all(endpointIds.map((endpointId) => programmer.waitSandbox(endpointId, signal)));
        return programmed;
      },
      waitSilent: async (known, signal) => {
        const { liveness } = this.options;
        const isNews = (): boolean =>
          known === null ||
          known.size !== liveness.silent.size ||
          [...liveness.silent].some((nodeId) => !known.has(nodeId));
        await this.#silenceWaiters.until(isNews, signal);
        return [...liveness.silent];
      },
      status: async () => ({
        ...programmer.status(),
        desiredRevision: network.state?.revision ?? 0,
        esp: await encryption.has(),
        espEpoch: encryption.epoch(),
        silentNodes: [...this.options.liveness.silent],
      }),
      verify: async (repair, signal) => {
        if (!network.known)
          throw new SkepError('failedPrecondition', 'a damaged file leaves open what this node should have');
        const revision = network.state?.revision ?? 0;
        if (!repair) {
          const differences = await programmer.verify(signal);
          return { revision, equal: differences.length === 0, differences, repaired: 0 };
        }
        const { found, repaired, left } = await programmer.repair(signal);
        return { revision, equal: left.length === 0, differences: found, repaired };
      },
      trace: (service, from, signal) => this.#trace(service, from, signal),
    };
  }

  async #trace(service: string, from: string | null, signal: AbortSignal): Promise<TraceReply> {
    const { network, programmer, balancer, host, clock } = this.options;
    const state = this.state;
    if (state === null)
      throw new SkepError('failedPrecondition', 'this node has no state: it is in no cluster');
    const { engine } = programmer.status();
    const traced = await trace(
      {
        state,
        endpoints: network.endpoints,
        verify: async () => (network.known ? programmer.verify(signal) : []),
        counters: (vni) => balancer.counters(vni),
        flows: (vni, limit) => balancer.flows(vni, limit),
        host,
        clock,
      },
      service,
      from,
      signal,
    );
    return { revision: state.revision, engine, ...traced };
  }

  /** Hands what the files hold to the kernel's programmer; calls after this follow every change. */
  restore(): void {
    // What was open in one that is gone answers nobody.
    this.options.programmer.onNamespaceMade(this.#listenersTrigger.fire);
    this.options.network.onChange(() => this.#publish());
    this.options.liveness.onChange(() => {
      this.#silenceWaiters.check();
      this.#publish();
    });
    this.#publish();
  }

  /** Runs until the signal aborts; rejects on a bug. */
  async run(signal: AbortSignal): Promise<void> {
    try {
      await Promise.all([
        this.options.programmer.run(signal),
        this.#followEngine(signal),
        this.#keepListeners(signal),
        this.#expireFlows(signal),
        this.options.liveness.run(signal),
      ]);
    } finally {
      this.#watch[Symbol.dispose]();
    }
  }

  #publish(): void {
    const { network, programmer, listeners, liveness, log } = this.options;
    const { sandboxes, traces } = network.desired;
    liveness.setNetwork(network.state, sandboxes);
    const state = this.state;
    for (const one of listeners) one.setNetwork(state, sandboxes);
    this.#listenersTrigger.fire();
    if (!network.known) {
      log.warn(
        'a damaged file leaves open what this node has: the kernel stays as it is until that is known',
      );
      return;
    }
    programmer.setDesired({ state, sandboxes, ...(traces && { traces }) });
    this.#watch.follow(network.endpoints);
  }

  async #keepListeners(signal: AbortSignal): Promise<void> {
    const { clock, log, listeners, liveness } = this.options;
    const retry = async (): Promise<boolean> =>
      (await Promise.all([...listeners, liveness].map((one) => one.retry()))).every((whole) => whole);
    await runLoop(
      {
        name: 'listeners',
        trigger: this.#listenersTrigger,
        clock,
        log,
        resyncMs: listenersLookMs,
        gapMs: 20,
        retryMsMax: listenersLookMs,
      },
      async () => ((await retry()) ? listenersLookMs : listenersRetryMs),
      signal,
    );
  }

  async #expireFlows(signal: AbortSignal): Promise<void> {
    const { balancer, clock, log, network } = this.options;
    const look = async (): Promise<number> => {
      if (!balances(network.state)) return flowsLookMs;
      const startedMs = clock.nowMs();
      const flows = await balancer.expireFlows();
      if (flows > 0) log.debug({ flows }, 'idle flows forgotten');
      return Math.max(flowsLookMs, (clock.nowMs() - startedMs) / flowsLookShare);
    };
    await runLoop(
      {
        name: 'flows',
        trigger: new Trigger(),
        clock,
        log,
        resyncMs: flowsLookMsMax,
        gapMs: 1000,
        retryMsMax: engineLookMs,
      },
      look,
      signal,
    );
  }

  /** Asks the engine from time to time what it has; a silent engine changes nothing. */
  async #followEngine(signal: AbortSignal): Promise<void> {
    const { clock, docker, log, network } = this.options;
    let suspects: ReadonlySet<string> = new Set();
    const look = async (): Promise<number> => {
      const view = await observeEngine(docker);
      await network.updateTable((table) => {
        const repair = repairTable(table, view, suspects);
        suspects = repair.suspects;
        if (repair.table !== table)
          log.info({ endpoints: repair.table.endpoints.length }, 'the table of endpoints follows the engine');
        return repair.table;
      });
      return suspects.size > 0 ? engineSecondLookMs : engineLookMs;
    };
    await runLoop(
      {
        name: 'engine-table',
        trigger: new Trigger(),
        clock,
        log,
        resyncMs: engineLookMs,
        gapMs: 1000,
        retryMsMax: engineLookMs,
      },
      look,
      signal,
    );
  }
}

/** There may be flows: something is published, or has a VIP. */
const balances = (state: NodeNetworkState | null): boolean =>
  state !== null &&
  (state.publishedPorts.length > 0 ||
    state.overlays.some(({ services }) => services.some(({ vip }) => vip !== undefined)));

/** Ids of the task's endpoints on this node; undefined while the engine has not joined all of them. */
function sandboxesOf({ state, endpoints }: NodeNetwork, taskId: TaskId): string[] | undefined {
  const legs = (state?.overlays ?? []).flatMap((overlay) => {
    const leg = itemAt(overlay.endpoints, endpointKey, taskId);
    if (leg?.nodeId !== state?.nodeId) return [];
    return [
      endpoints.find(
        ({ overlayId, address, mac }) =>
          overlayId === overlay.id && address === leg?.address && mac === leg.mac,
      ),
    ];
  });
  const joined = legs.flatMap((leg) => (leg?.sandboxKey ? [leg.endpointId] : []));
  return joined.length === legs.length ? joined : undefined;
}

async function sandboxExists(sandboxKey: string): Promise<boolean> {
  return stat(sandboxKey).then(
    () => true,
    () => false,
  );
}
