/** Logs are read by the manager that leads: who follows them goes on with the next one when that changes. */
import type { TaskId } from '../../model/ids.js';
import type { Clock } from '../../runtime/clock.js';
import { lastLine, timestampAt } from '../packed-lines.js';
import { fromServiceError } from '../rpc/status.js';
import type { ReadLogs } from '../task-logs.js';

/** A new leader is there within seconds; after so long without one the reader is told. */
const leaderlessMsMax = 30_000;
const pauseMs = 500;

/**
 * @param ask reads with whoever leads now
 * @returns the same, which when following goes on behind the last line of each task with whoever leads next
 */
export const acrossLeaders = (ask: ReadLogs, clock: Clock): ReadLogs =>
  async function* (subject, options, signal) {
    const reached = new Map<TaskId, string>();
    let failingSinceMs: number | undefined;
    for (;;)
      try {
        for await (const lines of ask(
          subject,
          { ...options, reached: Object.fromEntries(reached) },
          signal,
        )) {
          failingSinceMs = undefined;
          if (options.follow)
            for (const { taskId, packed } of lines)
              // A manager's note is no line of the task, and comes by itself.
              if (packed[0] !== 3) reached.set(taskId, timestampAt(packed, lastLine(packed)));
          yield lines;
        }
        return;
      } catch (err) {
        const refusal = fromServiceError(err);
        // A connection that breaks is of either kind, depending on how it does.
        const mayPass = refusal.kind === 'unavailable' || refusal.kind === 'unknown';
        if (!options.follow || !mayPass || signal.aborted) throw refusal;
        failingSinceMs ??= clock.steadyMs();
        if (clock.steadyMs() - failingSinceMs > leaderlessMsMax) throw refusal;
        await clock.sleep(pauseMs, signal).catch(() => undefined);
      }
  };
