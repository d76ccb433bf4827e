/**
 * A node without engine and kernel: the product's own session with a manager, its certificate, heartbeats, reports and
 * acknowledgements. What it is told goes to whoever measures, and is acknowledged once that has taken it.
 */
import { nodeClientSecurity } from '../../src/controlplane/ca/credentials.js';
import { LogPublisher } from '../../src/controlplane/agent/log-publisher.js';
import { AgentSession } from '../../src/controlplane/agent/session.js';
import type { SessionOptions } from '../../src/controlplane/agent/session.js';
import { StatusReporter } from '../../src/controlplane/agent/status-reporter.js';
import { TaskBarrier } from '../../src/controlplane/agent/task-barrier.js';
import { DispatcherClient } from '../../src/controlplane/rpc/clients.js';
import type { WireNodeDescription } from '../../src/controlplane/rpc/messages.js';
import type { RandomSource } from '../../src/model/ids.js';
import type { Clock } from '../../src/runtime/clock.js';
import type { Log } from '../../src/runtime/log.js';
import { Waiters } from '../../src/runtime/waiters.js';
import { LeanDispatcher } from './lean-client.js';
import type { NodeKeysText } from './manager-process.js';

/** Given what the node has to know, as the product's NodeNetwork is. */
export interface SimulatedNetwork {
  readonly set: SessionOptions['network']['set'];
  /** Resolves with a revision that may be acknowledged, above `revision`; without it, what was given is. */
  readonly programmedPast?: (revision: number, signal: AbortSignal) => Promise<number>;
}

export interface SimulatedAgentOptions {
  readonly keys: NodeKeysText;
  /** Of the manager, `host:port`. */
  readonly addr: string;
  readonly dataPathAddr: string;
  readonly network: SimulatedNetwork;
  /** It reads all that it is told; otherwise of a large set the head alone. */
  readonly readsAll: boolean;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly log: Log;
}

export class SimulatedAgent {
  readonly reporter: StatusReporter;
  readonly #session: AgentSession;
  readonly #waiters = new Waiters();
  readonly #network: SimulatedNetwork;
  #revision = -1;
  #isInSession = false;

  constructor(options: SimulatedAgentOptions) {
    const { keys, addr, dataPathAddr, network, readsAll, clock, random, log } = options;
    this.#network = network;
    const security = nodeClientSecurity(keys);
    const common = { clock, log };
    this.reporter = new StatusReporter(common);
    this.#session = new AgentSession({
      credentials: () => security.credentials,
      connect: (to) =>
        readsAll
          ? new DispatcherClient(to, security.credentials, security.options)
          : new DispatcherClient(to, security.credentials, security.options, LeanDispatcher),
      managers: [{ nodeId: '', addr }],
      dataPathAddr,
      describe: async () => descriptionOf(keys.nodeId),
      network: {
        set: (assignments, revision, changes) => {
          network.set(assignments, revision, changes, []);
          this.#revision = revision;
          this.#waiters.check();
        },
      },
      barrier: new TaskBarrier({
        ...common,
        programmedPast: (revision, signal) => this.#programmedPast(revision, signal),
      }),
      worker: { assign: () => undefined },
      payloads: { set: () => undefined },
      attachments: {
        set: () => undefined,
        run: (_calls, signal) => {
          this.#isInSession = true;
          this.#waiters.check();
          return aborted(signal);
        },
      },
      reporter: this.reporter,
      logs: new LogPublisher({ ...common, taskLogs: () => nothing() }),
      // Nothing lies between them that one of them could miss.
      silence: { nodes: new Set(), subscribe: () => ({ [Symbol.dispose]: () => undefined }) },
      tunnels: {
        run: async (client, _connect, sessionId, signal) => {
          for await (const _offer of client.listenTunnels({ sessionId }, signal)) continue;
        },
      },
      ...{ random, ...common },
    });
  }

  /** Holds sessions until the signal aborts. */
  run(signal: AbortSignal): Promise<void> {
    return this.#session.run(signal);
  }

  /** Resolves once a manager has taken it in. */
  async registered(signal: AbortSignal): Promise<void> {
    await this.#waiters.until(() => this.#isInSession, signal);
  }

  /** Resolves once it knows what it has to, and its network has it. */
  async told(signal: AbortSignal): Promise<void> {
    await this.#programmedPast(-1, signal);
  }

  async #programmedPast(revision: number, signal: AbortSignal): Promise<number> {
    await this.#waiters.until(() => this.#revision > revision, signal);
    return (await this.#network.programmedPast?.(revision, signal)) ?? this.#revision;
  }
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));

async function* nothing(): AsyncGenerator<Buffer> {
  // Nobody reads logs here.
}

const descriptionOf = (hostname: string): WireNodeDescription => ({
  hostname,
  ...{ architecture: 'x86_64', os: 'linux', nanoCpus: 1e12, memoryBytes: 2 ** 42, engineVersion: '20.10' },
  ...{ engineLabels: {}, plugins: [], genericResources: [], routes: [], espEpoch: 1, tlsInfo: null },
});
