/** A node whose dataplane is programmed as skep-dataplane does it, from the socket to the kernel, in a namespace of this kernel. */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { pino } from 'pino';
import type { BalancerEngine } from '../../src/dataplane/balancer/engine.js';
import { LinuxKernel } from '../../src/dataplane/kernel/linux-kernel.js';
import { NodeNetwork } from '../../src/dataplane/node-network.js';
import { Reconciler } from '../../src/dataplane/reconcile/reconciler.js';
import { DataplaneClient } from '../../src/dataplane/rpc/client.js';
import { createDataplaneServer, listenOnSocket } from '../../src/dataplane/rpc/server.js';
import { openEngineTableFile } from '../../src/dataplane/state-file.js';
import { StateLog } from '../../src/dataplane/state-log.js';
import type { NodeNetworkState } from '../../src/dataplane/state.js';
import { CleanupStack } from '../../src/runtime/cleanup-stack.js';
import { systemClock } from '../../src/runtime/clock.js';
import { vtep } from './network.js';

const exec = promisify(execFile);
const ip = async (line: string): Promise<void> => void (await exec('ip', line.split(' ')));
const programMsMax = 300_000;

export interface BenchNodeOptions {
  /** Names its namespace; unique on this kernel. */
  readonly name: string;
  readonly engine: BalancerEngine;
}

export interface Cost {
  /** By the clock. */
  readonly ms: number;
  /** Of this process, agent's side and daemon's, in user and kernel: what others do at the same time does not count. */
  readonly processorMs: number;
}

export class BenchNode implements AsyncDisposable {
  readonly #undo = new CleanupStack();

  private constructor(
    readonly name: string,
    readonly reconciler: Reconciler,
    readonly client: DataplaneClient,
    /** Where its overlays' namespaces are. */
    readonly netnsDirectory: string,
  ) {}

  /** @param engine closed with the node */
  static async create({ name, engine }: BenchNodeOptions): Promise<BenchNode> {
    await using undo = new CleanupStack();
    undo.use(engine);
    await ip(`netns add ${name}`);
    undo.defer(() => ip(`netns del ${name}`));
    await ip(`-n ${name} link set lo up`);
    await ip(`-n ${name} link add eth0 type veth peer name peer0`);
    await ip(`-n ${name} addr add ${vtep}/24 dev eth0`);
    await ip(`-n ${name} link set eth0 up`);
    const netnsDirectory = `/run/${name}-overlays`;
    await mkdir(netnsDirectory, { recursive: true });
    undo.defer(() => rm(netnsDirectory, { recursive: true }));
    const directory = await mkdtemp(join(tmpdir(), `${name}-`));
    undo.defer(() => rm(directory, { recursive: true }));

    const log = pino({ level: process.env['SKEP_LOG'] ?? 'silent' });
    const kernel = undo.use(new LinuxKernel({ hostNetns: `/run/netns/${name}`, netnsDirectory, engine }));
    // Looks that nobody asks for come at times of their own, and cost what the namespaces hold.
    const looks = { resyncMs: 3_600_000, freshMs: 3_600_000, recheckMs: 3_600_000 };
    const reconciler = new Reconciler({ kernel, clock: systemClock, log, ...looks });
    const network = await NodeNetwork.load(
      new StateLog(join(directory, 'state.json')),
      openEngineTableFile(join(directory, 'endpoints.json')),
      'boot',
      (err) => log.error({ err }),
    );
    network.onChange(() => reconciler.setDesired(network.desired));
    const server = createDataplaneServer(
      {
        setState: (state) => network.setState(state),
        changeState: (change) => network.changeState(change),
        clearState: () => network.clearState(),
        waitProgrammed: (revision, _taskId, signal) => reconciler.waitProgrammed(revision, signal),
        waitSilent: async () => {
          throw new Error('nobody asks');
        },
        status: () => {
          throw new Error('ask the reconciler');
        },
        verify: async () => {
          throw new Error('ask the reconciler');
        },
        trace: async () => {
          throw new Error('nobody asks');
        },
      },
      (err) => log.error({ err }),
    );
    await listenOnSocket(server, join(directory, 'socket'));
    undo.defer(async () => server.forceShutdown());
    const client = new DataplaneClient(join(directory, 'socket'));
    undo.defer(async () => client.close());
    const stop = new AbortController();
    const running = reconciler.run(stop.signal);
    undo.defer(async () => {
      // Everything of it leaves the kernel.
      reconciler.setDesired({ state: null, sandboxes: [] });
      await reconciler.pass();
      stop.abort();
      await running;
    });
    const node = new BenchNode(name, reconciler, client, netnsDirectory);
    node.#undo.use(undo.move());
    return node;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#undo[Symbol.asyncDispose]();
  }

  /** Hands a state over as the agent does; resolves with what it took until the kernel held it. */
  async program(state: NodeNetworkState): Promise<Cost> {
    const begin = performance.now();
    const processor = process.cpuUsage();
    await this.client.setState(state);
    await this.client.waitProgrammed({ revision: state.revision }, AbortSignal.timeout(programMsMax));
    const { user, system } = process.cpuUsage(processor);
    return { ms: performance.now() - begin, processorMs: (user + system) / 1000 };
  }
}
