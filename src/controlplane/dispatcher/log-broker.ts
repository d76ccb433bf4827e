/**
 * Brings tasks' output from the nodes they run on to whoever reads it. A reader opens a subscription; each node that has some of
 * its tasks is told, and answers with a stream of their lines: a leg. Who follows a service gets legs of tasks that are started
 * later, too, and of nodes that come back, from where they were interrupted. A node that is
 * gone is named, and waited for no longer than one that is up takes to register anew.
 */
import type { NodeId, RandomSource, TaskId } from '../../model/ids.js';
import { newId } from '../../model/ids.js';
import { SkepError } from '../../model/errors.js';
import type { Task } from '../../model/objects.js';
import { atLeast } from '../../model/task-state.js';
import type { Clock } from '../../runtime/clock.js';
import { Trigger } from '../../runtime/loop.js';
import { lastLine } from '../packed-lines.js';
import type { LogOptions, LogSubject, ReadLogs, TaskLines } from '../task-logs.js';
import type { Answers } from '../rpc/handlers.js';
import type { PublishLogsMessage, SubscriptionMessage, WireLines } from '../rpc/messages.js';
import type { Store } from '../store/store.js';
import { Subscription } from './log-subscription.js';
import type { Leg } from './log-subscription.js';
import type { Session } from './sessions.js';

const waitMsMax = 60_000;

export interface LogBrokerOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: RandomSource;
}

const notAvailable = (nodeId: NodeId): string => `node ${nodeId} is not available`;
const disconnected = (nodeId: NodeId): string => `node ${nodeId} disconnected unexpectedly`;

export class LogBroker {
  readonly #subscriptions = new Set<Subscription>();
  readonly #legs = new Map<string, Leg>();
  /** What is to be told to each listening node, oldest first. */
  readonly #listeners = new Map<NodeId, { readonly outbox: SubscriptionMessage[]; readonly wake: Trigger }>();

  constructor(private readonly options: LogBrokerOptions) {}

  /** See {@link ReadLogs}. */
  readonly read: ReadLogs = (subject, options, signal) => this.#read(subject, options, signal);

  /** Nodes are somebody else's to ask from now on: readers are told so. */
  stop(): void {
    for (const subscription of this.#subscriptions)
      subscription.fail(
        new SkepError('unavailable', 'the manager that read the logs does not lead any more'),
      );
  }

  async *#read(
    subject: LogSubject,
    options: LogOptions,
    signal: AbortSignal,
  ): AsyncGenerator<readonly TaskLines[], void> {
    const { store, clock } = this.options;
    const subscription = new Subscription(options, clock);
    this.#subscriptions.add(subscription);
    const unsubscribe = this.#openAll(subscription, subject, store);
    try {
      yield* subscription.lines(signal, (leg) => this.#giveUp(leg));
    } finally {
      unsubscribe();
      subscription.close();
      this.#subscriptions.delete(subscription);
      for (const leg of subscription.legs.values()) this.#forget(leg);
      subscription.legs.clear();
    }
    if (subscription.reasons.length > 0 && !signal.aborted)
      // Not of a kind that another manager could be asked for.
      throw new SkepError(
        'failedPrecondition',
        'warning: incomplete log stream. some logs could not be retrieved for the following reasons: ' +
          subscription.reasons.join(', '),
      );
  }

  /** Opens legs of the tasks that there are and, for who follows, of those that are started until the result is called. */
  #openAll(subscription: Subscription, subject: LogSubject, store: Store): () => void {
    const { follow, tail } = subscription.options;
    const isService = 'serviceId' in subject;
    const opened = new Set<TaskId>();
    const open = (tasks: readonly Task[], ofEach: number): void => {
      const byNode = new Map<NodeId, TaskId[]>();
      for (const { id, nodeId, status } of tasks) {
        // A node may not have heard of a task before it says itself that it runs.
        if (opened.has(id) || (follow && !atLeast(status.state, 'running'))) continue;
        opened.add(id);
        if (nodeId) byNode.set(nodeId, [...(byNode.get(nodeId) ?? []), id]);
        else subscription.warn(`task ${id} has not been scheduled`);
      }
      for (const [nodeId, ids] of byNode) {
        const unread = ids.filter((id) => !subscription.hasReached(id));
        if (unread.length > 0)
          this.#open(subscription, nodeId, unread, { tail: ofEach, since: subscription.options.since });
        for (const id of ids.filter((id) => subscription.hasReached(id)))
          this.#open(subscription, nodeId, [id], { tail: -1, since: subscription.since(id) });
      }
    };
    const view = store.view();
    const task = isService ? undefined : view.get('task', subject.taskId);
    open(isService ? view.tasksOfService(subject.serviceId) : task ? [task] : [], tail);
    subscription.mayGrow = follow && (isService || (task !== undefined && !opened.has(task.id)));
    if (!subscription.mayGrow) return () => undefined;

    return store.subscribe(({ changes }) => {
      for (const change of changes) {
        if (change.kind === 'task' && change.current) {
          const isOf = isService
            ? change.current.serviceId === subject.serviceId
            : change.id === subject.taskId;
          if (isOf) open([change.current], -1);
        }
        const isGone = change.id === (isService ? subject.serviceId : subject.taskId) && !change.current;
        if (isGone || (!isService && opened.size > 0)) subscription.endGrowth();
      }
    });
  }

  #open(
    subscription: Subscription,
    nodeId: NodeId,
    tasks: readonly TaskId[],
    from: Pick<SubscriptionMessage, 'tail' | 'since'>,
  ): void {
    const { clock, random } = this.options;
    const leg: Leg = {
      ...{ id: newId(random), subscription, nodeId, tasks: new Set(tasks) },
      ...{ heardMs: clock.steadyMs(), isBlocked: false, misses: 0, isNoted: false },
    };
    const { stdout, stderr, follow } = subscription.options;
    const message = { id: leg.id, close: false, taskIds: tasks, stdout, stderr, follow, ...from };
    if (this.#tell(nodeId, message)) {
      this.#legs.set(leg.id, leg);
      subscription.open(leg);
    } else if (follow || this.#isUp(nodeId)) subscription.interrupt(leg, notAvailable(nodeId));
    else subscription.warn(notAvailable(nodeId));
  }

  /** One that registers anew, as with another certificate, has no stream for a moment. */
  #isUp(nodeId: NodeId): boolean {
    return this.options.store.view().get('node', nodeId)?.status.state === 'ready';
  }

  #lose(leg: Leg): void {
    if (!leg.subscription.legs.has(leg.id)) return;
    this.#forget(leg);
    leg.subscription.endLeg(leg);
    leg.subscription.interrupt(leg, disconnected(leg.nodeId));
  }

  /** The node is not waited for any longer. */
  #giveUp(leg: Leg): void {
    this.#forget(leg);
    leg.subscription.endLeg(leg);
    leg.subscription.warn(disconnected(leg.nodeId));
  }

  /** Nobody wants to hear more of it. */
  #forget(leg: Leg): void {
    this.#legs.delete(leg.id);
    const nothing = { stdout: false, stderr: false, follow: false, tail: 0, since: '' };
    this.#tell(leg.nodeId, { id: leg.id, close: true, taskIds: [], ...nothing });
  }

  #tell(nodeId: NodeId, message: SubscriptionMessage): boolean {
    const listener = this.#listeners.get(nodeId);
    if (!listener) return false;
    // Opened and closed before the node heard of it: never mention it.
    const unsaid = message.close ? listener.outbox.findIndex(({ id }) => id === message.id) : -1;
    if (unsaid >= 0) listener.outbox.splice(unsaid, 1);
    else listener.outbox.push(message);
    listener.wake.fire();
    return true;
  }

  /** Serves a node's ListenSubscriptions stream. When it ends, what the node had left to say is lost. */
  async listen(session: Session, { write, signal }: Answers<SubscriptionMessage>): Promise<void> {
    const { nodeId } = session;
    const over = AbortSignal.any([signal, session.signal]);
    const listener = { outbox: [] as SubscriptionMessage[], wake: new Trigger() };
    // Those of the stream before, which this one replaces.
    for (const leg of [...this.#legs.values()]) if (leg.nodeId === nodeId) this.#lose(leg);
    this.#listeners.set(nodeId, listener);
    for (const subscription of this.#subscriptions) this.#resume(subscription, nodeId);
    try {
      while (!over.aborted) {
        for (let next = listener.outbox.shift(); next; next = listener.outbox.shift()) await write(next);
        await listener.wake.wait(waitMsMax, this.options.clock, over);
      }
      session.signal.throwIfAborted();
    } finally {
      // A newer session's stream may have taken over already.
      if (this.#listeners.get(nodeId) === listener) {
        this.#listeners.delete(nodeId);
        for (const leg of [...this.#legs.values()]) if (leg.nodeId === nodeId) this.#lose(leg);
      }
    }
  }

  /** Goes on with a node that was away where it was interrupted. */
  #resume(subscription: Subscription, nodeId: NodeId): void {
    for (const task of subscription.resumeOn(nodeId)) {
      const tail = subscription.hasReached(task) ? -1 : subscription.options.tail;
      this.#open(subscription, nodeId, [task], { tail, since: subscription.since(task) });
    }
  }

  /** Takes a node's lines for one leg; reads no faster than the reader does. */
  async publish(nodeId: NodeId, messages: AsyncIterable<PublishLogsMessage>): Promise<void> {
    let leg: Leg | undefined;
    try {
      for await (const message of messages) {
        leg ??= this.#legs.get(message.subscriptionId);
        // Nobody reads any more; or the node's next stream has begun behind what was taken, and says the rest again.
        if (!leg || !this.#legs.has(leg.id)) return;
        if (message.subscriptionId !== leg.id)
          throw new SkepError('invalidArgument', 'one stream carries one subscription');
        if (leg.nodeId !== nodeId) throw notYours();
        const { subscription } = leg;
        leg.heardMs = this.options.clock.steadyMs();
        leg.misses = 0;
        leg.isNoted = false;
        for (const lines of message.lines) takeLines(leg, lines);
        for (const { taskId, error } of message.ends) {
          if (leg.tasks.has(taskId as TaskId) && error !== '') subscription.warn(`task ${taskId}: ${error}`);
          subscription.endTask(leg, taskId as TaskId);
        }
        if (message.close) {
          this.#legs.delete(leg.id);
          subscription.endLeg(leg);
          return;
        }
        await subscription.untilRoom(leg);
      }
    } finally {
      if (leg && leg.nodeId === nodeId) this.#lose(leg);
    }
  }
}

const notYours = (): SkepError =>
  new SkepError('permissionDenied', 'cannot publish logs of a task not assigned this node');

function takeLines({ nodeId, tasks, subscription }: Leg, { taskId: of, packed }: WireLines): void {
  const taskId = of as TaskId;
  if (!tasks.has(taskId)) throw notYours();
  subscription.take({ taskId, nodeId, packed }, lastLine(packed));
}
