/**
 * Which nodes are alive. A node that missed three of its heartbeat periods is `down`, and sooner one that no other hears either
 * (witnesses.ts); after the dispatcher has (re)started every node that was not down is `unknown` and gets twice the time to come
 * back, and as long as its agent may wait between two tries. Tasks on a node that stayed down for 24 hours are `orphaned`.
 *
 * Heartbeats touch memory only; the store is written when a node's state changes.
 */
import { SkepError } from '../../model/errors.js';
import { isAttachment } from '../../model/attachments.js';
import type { NodeId, RandomSource } from '../../model/ids.js';
import type { Node } from '../../model/objects.js';
import { atLeast, atMost } from '../../model/task-state.js';
import type { Clock } from '../../runtime/clock.js';
import { decide } from '../../runtime/decide.js';
import type { Log } from '../../runtime/log.js';
import { runLoop, Trigger } from '../../runtime/loop.js';
import { rpcTimeoutMs, sessionRetryMsMax } from '../rpc/clients.js';
import type { Store } from '../store/store.js';
import { maxWrites } from '../store/store.js';
import { Witnesses } from './witnesses.js';

/** Swarm's constants (swarmkit manager/dispatcher/period.go, dispatcher.go). */
const periodMsDefault = 5_000;
const periodJitterMs = 500;
const missedBeatsMax = 3;
const unknownGraceFactor = 2;
/** With a short period an agent that waits for its next try would be taken for a dead one, and its tasks be moved. */
const unknownGraceMsMin = sessionRetryMsMax + rpcTimeoutMs;
const orphanAfterMs = 24 * 3600 * 1000;

const unknownMessage = 'Node moved to "unknown" state due to leadership change in cluster';
const downMessage = 'heartbeat failure';
const downFromUnknownMessage = 'heartbeat failure for node in "unknown" state';

export interface HeartbeatOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly log: Log;
}

/** Nodes' sessions, as far as signs of life go. */
export interface SignSessions {
  has(nodeId: NodeId): boolean;
  /** Asks the node for a heartbeat at once, if it is in a session. */
  askForBeat(nodeId: NodeId): void;
  end(nodeId: NodeId, reason: SkepError): void;
}

export class Heartbeats {
  /** When a node will have missed its beats, by its id and the steady clock. */
  readonly #deadlinesMs = new Map<NodeId, number>();
  readonly #downSinceMs = new Map<NodeId, number>();
  readonly #witnesses = new Witnesses();
  readonly #trigger = new Trigger();

  constructor(
    private readonly options: HeartbeatOptions,
    /** That of a node that is found down ends before the store is written. */
    private readonly sessions: SignSessions,
  ) {}

  /** Marks what a former dispatcher left, then watches until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { store, clock, log } = this.options;
    const unsubscribe = store.subscribe(({ changes }) => {
      if (changes.some(({ kind }) => kind === 'node')) this.#trigger.fire();
    });
    let marked = false;
    try {
      await runLoop(
        {
          name: 'heartbeat',
          trigger: this.#trigger,
          clock,
          log,
          resyncMs: 60_000,
          gapMs: 20,
          retryMsMax: 2_000,
        },
        async () => {
          if (!marked) await this.#markUnknown();
          marked = true;
          return this.#pass();
        },
        signal,
      );
    } finally {
      unsubscribe();
    }
  }

  /**
   * Takes note of a heartbeat and gives the period after which the next one is due, in ms.
   * @param silent whom the node does not hear: the cluster's nodes among them are kept; null: it cannot tell
   */
  beat(nodeId: NodeId, silent: readonly string[] | null): number {
    const { store, clock, random } = this.options;
    const nodes = silent?.filter((id): id is NodeId => store.view().get('node', id as NodeId) !== undefined);
    const periodMs = heartbeatPeriodMs(this.#configuredMs(), random);
    const isNew = !this.#deadlinesMs.has(nodeId);
    this.#deadlinesMs.set(nodeId, clock.steadyMs() + missedBeatsMax * periodMs);
    const isWorthALook = this.#witnesses.beat(
      nodeId,
      nodes ? new Set(nodes) : null,
      periodMs,
      clock.steadyMs(),
    );
    if (isNew || isWorthALook) this.#trigger.fire();
    return periodMs;
  }

  /** Takes note of any other sign of life: it delays no heartbeat, and saves from being called lost. */
  hear(nodeId: NodeId): void {
    this.#witnesses.hear(nodeId, this.options.clock.steadyMs());
  }

  #configuredMs(): number {
    return this.options.store.view().cluster().spec.heartbeatPeriodNs / 1e6 || periodMsDefault;
  }

  async #markUnknown(): Promise<void> {
    const { store, clock } = this.options;
    const graceMs = Math.max(unknownGraceFactor * missedBeatsMax * this.#configuredMs(), unknownGraceMsMin);
    // A node that registered between our start and this pass is known to be alive.
    const silent = (node: Node): boolean =>
      node.status.state !== 'down' && node.description !== undefined && !this.#deadlinesMs.has(node.id);
    const nodes = store.view().list('node').filter(silent);
    await this.#setStates(nodes, 'unknown', () => unknownMessage, silent);
    for (const { id } of nodes)
      if (!this.#deadlinesMs.has(id)) this.#deadlinesMs.set(id, clock.steadyMs() + graceMs);
  }

  /** Gives the delay until something can be due, in ms. */
  async #pass(): Promise<number> {
    const { store, clock, log } = this.options;
    // Nobody is late because a clock was set.
    const nowMs = clock.steadyMs();
    const nodes = store.view().list('node');
    const exists = new Set(nodes.map(({ id }) => id));
    for (const id of this.#deadlinesMs.keys()) if (!exists.has(id)) this.#forget(id);

    const isOverdue = ({ id }: Node): boolean => (this.#deadlinesMs.get(id) ?? Infinity) <= nowMs;
    await this.#declareDown(nodes.filter(isOverdue), isOverdue, 'it missed its heartbeats');

    const { ask, lost, nextMs } = this.#witnesses.judge({
      nodes: nodes.filter(({ id }) => this.#deadlinesMs.has(id)),
      isInSession: (id) => this.sessions.has(id),
      periodMs: this.#configuredMs(),
      nowMs,
    });
    for (const id of ask) {
      decide(log, 'node.questioned', { node: id });
      this.sessions.askForBeat(id);
    }
    const isLost = ({ id }: Node): boolean => this.#witnesses.owesSign(id);
    await this.#declareDown(
      nodes.filter(({ id }) => lost.includes(id)),
      isLost,
      'no other node hears it, and it was asked for a sign of life and gave none',
    );

    const orphanDueMs = await this.#orphanTasks(nowMs);
    return Math.min(orphanDueMs, nextMs, ...this.#deadlinesMs.values()) - nowMs;
  }

  /**
   * @param holds whether that is so still, asked again when it is written
   * @param why for the log
   */
  async #declareDown(nodes: readonly Node[], holds: (node: Node) => boolean, why: string): Promise<void> {
    for (const { id } of nodes) {
      this.sessions.end(id, new SkepError('notFound', 'node not registered'));
      decide(this.options.log, 'node.down', { node: id, why });
    }
    const message = ({ status }: Node): string =>
      status.state === 'unknown' ? downFromUnknownMessage : downMessage;
    await this.#setStates(nodes, 'down', message, holds);
    for (const node of nodes) if (holds(node)) this.#forget(node.id);
  }

  #forget(nodeId: NodeId): void {
    this.#deadlinesMs.delete(nodeId);
    this.#witnesses.forget(nodeId);
  }

  async #setStates(
    nodes: readonly Node[],
    state: 'unknown' | 'down',
    message: (node: Node) => string,
    holds: (node: Node) => boolean,
  ): Promise<void> {
    for (let i = 0; i < nodes.length; i += maxWrites) {
      const ids = nodes.slice(i, i + maxWrites).map(({ id }) => id);
      await this.options.store.update((tx) => {
        for (const id of ids) {
          const node = tx.get('node', id);
          if (!node || node.status.state === 'down' || !holds(node)) continue;
          tx.update('node', { ...node, status: { ...node.status, state, message: message(node) } });
        }
      });
    }
  }

  /** Gives when the next node will have been down for long enough, by the steady clock. */
  async #orphanTasks(nowMs: number): Promise<number> {
    const { store, clock } = this.options;
    const view = store.view();
    const down = view.list('node').filter(({ status }) => status.state === 'down');
    const downIds = new Set(down.map(({ id }) => id));
    for (const id of this.#downSinceMs.keys()) if (!downIds.has(id)) this.#downSinceMs.delete(id);
    let nextMs = Infinity;
    for (const { id } of down) {
      const sinceMs = this.#downSinceMs.get(id) ?? nowMs;
      this.#downSinceMs.set(id, sinceMs);
      if (nowMs < sinceMs + orphanAfterMs) {
        nextMs = Math.min(nextMs, sinceMs + orphanAfterMs);
        continue;
      }
      const lost = view
        .tasksOnNode(id)
        // What a user's container holds it holds until its node is removed: the engine there runs it without us.
        .filter((task) => !isAttachment(task))
        .filter(({ status }) => atLeast(status.state, 'assigned') && atMost(status.state, 'running'));
      for (let i = 0; i < lost.length; i += maxWrites) {
        await store.update((tx) => {
          for (const { id: taskId } of lost.slice(i, i + maxWrites)) {
            const task = tx.get('task', taskId);
            if (!task || !atMost(task.status.state, 'running')) continue;
            const { message, runningAtMs } = task.status;
            const atMs = clock.nowMs();
            const status = {
              ...{ timestampMs: atMs, appliedAtMs: atMs, state: 'orphaned' as const, message },
              ...(runningAtMs === undefined ? {} : { runningAtMs }),
            };
            tx.update('task', { ...task, status });
          }
        });
      }
    }
    return nextMs;
  }
}

/** The period to tell an agent: the configured one, half a second more or less so that nodes spread out. */
export function heartbeatPeriodMs(configuredMs: number, random: RandomSource): number {
  const [a = 0, b = 0] = random(2);
  const jitterMs = ((a * 256 + b) / 65_535) * 2 * periodJitterMs - periodJitterMs;
  return Math.max(100, Math.round(configuredMs + jitterMs));
}
