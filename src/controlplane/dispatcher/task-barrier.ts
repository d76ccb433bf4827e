/**
 * The barrier of a task that starts or stops: its node asks, and is answered when every node on the task's networks has
 * programmed what the manager knows of the task. Must stay true: a node is answered about its own tasks only, and always within
 * {@link barrierWaitMs}, whatever other nodes do; who is down is not waited for.
 */
import { SkepError } from '../../model/errors.js';
import type { NetworkId, TaskId } from '../../model/ids.js';
import type { Node } from '../../model/objects.js';
import type { Clock } from '../../runtime/clock.js';
import { decide } from '../../runtime/decide.js';
import type { Log } from '../../runtime/log.js';
import type { AwaitAcknowledgedReply } from '../rpc/messages.js';
import type { Store } from '../store/store.js';
import type { Acknowledgements } from './acknowledgements.js';
import { isServing } from './shared-assignments.js';
import type { Session } from './sessions.js';

/** Below the time that an agent gives any call (rpc/clients.ts). */
export const barrierWaitMs = 4_000;

/** Questions that may wait at once, over all nodes. */
const waitingMax = 10_000;

export interface TaskBarrierOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
}

export class TaskBarrier {
  #waiting = 0;

  constructor(
    private readonly options: TaskBarrierOptions,
    private readonly acknowledgements: Acknowledgements,
  ) {}

  /**
   * Resolves with the nodes that had not got there in time, none if all had, and whether any of them may soon be; at once for a
   * task that is no more.
   * @param drained wait for the task to take no new flows, too
   * @throws SkepError permissionDenied for another node's task, unavailable when too many wait, the session's when that ends
   */
  async wait(session: Session, taskId: TaskId, drained: boolean): Promise<AwaitAcknowledgedReply> {
    const { store, clock, log } = this.options;
    const known = store.view().get('task', taskId);
    if (known && known.nodeId !== session.nodeId)
      throw new SkepError('permissionDenied', 'cannot wait for a task not assigned this node');
    if (this.#waiting >= waitingMax) throw new SkepError('unavailable', 'too many tasks are waiting');
    this.#waiting += 1;
    const late = new AbortController();
    const over = AbortSignal.any([session.signal, late.signal]);
    const unsubscribe = store.subscribe(() => this.acknowledgements.check());
    void clock.sleep(barrierWaitMs, over).then(
      () => late.abort(),
      () => undefined,
    );
    /** The revision that every node is to reach: the first one seen at which the task is as it should be. */
    let revision: number | undefined;
    const isMissing = (): ((node: Node) => boolean) => {
      const view = store.view();
      const task = view.get('task', taskId);
      if (!task) return () => false;
      if (revision === undefined && !(drained && isServing(task, view))) revision = view.revision;
      const wanted = revision ?? Infinity;
      const networks = new Set(task.networks.map(({ networkId }) => networkId));
      return (node) => maySend(node, networks) && this.acknowledgements.reached(node.id) < wanted;
    };
    /** Where in the list of nodes one was missing at the last look: asked with each word of any node, it is not to begin anew. */
    let at = 0;
    const nobodyMisses = (): boolean => {
      const nodes = store.view().list('node');
      const misses = isMissing();
      for (let looked = 0; looked < nodes.length; looked += 1) {
        const node = nodes[at % nodes.length];
        if (node && misses(node)) return false;
        at = (at + 1) % nodes.length;
      }
      return true;
    };
    try {
      await this.acknowledgements.until(nobodyMisses, over);
      return { missing: [], atWork: false };
    } catch (err) {
      session.signal.throwIfAborted();
      if (!late.signal.aborted) throw err;
      const nodes = store
        .view()
        .list('node')
        .filter(isMissing())
        .map(({ id }) => id);
      const atWork = nodes.some((nodeId) => this.acknowledgements.isAtWork(nodeId));
      decide(log, 'barrier.waits', { task: taskId, nodes, atWork }, { trace: known?.trace });
      return { missing: nodes, atWork };
    } finally {
      late.abort();
      unsubscribe();
      this.#waiting -= 1;
    }
  }
}

/** Whether the node may send something to a task on these networks, as far as anybody knows. */
const maySend = ({ status, attachments }: Node, networks: ReadonlySet<NetworkId>): boolean =>
  status.state !== 'down' && attachments.some(({ networkId }) => networks.has(networkId));
