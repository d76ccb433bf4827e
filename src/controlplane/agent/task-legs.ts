/**
 * A task's legs on its overlays, from the start of its process to its end. The engine's own socket lets anybody disconnect the
 * container, and the cluster goes on sending to it: so what was taken is put back, with the address and MAC that the state
 * has for it. Must stay true: only a container that runs lacks a leg. One that has ended, or is being removed, loses its legs
 * and is to lose them.
 */
import { OutsideError, SkepError } from '../../model/errors.js';
import type { Task } from '../../model/objects.js';
import { backoffMs } from '../../runtime/backoff.js';
import type { Clock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';
import type { ContainerView, Engine } from '../dockerd/client.js';
import { EngineError } from '../dockerd/client.js';
import type { Leg } from './container-config.js';
import { orderLegs, toConnection } from './container-config.js';
import type { LocalNetworks } from './local-networks.js';
import type { TaskNetwork } from './node-network.js';

/** Swarm's controller waits as long for the node's attachments. */
const attachmentWaitMs = 30_000;
/** What was taken is put back within so long, or the task ends: meanwhile calls of it go nowhere. */
const restoreWaitMs = 5_000;
const retryMsMax = 1_000;

export interface LegParts {
  readonly engine: Pick<Engine, 'container' | 'connectedTo' | 'connectNetwork'>;
  readonly network: Pick<TaskNetwork, 'overlays' | 'knownOverlays' | 'requireEsp'>;
  readonly localNetworks: Pick<LocalNetworks, 'ensure'>;
  readonly clock: Clock;
  readonly log: Log;
}

export class TaskLegs {
  readonly #networkIds: readonly string[];
  /** Overlays that the container could not be connected to: a 20.10 engine lists it as connected all the same. */
  readonly #unconnected = new Set<string>();
  /** Overlays of which that is known. Of others an earlier agent may have been refused, and ended. */
  readonly #confirmed = new Set<string>();

  constructor(
    private readonly task: Pick<Task, 'id' | 'networks'>,
    private readonly parts: LegParts,
  ) {
    this.#networkIds = task.networks.map(({ networkId }) => networkId);
  }

  /** All of them, once this node knows their networks. Throws `failedPrecondition` where it does not in time, or cannot have one. */
  async all(signal: AbortSignal): Promise<Leg[]> {
    if (this.#networkIds.length === 0) return [];
    const { network } = this.parts;
    const overlays = await network.overlays(this.#networkIds, attachmentWaitMs, signal);
    return this.task.networks.map((attachment) => {
      const overlay = overlays?.get(attachment.networkId);
      if (!overlay)
        throw new SkepError(
          'failedPrecondition',
          'node is missing network attachments, ip addresses may be exhausted',
        );
      network.requireEsp(overlay);
      return { attachment, overlay };
    });
  }

  /** The engine's names of the networks that are known here. */
  names(): string[] {
    return this.#known().map(({ overlay }) => overlay.name);
  }

  /** The container was made with these, and nobody has had it since: an engine that cannot connect them does not start it. */
  created(legs: readonly Leg[]): void {
    for (const { overlay } of legs) this.#confirmed.add(overlay.id);
  }

  /**
   * Asks the engine for what an earlier agent may have known and this one does not: whether the container is connected to what it is
   * listed with. Once for each overlay, and before {@link lost} is believed. What it does not say now it is asked at the next look.
   */
  async confirm({ id: containerId, status, networks }: ContainerView): Promise<void> {
    if (!isRunning(status)) return;
    for (const { overlay } of this.#known()) {
      if (this.#confirmed.has(overlay.id)) continue;
      try {
        const isConnected = (await this.parts.engine.connectedTo(overlay.name)).includes(containerId);
        this.#confirmed.add(overlay.id);
        if (networks.includes(overlay.name) && !isConnected) this.#unconnected.add(overlay.id);
      } catch (err) {
        // No reason to end a task that may lack nothing.
        if (!(err instanceof EngineError)) throw err;
        this.parts.log.debug({ task: this.task.id, network: overlay.name, err }, 'cannot look for a leg');
      }
    }
  }

  /** What the container lacks, in the order in which it is to be connected. */
  lost({ status, networks }: ContainerView): Leg[] {
    if (!isRunning(status)) return [];
    return this.#known().filter(
      ({ overlay }) => !networks.includes(overlay.name) || this.#unconnected.has(overlay.id),
    );
  }

  /** Connects the started container to what it lacks: ingress, or what was taken since. Not one whose process has ended already. */
  async connectStarted(
    { containerId, look }: { readonly containerId: string; readonly look: () => Promise<ContainerView> },
    signal: AbortSignal,
  ): Promise<void> {
    await this.all(signal);
    // Once each: one that is gone again, or that the engine does not own up to, is the next try's of the step, which has its delay.
    for (const connected = new Set<string>(); ;) {
      const [leg] = this.lost(await look());
      signal.throwIfAborted();
      if (!leg) return;
      const { id, name } = leg.overlay;
      if (connected.has(id)) throw new OutsideError(`container was disconnected from network ${name}`, true);
      connected.add(id);
      try {
        await this.#connect(containerId, leg);
      } catch (err) {
        if (this.lost(await look()).length > 0) throw err;
      }
    }
  }

  /**
   * Connects the container again where it was disconnected past us.
   * @returns null when it lacks nothing (any more); otherwise why that cannot be brought about
   */
  async restore({ id }: ContainerView, signal: AbortSignal): Promise<string | null> {
    const { clock, log } = this.parts;
    const deadlineMs = clock.steadyMs() + restoreWaitMs;
    for (let failures = 0; ;) {
      const leg = await this.#firstLost(id);
      signal.throwIfAborted();
      if (!leg) return null;
      const about = { task: this.task.id, container: id, network: leg.overlay.name };
      try {
        await this.#connect(id, leg);
        log.warn(about, 'drift repaired: a container was disconnected from its network');
        // Somebody insists, or the engine says so and does not list it.
        if ((await this.#firstLost(id))?.overlay.id !== leg.overlay.id) continue;
        if (clock.steadyMs() >= deadlineMs)
          return `container was disconnected from network ${about.network} and does not stay connected`;
        await clock.sleep(retryMsMax, signal);
      } catch (err) {
        // One that does not answer may have done it. The step is tried again.
        if (!(err instanceof EngineError) || err.retryable) throw err;
        failures += 1;
        log.warn({ ...about, failures, err }, 'cannot connect a container that was disconnected');
        if (clock.steadyMs() >= deadlineMs)
          return `container was disconnected from network ${about.network} and cannot be connected again: ${err.message}`;
        await clock.sleep(backoffMs(failures, retryMsMax), signal);
      }
    }
  }

  async #firstLost(containerId: string): Promise<Leg | undefined> {
    const container = await this.parts.engine.container(containerId);
    if (!container) return undefined;
    await this.confirm(container);
    return this.lost(container)[0];
  }

  /** Its local network may have been removed, too. */
  async #connect(containerId: string, leg: Leg): Promise<void> {
    const { overlay } = leg;
    await this.parts.localNetworks.ensure(overlay);
    const { network, endpoint } = toConnection(leg);
    this.#confirmed.add(overlay.id);
    this.#unconnected.add(overlay.id);
    try {
      await this.parts.engine.connectNetwork(network, containerId, endpoint);
    } catch (err) {
      // It did the last time, when its answer was lost.
      if (!(err instanceof EngineError) || !/already exists in network/.test(err.message)) throw err;
    }
    this.#unconnected.delete(overlay.id);
  }

  #known(): Leg[] {
    const overlays = this.parts.network.knownOverlays();
    return orderLegs(
      this.task.networks.flatMap((attachment) => {
        const overlay = overlays.get(attachment.networkId);
        return overlay ? [{ attachment, overlay }] : [];
      }),
    );
  }
}

const isRunning = (status: string): boolean => status === 'running' || status === 'paused';
