/**
 * Tasks' output as the engine has it. An engine that goes away within it, as when it is upgraded, is asked again for what comes behind
 * the last line: containers go on meanwhile, and so does who reads.
 */
import type { TaskId } from '../../model/ids.js';
import { taskLabels } from '../../model/task-labels.js';
import type { Clock } from '../../runtime/clock.js';
import { EngineError } from '../dockerd/client.js';
import type { ContainerView, Engine } from '../dockerd/client.js';
import { lastLine, timestampAt } from '../packed-lines.js';
import { sinceBehind } from '../task-logs.js';
import type { TaskLogs } from './log-publisher.js';

/** A history is not waited for longer; what is followed is waited for as long as somebody follows. */
const engineAwayMsMax = 30_000;
const pauseMs = 250;
/** Containers in these states have more to say. */
const goesOn: readonly string[] = ['running', 'paused'];

/** @param untilStarted is waited for when following */
export function engineTaskLogs(
  engine: Pick<Engine, 'listContainers' | 'container' | 'logs'>,
  untilStarted: (taskId: TaskId, signal: AbortSignal) => Promise<void>,
  clock: Clock,
): TaskLogs {
  const containerOf = async (taskId: TaskId): Promise<ContainerView | undefined> => {
    const [listed] = await engine.listContainers({ [taskLabels.taskId]: taskId });
    return listed && engine.container(listed.id);
  };
  return async function* (taskId, selection, signal) {
    if (selection.follow) await untilStarted(taskId, signal);
    /** The last line's timestamp. */
    let reached: string | undefined;
    let hasEnded = false;
    let awaySinceMs: number | undefined;
    for (;;) {
      try {
        const container = await containerOf(taskId);
        // An engine that shuts down ends what is followed as if the container had stopped.
        if (!container || (hasEnded && !goesOn.includes(container.status))) return;
        const rest = reached !== undefined && { tail: -1, since: sinceBehind(reached) };
        for await (const packed of engine.logs(container, { ...selection, ...rest }, signal)) {
          awaySinceMs = undefined;
          reached = timestampAt(packed, lastLine(packed));
          yield packed;
        }
        hasEnded = true;
        if (!selection.follow) return;
      } catch (err) {
        signal.throwIfAborted();
        if (!(err instanceof EngineError && err.retryable)) throw err;
        awaySinceMs ??= clock.steadyMs();
        if (!selection.follow && clock.steadyMs() - awaySinceMs > engineAwayMsMax) throw err;
      }
      await clock.sleep(pauseMs, signal);
    }
  };
}
