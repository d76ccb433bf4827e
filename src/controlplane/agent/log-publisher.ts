/**
 * Answers the managers' log subscriptions: for each a stream of the lines of this node's tasks, as fast as the
 * reader at the other end takes them and no faster.
 */
import { once } from 'node:events';
import type { TaskId } from '../../model/ids.js';
import type { Clock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';
import { EngineError } from '../dockerd/client.js';
import type { SessionClient } from '../rpc/clients.js';
import { lineEnd } from '../packed-lines.js';
import type { PublishLogsMessage, SubscriptionMessage } from '../rpc/messages.js';

/**
 * Gives a task's output as packed lines, some at a time; ends with the log, or never when following a running one. Throws an
 * EngineError when the engine cannot read it.
 */
export type TaskLogs = (
  taskId: TaskId,
  selection: SubscriptionMessage,
  signal: AbortSignal,
) => AsyncIterable<Buffer>;

export interface LogPublisherOptions {
  readonly taskLogs: TaskLogs;
  readonly clock: Clock;
  readonly log: Log;
}

/** Tasks of one subscription take turns of about so much, so that no one's lines wait for all of another's. */
const turnBytesMax = 64 * 1024;
/** How often a manager is told that there is nothing to say. */
const presenceMs = 1_000;

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
    const said = { subscriptionId: subscription.id, lines: [], ends: [], close: false };
    /** The last write: the next one begins when the manager has room again. */
    let turn: Promise<unknown> = Promise.resolve();
    const send = (message: Partial<PublishLogsMessage>): Promise<unknown> => {
      turn = turn.then(async () => {
        over.throwIfAborted();
        if (!stream.write({ ...said, ...message })) await once(stream, 'drain', { signal: over });
      });
      return turn;
    };
    const finished = new AbortController();
    const present = this.#sayPresent(send, AbortSignal.any([over, finished.signal]));
    try {
      await Promise.all(
        subscription.taskIds.map((id) => this.#publishTask(id as TaskId, subscription, send, over)),
      );
      await send({ close: true });
    } catch (err) {
      if (!over.aborted) throw err;
    } finally {
      finished.abort();
      await present;
      stream.end();
    }
    await settled;
  }

  async #publishTask(
    taskId: TaskId,
    subscription: SubscriptionMessage,
    send: (message: Partial<PublishLogsMessage>) => Promise<unknown>,
    signal: AbortSignal,
  ): Promise<void> {
    let error = '';
    try {
      for await (const lines of this.options.taskLogs(taskId, subscription, signal))
        for (const packed of turns(lines)) await send({ lines: [{ taskId, nodeId: '', packed }] });
    } catch (err) {
      signal.throwIfAborted();
      if (!(err instanceof EngineError)) throw err;
      error = err.message;
    }
    await send({ ends: [{ taskId, error }] });
  }

  /** Lets the manager tell a node that has nothing to say from one that is gone. */
  async #sayPresent(
    send: (message: Partial<PublishLogsMessage>) => Promise<unknown>,
    signal: AbortSignal,
  ): Promise<void> {
    while (!signal.aborted) {
      await send({}).catch(() => undefined);
      await this.options.clock.sleep(presenceMs, signal).catch(() => undefined);
    }
  }
}

function* turns(packed: Buffer): Generator<Buffer, void> {
  let begin = 0;
  for (let at = 0; packed.length - begin > turnBytesMax && at < packed.length;) {
    at = lineEnd(packed, at);
    if (at - begin < turnBytesMax) continue;
    yield packed.subarray(begin, at);
    begin = at;
  }
  if (begin < packed.length) yield packed.subarray(begin);
}
