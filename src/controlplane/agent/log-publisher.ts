/**
 * Answers the managers' log subscriptions: for each a stream of the lines of this node's tasks, as fast as the
 * reader at the other end takes them and no faster.
 */
import { once } from 'node:events';
import type { NodeId, TaskId } from '../../model/ids.js';
import type { Log } from '../../runtime/log.js';
import type { Engine } from '../dockerd/client.js';
import type { SessionClient } from '../rpc/clients.js';
import type { LogMessage, SubscriptionMessage } from '../rpc/messages.js';
import { taskLabels } from './container-config.js';

/** Gives a task's output; ends with the log, or never when following a running one. */
export type TaskLogs = (
  taskId: TaskId,
  selection: SubscriptionMessage,
  signal: AbortSignal,
) => AsyncIterable<LogMessage>;

/** Tasks' output from the engine. `untilStarted` is waited for when following. */
export function engineTaskLogs(
  engine: Engine,
  nodeId: NodeId,
  untilStarted: (taskId: TaskId, signal: AbortSignal) => Promise<void>,
): TaskLogs {
  return async function* (taskId, selection, signal) {
    if (selection.follow) await untilStarted(taskId, signal);
    const [listed] = await engine.listContainers({ [taskLabels.taskId]: taskId });
    const container = listed && (await engine.container(listed.id));
    if (!container) return;
    const attrs = {
      [taskLabels.nodeId]: nodeId,
      [taskLabels.serviceId]: container.labels[taskLabels.serviceId] ?? '',
      [taskLabels.taskId]: taskId,
    };
    for await (const { stream, timestamp, data } of engine.logs(container, selection, signal))
      yield { taskId, stream, timestamp, attrs, data };
  };
}

export interface LogPublisherOptions {
  readonly taskLogs: TaskLogs;
  readonly log: Log;
}

export class LogPublisher {
  constructor(private readonly options: LogPublisherOptions) {}

  /** Serves subscriptions until the stream of them ends or the signal aborts. */
  async run(client: SessionClient, sessionId: string, signal: AbortSignal): Promise<void> {
    const active = new Map<string, AbortController>();
    const work = new Set<Promise<void>>();
    try {
      for await (const message of client.listenSubscriptions({ sessionId }, signal)) {
        const subscription = message as SubscriptionMessage;
        active.get(subscription.id)?.abort(new Error('subscription closed'));
        active.delete(subscription.id);
        if (subscription.close) continue;
        const stop = new AbortController();
        active.set(subscription.id, stop);
        const published = this.#publish(client, subscription, AbortSignal.any([signal, stop.signal]))
          .catch((err: unknown) => {
            if (!stop.signal.aborted && !signal.aborted)
              this.options.log.warn({ subscription: subscription.id, err }, 'publishing logs failed');
          })
          .finally(() => {
            work.delete(published);
            if (active.get(subscription.id) === stop) active.delete(subscription.id);
          });
        work.add(published);
      }
    } finally {
      for (const stop of active.values()) stop.abort(new Error('session ended'));
      await Promise.all(work);
    }
  }

  async #publish(
    client: SessionClient,
    subscription: SubscriptionMessage,
    signal: AbortSignal,
  ): Promise<void> {
    const answered = new AbortController();
    const over = AbortSignal.any([signal, answered.signal]);
    const { stream, done } = client.publishLogs(signal);
    stream.on('error', () => undefined); // `done` tells
    // The manager answers early when nobody reads any more.
    const settled = done.finally(() => answered.abort(new Error('subscription ended')));
    settled.catch(() => undefined);
    const { id: subscriptionId } = subscription;
    const send = async (messages: readonly LogMessage[], close: boolean): Promise<void> => {
      if (!stream.write({ subscriptionId, messages, close })) await once(stream, 'drain', { signal: over });
    };
    try {
      await Promise.all(
        subscription.taskIds.map(async (taskId) => {
          for await (const line of this.options.taskLogs(taskId as TaskId, subscription, over))
            await send([line], false);
        }),
      );
      await send([], true);
    } catch (err) {
      if (!over.aborted) throw err;
    } finally {
      stream.end();
    }
    await settled;
  }
}
