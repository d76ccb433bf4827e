/**
 * What the steps of a task do to its container. Every operation may be repeated: a container that exists is prepared, a
 * process that ran is started, a container that is gone is shut down. So an agent that was restarted takes a task up
 * where it is, without touching its process.
 */
import { OutsideError, SkepError } from '../../model/errors.js';
import { faultOfAccess, hostAccess } from '../../model/host-access.js';
import type { HostAllowance } from '../../model/host-access.js';
import type { Task } from '../../model/objects.js';
import { taskName } from '../../model/objects.js';
import { isTerminal } from '../../model/task-state.js';
import { taskLabels } from '../../model/task-labels.js';
import type { ContainerView, Engine } from '../dockerd/client.js';
import { EngineError } from '../dockerd/client.js';
import type { ContainerPlan, Leg } from './container-config.js';
import { planContainer, stopGraceSeconds } from './container-config.js';
import { ContainerWatch, destroyed } from './container-watch.js';
import type { WatchParts } from './container-watch.js';
import type { LocalNetworks } from './local-networks.js';
import type { TaskNetwork } from './node-network.js';
import { atMostMs } from './node-network.js';
import type { PullFailure, TaskImages } from './task-images.js';
import { withPullFailure } from './task-images.js';
import type { WatchProcess } from './process-watch.js';
import type { LegParts } from './task-legs.js';
import { TaskLegs } from './task-legs.js';
import { ExitError } from './task-machine.js';
import type { PayloadParts } from './task-payloads.js';
import { TaskPayloads } from './task-payloads.js';
import { expandContainer, templateContext } from '../template/container-template.js';

/** How long one attempt waits for the kernel; then the step is tried again. */
const programWaitMs = 30_000;
/** Statuses of the engine's API: a name that a container has already, and what is not there. */
const conflict = 409;
const notFound = 404;

/** What a task's status tells of its container. */
export type TaskContainer = Pick<ContainerView, 'id' | 'pid' | 'exitCode' | 'ports'>;

/** The steps' deeds. Each throws when it fails, an OutsideError marked retryable when it may be tried again. */
export interface TaskController {
  /** The container, if there is one. */
  container(): Promise<ContainerView | undefined>;
  /** Gives the container that is now there. */
  prepare(signal: AbortSignal): Promise<TaskContainer>;
  /** Gives the container as it serves. @param again a process that has ended is started again, with the container as it was */
  start(signal: AbortSignal, again?: boolean): Promise<TaskContainer>;
  /** Resolves when the process ended with 0; throws {@link ExitError} otherwise. Until then its container keeps its networks. */
  wait(signal: AbortSignal): Promise<void>;
  /** Resolves when the process is gone. `signal` gives up waiting, not stopping. */
  shutdown(signal: AbortSignal): Promise<void>;
  /** The task has ended, however it did: lets go of what only a running task needs. */
  release(): Promise<void>;
  /** Removes the container, running or not, with its anonymous volumes. */
  remove(): Promise<void>;
}

/** What a controller tells its task's runner. */
export interface ControllerCalls {
  /** The process has been started: well before the task is `running` where it has a health check. */
  readonly started: () => void;
  /** The task is about to be stopped although nobody asked for it, or its process has ended: nothing is to be sent to it. */
  readonly draining: (container: TaskContainer) => void;
}

export interface ControllerParts extends LegParts, PayloadParts, WatchParts {
  readonly engine: Engine;
  readonly watchProcess: WatchProcess;
  readonly network: TaskNetwork;
  readonly localNetworks: LocalNetworks;
  readonly images: Pick<TaskImages, 'provide'>;
  /** What of this host containers may be given. */
  readonly allowance: HostAllowance;
}

const unhealthy = 'dockerexec: unhealthy container';

export class ContainerController implements TaskController {
  readonly #name: string;
  readonly #networkIds: readonly string[];
  readonly #legs: TaskLegs;
  readonly #payloads: TaskPayloads;
  /** Made here and not started yet: what it is need not be asked. */
  #made: string | undefined;
  /** From the start of its process until it has ended. */
  #watch: ContainerWatch | undefined;

  constructor(
    private readonly task: Task,
    private readonly parts: ControllerParts,
    private readonly calls: ControllerCalls,
  ) {
    this.#name = taskName(task);
    this.#networkIds = task.networks.map(({ networkId }) => networkId);
    this.#legs = new TaskLegs(task, parts);
    this.#payloads = new TaskPayloads(task, parts);
    if (!isTerminal(task.status.state))
      parts.localNetworks.hold(
        task.id,
        [...task.networks, ...(task.nodeNetworks ?? [])].map(({ networkId }) => networkId),
      );
  }

  container(): Promise<ContainerView | undefined> {
    return this.parts.engine.container(this.#name);
  }

  async prepare(signal: AbortSignal): Promise<TaskContainer> {
    const { engine, localNetworks, images } = this.parts;
    const legs = await this.#legs.all(signal);
    const plan = this.#plan(legs);
    this.#refuseAccess();
    for (const { overlay } of legs) await localNetworks.ensure(overlay);
    for (const attachment of this.task.nodeNetworks ?? []) await localNetworks.ensureOfNode(attachment);
    await this.#payloads.ensure(signal);
    for (const volume of plan.volumes) await engine.createVolume(volume);
    const failure = await images.provide(this.task.spec.container, signal);
    signal.throwIfAborted();
    try {
      return await this.#create(plan, legs, failure);
    } catch (err) {
      if (!(err instanceof EngineError) || err.statusCode !== conflict) throw err;
      return (await this.#prepared()) ?? (await this.#create(plan, legs, failure));
    }
  }

  async start(signal: AbortSignal, again = false): Promise<TaskContainer> {
    const found = this.#made === undefined ? await this.container() : undefined;
    const id = this.#made ?? found?.id;
    if (id === undefined) throw destroyed();
    this.#made = undefined;
    const isAgain = again && found !== undefined && isEnded(found);
    if (isAgain) await this.#disconnectStarted(found);
    const watch = this.#watchAnew(id);
    try {
      if (!found || !isStarted(found) || isAgain) await this.#startProcess(id, signal, isAgain);
      await this.#legs.connectStarted(watch, signal);
      return await this.#untilServing(watch, signal);
    } catch (err) {
      this.#unwatch();
      throw err;
    }
  }

  async wait(signal: AbortSignal): Promise<void> {
    const found = this.#watch?.seen ?? (await this.container());
    if (!found) throw destroyed();
    const watch = this.#watch ?? this.#watchAnew(found.id);
    // The engine takes its time to clean up before it tells.
    const end = (): void => {
      this.parts.network.ended(this.task.id);
      this.calls.draining(found);
    };
    const isCalled = this.#networkIds.length > 0 && !isEnded(found);
    using _process = isCalled ? this.parts.watchProcess(found.pid, end) : undefined;
    try {
      for (;;) {
        const seen = await watch.until((now) => this.#needsDeed(now), signal);
        if (isEnded(seen)) {
          if (seen.exitCode === 0) return;
          throw new ExitError(seen.exitCode);
        }
        if (seen.health === 'unhealthy') await this.#end(seen, unhealthy, signal);
        const failure = await this.#legs.restore(seen, signal);
        if (failure !== null) await this.#end(seen, failure, signal);
        watch.forget();
      }
    } finally {
      this.#unwatch();
    }
  }

  async shutdown(signal: AbortSignal): Promise<void> {
    const { engine, network } = this.parts;
    this.#unwatch();
    const container = await this.container();
    if (container && isStarted(container) && !isEnded(container)) {
      if (this.#networkIds.length > 0) await network.drained(this.task.id, signal);
      await engine.stopContainer(container.id, stopGraceSeconds(this.task.spec.container), signal);
    }
  }

  async release(): Promise<void> {
    this.#unwatch();
    await this.#payloads.remove();
    await this.parts.localNetworks.release(this.task.id);
  }

  async remove(): Promise<void> {
    this.#unwatch();
    await this.parts.engine.removeContainer(this.#name);
    await this.#payloads.remove();
    await this.parts.localNetworks.release(this.task.id);
  }

  #plan(legs: readonly Leg[]): ContainerPlan {
    const { task, parts } = this;
    return planContainer(
      task,
      expandContainer(task.spec.container, templateContext(task, parts.node())),
      legs,
      this.#payloads.mounts(),
    );
  }

  /** Whatever a manager says: what a node gives of its host, its administrator alone decides. */
  #refuseAccess(): void {
    const fault = faultOfAccess(hostAccess(this.task.serviceLabels), this.parts.allowance);
    if (fault !== undefined) throw new SkepError('permissionDenied', fault);
  }

  /** As before its first start: the engine would connect these first, and number the interfaces otherwise. */
  async #disconnectStarted({ id, networks }: ContainerView): Promise<void> {
    const { connectStarted } = this.#plan(await this.#legs.all(new AbortController().signal));
    for (const { network } of connectStarted)
      if (networks.includes(network)) await this.parts.engine.disconnectNetwork(network, id);
  }

  /** A container of this task that lacks a network (the agent ended in between) is made again. */
  async #prepared(): Promise<ContainerView | undefined> {
    const container = await this.container();
    if (!container) return undefined;
    if (container.labels[taskLabels.taskId] !== this.task.id)
      throw new SkepError('alreadyExists', `container name ${this.#name} is in use by another container`);
    if (container.status !== 'created') return container;
    await this.parts.engine.removeContainer(container.id);
    return undefined;
  }

  async #create(plan: ContainerPlan, legs: readonly Leg[], failure: PullFailure): Promise<TaskContainer> {
    const { engine } = this.parts;
    const id = await engine.createContainer(plan.create).catch((err: unknown) => {
      throw withPullFailure(err, failure);
    });
    for (const { network, endpoint } of plan.connect) await engine.connectNetwork(network, id, endpoint);
    this.#legs.created(legs);
    this.#made = id;
    return { id, pid: 0, exitCode: 0, ports: [] };
  }

  /** @param isAgain it ran before, so that all nodes know of it: they need not be waited for, nor need a manager */
  async #startProcess(containerId: string, signal: AbortSignal, isAgain: boolean): Promise<void> {
    const { engine, network, clock } = this.parts;
    if (!isAgain)
      await atMostMs(clock, programWaitMs, 'programming the endpoint', signal, (limit) =>
        network.endpointsProgrammed(this.task.id, this.#networkIds, limit),
      );
    // They are gone with the machine's memory when it was started anew.
    await this.#payloads.ensure(signal);
    signal.throwIfAborted();
    try {
      await engine.startContainer(containerId);
    } catch (err) {
      if (!(err instanceof EngineError) || err.retryable) throw err;
      // Which the engine also says of a command that is not in the image.
      if (err.statusCode === notFound && !(await this.container())) throw destroyed();
      throw new EngineError(`starting container failed: ${err.message}`, err.statusCode, { cause: err });
    }
    this.calls.started();
  }

  /** Until the sandbox is programmed and the health check, if any, has passed; or the process has ended with 0. */
  async #untilServing(watch: ContainerWatch, signal: AbortSignal): Promise<ContainerView> {
    const { network, clock } = this.parts;
    const ended = new AbortController();
    const over = AbortSignal.any([signal, ended.signal]);
    // Whichever comes first: a process that ends takes its sandbox with it, and nobody would ever program that.
    const settled = watch.until((now) => this.#needsDeed(now), over);
    const programmed =
      this.#networkIds.length === 0
        ? Promise.resolve()
        : atMostMs(clock, programWaitMs, 'programming the sandbox', over, (limit) =>
            network.sandboxProgrammed(this.task.id, limit),
          );
    try {
      await Promise.race([settled, programmed]);
    } finally {
      ended.abort(new Error('no longer waiting'));
      await Promise.allSettled([settled, programmed]);
    }
    const last = await watch.until((now) => this.#needsDeed(now) || now.health !== 'starting', signal);
    if (!isEnded(last) && last.health === 'unhealthy') await this.#end(last, unhealthy, signal);
    if (isEnded(last) && last.exitCode !== 0) throw new ExitError(last.exitCode);
    const [lost] = this.#legs.lost(last);
    // The step is tried again, and connects it.
    if (lost) throw new OutsideError(`container was disconnected from network ${lost.overlay.name}`, true);
    return last;
  }

  /** Stops the process although nobody asked for it. */
  async #end(seen: ContainerView, reason: string, signal: AbortSignal): Promise<never> {
    this.calls.draining(seen);
    await this.shutdown(signal);
    const container = await this.parts.engine.container(seen.id);
    throw new ExitError(container?.exitCode ?? 0, reason);
  }

  /** What only a step of the task can answer: it ended, is unwell, or has lost a leg. */
  #needsDeed(now: ContainerView): boolean {
    return isEnded(now) || now.health === 'unhealthy' || this.#legs.lost(now).length > 0;
  }

  #watchAnew(containerId: string): ContainerWatch {
    this.#unwatch();
    return (this.#watch = new ContainerWatch(containerId, this.#legs, this.parts));
  }

  #unwatch(): void {
    this.#watch?.[Symbol.dispose]();
    this.#watch = undefined;
  }
}

const isStarted = ({ status }: ContainerView): boolean => status !== 'created';
const isEnded = ({ status }: ContainerView): boolean => status === 'exited' || status === 'dead';
