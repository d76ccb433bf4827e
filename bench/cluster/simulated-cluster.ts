/** A manager and simulated nodes in a process each, and what a change costs them. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { TaskId } from '../../src/model/ids.js';
import { CleanupStack } from '../../src/runtime/cleanup-stack.js';
import { BenchChild } from '../harness/child.js';
import { endOrphans, makeManagerDirectory } from './manager-directory.js';
import type {
  ManagerRequest,
  ManagerSample,
  ManagerStarted,
  NodeKeysText,
  StartRequest,
} from './manager-process.js';
import { dataPathAddrOf, nodeIndexOf } from './objects.js';

export type ProgramPath = (source: string) => string;

export interface Change {
  /** From the write until a node had it, for each simulated node, the quickest first; milliseconds. */
  readonly toldMs: readonly number[];
  readonly taskId: TaskId;
  /** When it was asked of the store, by the clock of all processes. */
  readonly writtenMs: number;
  /** Of the store, that has it. */
  readonly revision: number;
}

export interface ClusterSample extends ManagerSample {
  /** That the manager has sent to nodes so far, as the kernel counts it: with TLS, without TCP. */
  readonly sentBytes: number;
}

const changeMsMax = 60_000;

export class SimulatedCluster implements AsyncDisposable {
  readonly #undo = new CleanupStack();
  #changes = 0;

  private constructor(
    readonly request: ManagerRequest,
    private readonly manager: BenchChild,
    private readonly agents: BenchChild,
    private readonly started: ManagerStarted,
  ) {}

  /** @param path of the JavaScript of a source file */
  static async start(path: ProgramPath, request: ManagerRequest): Promise<SimulatedCluster> {
    await using undo = new CleanupStack();
    const flags = (process.env['SKEP_BENCH_NODE_FLAGS'] ?? '').split(' ').filter(Boolean);
    await endOrphans(request.host);
    const directory = await makeManagerDirectory(undo);
    const manager = undo.use(BenchChild.start(path('bench/cluster/manager-process.ts'), flags));
    const started = await manager.ask<ManagerStarted>('start', {
      ...request,
      directory,
    } satisfies StartRequest);
    const agents = undo.use(BenchChild.start(path('bench/cluster/agents-process.ts'), flags));
    const cluster = new SimulatedCluster(request, manager, agents, started);
    cluster.#undo.use(undo.move());
    return cluster;
  }

  get addr(): string {
    return this.started.addr;
  }

  get clusterId(): string {
    return this.started.clusterId;
  }

  /** A node that is not simulated, with where its peers send to. @param index of those without tasks, but the manager's */
  idleNode(index: number): NodeKeysText & { readonly dataPathAddr: string } {
    return this.#node(this.request.nodes + 1 + index);
  }

  /** All simulated nodes begin their sessions. @returns until they knew what they have to, in ms */
  async join({ plans }: { readonly plans: boolean } = { plans: false }): Promise<number> {
    const nodes = Array.from({ length: this.request.nodes + 1 }, (_, index) => this.#node(index));
    return this.agents.ask('start', { addr: this.addr, nodes, plans });
  }

  /** An endpoint takes no new flows from now on; resolves once every simulated node was told. */
  async change(): Promise<Change> {
    const taskId = this.started.taskIds[(this.#changes += 1)];
    if (taskId === undefined) throw new Error('no endpoint is left to change');
    const told = this.agents.ask<readonly number[]>('told', {
      ...{ taskId, serving: false, timeoutMs: changeMsMax },
    });
    const { writtenMs, revision } = await this.manager.ask<{ writtenMs: number; revision: number }>(
      'drain',
      taskId,
    );
    return { taskId, writtenMs, revision, toldMs: (await told).map((atMs) => atMs - writtenMs) };
  }

  /**
   * A task's node reports that it runs, or that it has failed; for nodes that joined to plan.
   * @param index of the task
   * @returns milliseconds from the report until each node had planned its balancing accordingly, the quickest first
   */
  async report(index: number, state: 'running' | 'failed'): Promise<readonly number[]> {
    const taskId = this.started.taskIds[index];
    const { nodeId } = this.#node(nodeIndexOf(index, this.request));
    if (taskId === undefined) throw new Error('so many tasks there are not');
    return this.agents.ask('report', { taskId, nodeId, state, timeoutMs: changeMsMax });
  }

  async sample(): Promise<ClusterSample> {
    const [sample, { stdout }] = await Promise.all([
      this.manager.ask<ManagerSample>('sample'),
      promisify(execFile)('ss', ['-tinHO', 'state', 'established', 'src', this.addr], { maxBuffer: 2 ** 26 }),
    ]);
    const sent = [...stdout.matchAll(/\bbytes_sent:(\d+)/g)];
    return { ...sample, sentBytes: sent.reduce((sum, [, bytes]) => sum + Number(bytes), 0) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#undo[Symbol.asyncDispose]();
  }

  #node(index: number): NodeKeysText & { readonly dataPathAddr: string } {
    const keys = this.started.nodes[index];
    if (!keys) throw new Error('so many nodes there are not');
    return { ...keys, dataPathAddr: dataPathAddrOf(index) };
  }
}
