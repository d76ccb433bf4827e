/** What reading tasks' output means, between the API that asks, the broker and the agents. */
import type { NodeId, ServiceId, TaskId } from '../model/ids.js';

/** One line of a task's output. */
export interface LogLine {
  readonly taskId: TaskId;
  readonly nodeId: NodeId;
  /** Standard output, standard error; or a manager's note in place of lines that are missing, shown in standard error. */
  readonly stream: 1 | 2 | 3;
  /** RFC 3339 with nine fractional digits: lines of several tasks are ordered by it. */
  readonly timestamp: string;
  /** What the log driver notes of each line. */
  readonly attrs: Readonly<Record<string, string>>;
  /** Ends with a newline unless the task has a terminal. */
  readonly data: Buffer;
}

export interface LogOptions {
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly follow: boolean;
  /** Of each task; -1: all. */
  readonly tail: number;
  /** Docker's form, empty for all. */
  readonly since: string;
  /** Of tasks that were read before: the timestamp behind which they are to be read on. */
  readonly reached?: Readonly<Record<string, string>>;
}

/** Whose output: of one task, or of a service's tasks, which when following are also those to come. */
export type LogSubject = { readonly taskId: TaskId } | { readonly serviceId: ServiceId };

/**
 * Reads tasks' output wherever they run, some lines at a time, no faster than it is read. Without `follow` the iterable ends by
 * itself, with an error that lists what could not be read, after all that could; aborting closes it.
 */
export type ReadLogs = (
  subject: LogSubject,
  options: LogOptions,
  signal: AbortSignal,
) => AsyncIterable<readonly LogLine[]>;
