/**
 * Brings tasks' output from the nodes they run on to whoever reads it. A reader opens a subscription; every node that
 * has one of its tasks is told and answers with a stream of lines; the subscription is complete when all of them have
 * said their last word. Bounded: a reader that is slow fills its buffer, then the nodes' streams stop being read,
 * and flow control reaches back to the container's log.
 */
import type { NodeId, RandomSource, TaskId } from '../../model/ids.js';
import { newId } from '../../model/ids.js';
import { SkepError } from '../../model/errors.js';
import type { Clock } from '../../runtime/clock.js';
import { Trigger } from '../../runtime/loop.js';
import type { LogLine, LogOptions, ReadLogs } from '../task-logs.js';
import type { Answers } from '../rpc/handlers.js';
import type { LogMessage, PublishLogsMessage, SubscriptionMessage } from '../rpc/messages.js';
import type { Store } from '../store/store.js';
import type { Session } from './sessions.js';

/** Bytes a reader may be behind. */
const bufferBytesMax = 1024 * 1024;
const waitMsMax = 60_000;

type SubscriptionId = string;

/** One reader. */
interface Subscription {
  readonly id: SubscriptionId;
  readonly options: LogOptions;
  readonly tasks: ReadonlyMap<NodeId, readonly TaskId[]>;
  /** Nodes that have not said their last word. */
  readonly waiting: Set<NodeId>;
  readonly warnings: string[];
  readonly lines: LogLine[];
  bytes: number;
  /** Wakes the reader: a line, or an end. */
  readonly arrived: Trigger;
  /** Wakes publishers: there is room, or nobody reads any more. */
  readonly publishers: Set<Trigger>;
  closed: boolean;
}

export interface LogBrokerOptions {
  readonly store: Store;
  readonly clock: Clock;
  readonly random: RandomSource;
}

export class LogBroker {
  readonly #subscriptions = new Map<SubscriptionId, Subscription>();
  /** What is to be told to each listening node, oldest first. */
  readonly #listeners = new Map<NodeId, { readonly outbox: SubscriptionMessage[]; readonly wake: Trigger }>();

  constructor(private readonly options: LogBrokerOptions) {}

  /** See {@link ReadLogs}. Ends with an error that lists what could not be read, after all that could. */
  readonly read: ReadLogs = (tasks, options, signal) => this.#read(tasks, options, signal);

  async *#read(
    taskIds: readonly TaskId[],
    options: LogOptions,
    signal: AbortSignal,
  ): AsyncGenerator<LogLine, void> {
    const subscription = this.#subscribe(taskIds, options);
    const never = new AbortController().signal;
    const onAbort = subscription.arrived.fire;
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      while (!signal.aborted) {
        for (let line = subscription.lines.shift(); line; line = subscription.lines.shift()) {
          subscription.bytes -= line.data.length;
          for (const publisher of subscription.publishers) publisher.fire();
          yield line;
          if (signal.aborted) return;
        }
        if (subscription.waiting.size === 0) break;
        await subscription.arrived.wait(waitMsMax, this.options.clock, never);
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
      this.#close(subscription);
    }
    if (subscription.warnings.length > 0 && !signal.aborted) {
      const reasons = subscription.warnings.join(', ');
      throw new SkepError(
        'unknown',
        `warning: incomplete log stream. some logs could not be retrieved for the following reasons: ${reasons}`,
      );
    }
  }

  #subscribe(taskIds: readonly TaskId[], options: LogOptions): Subscription {
    const view = this.options.store.view();
    const tasks = new Map<NodeId, TaskId[]>();
    const warnings: string[] = [];
    for (const id of taskIds) {
      const nodeId = view.get('task', id)?.nodeId;
      if (nodeId) tasks.set(nodeId, [...(tasks.get(nodeId) ?? []), id]);
      else warnings.push(`task ${id} has not been scheduled`);
    }
    const subscription: Subscription = {
      id: newId(this.options.random),
      options,
      tasks,
      waiting: new Set(),
      warnings,
      lines: [],
      bytes: 0,
      arrived: new Trigger(),
      publishers: new Set(),
      closed: false,
    };
    for (const nodeId of tasks.keys()) {
      if (this.#tell(nodeId, openMessage(subscription, nodeId))) subscription.waiting.add(nodeId);
      else warnings.push(`node ${nodeId} is not available`);
    }
    this.#subscriptions.set(subscription.id, subscription);
    return subscription;
  }

  #close(subscription: Subscription): void {
    subscription.closed = true;
    this.#subscriptions.delete(subscription.id);
    for (const publisher of subscription.publishers) publisher.fire();
    for (const nodeId of subscription.waiting) this.#tell(nodeId, closeMessage(subscription.id));
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
    this.#listeners.set(nodeId, listener);
    try {
      while (!over.aborted) {
        for (let next = listener.outbox.shift(); next; next = listener.outbox.shift()) await write(next);
        await listener.wake.wait(waitMsMax, this.options.clock, over);
      }
      session.signal.throwIfAborted();
    } finally {
      // A newer session's stream may have taken over already.
      if (this.#listeners.get(nodeId) === listener) this.#listeners.delete(nodeId);
      for (const subscription of this.#subscriptions.values()) this.#lose(subscription, nodeId);
    }
  }

  #lose(subscription: Subscription, nodeId: NodeId): void {
    if (!subscription.waiting.delete(nodeId)) return;
    subscription.warnings.push(`node ${nodeId} disconnected unexpectedly`);
    subscription.arrived.fire();
  }

  /** Takes a node's lines for one subscription; reads no faster than the reader does. */
  async publish(nodeId: NodeId, messages: AsyncIterable<PublishLogsMessage>): Promise<void> {
    const room = new Trigger();
    const never = new AbortController().signal;
    let subscription: Subscription | undefined;
    try {
      for await (const message of messages) {
        subscription ??= this.#subscriptions.get(message.subscriptionId);
        if (!subscription || subscription.closed) return; // nobody reads any more
        if (message.subscriptionId !== subscription.id)
          throw new SkepError('invalidArgument', 'one stream carries one subscription');
        subscription.publishers.add(room);
        while (subscription.bytes > bufferBytesMax && !subscription.closed)
          await room.wait(waitMsMax, this.options.clock, never);
        for (const line of message.messages) this.#take(subscription, nodeId, line);
        if (message.close) subscription.waiting.delete(nodeId);
        subscription.arrived.fire();
        if (message.close) return;
      }
    } finally {
      subscription?.publishers.delete(room);
      if (subscription) this.#lose(subscription, nodeId);
    }
  }

  #take(subscription: Subscription, nodeId: NodeId, line: LogMessage): void {
    const taskId = line.taskId as TaskId;
    if (!subscription.tasks.get(nodeId)?.includes(taskId))
      throw new SkepError('permissionDenied', 'cannot publish logs of a task not assigned this node');
    if (line.stream !== 1 && line.stream !== 2)
      throw new SkepError('invalidArgument', `unknown log stream: ${line.stream}`);
    const { stream, timestamp, attrs, data } = line;
    subscription.bytes += data.length;
    subscription.lines.push({ taskId, nodeId, stream, timestamp, attrs, data });
  }
}

function openMessage({ id, options, tasks }: Subscription, nodeId: NodeId): SubscriptionMessage {
  const { stdout, stderr, follow, tail, since } = options;
  return { id, close: false, taskIds: tasks.get(nodeId) ?? [], stdout, stderr, follow, tail, since };
}

const closeMessage = (id: SubscriptionId): SubscriptionMessage => ({
  id,
  close: true,
  taskIds: [],
  stdout: false,
  stderr: false,
  follow: false,
  tail: 0,
  since: '',
});
