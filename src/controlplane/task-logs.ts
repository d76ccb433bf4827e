/** What reading tasks' output means, between the API that asks, the broker and the agents. */
import type { NodeId, TaskId } from '../model/ids.js';

/** One line of a task's output. */
export interface LogLine {
  readonly taskId: TaskId;
  readonly nodeId: NodeId;
  readonly stream: 1 | 2;
  /** RFC 3339 with nine fractional digits. */
  readonly timestamp: string;
  readonly attrs: Readonly<Record<string, string>>;
  /** Ends with a newline unless the task has a terminal. */
  readonly data: Buffer;
}

export interface LogOptions {
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly follow: boolean;
  /** -1: all. */
  readonly tail: number;
  /** Docker's form, empty for all. */
  readonly since: string;
}

/** Reads tasks' output wherever they run. The iterable ends by itself without `follow`; aborting closes all. */
export type ReadLogs = (
  tasks: readonly TaskId[],
  options: LogOptions,
  signal: AbortSignal,
) => AsyncIterable<LogLine>;
