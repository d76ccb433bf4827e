/** What reading tasks' output means, between the API that asks, the broker and the agents. */
import type { NodeId, ServiceId, TaskId } from '../model/ids.js';

/** Lines of one task's output, at least one, in their order. */
export interface TaskLines {
  readonly taskId: TaskId;
  readonly nodeId: NodeId;
  /** As packed-lines.ts says. */
  readonly packed: Buffer;
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
) => AsyncIterable<readonly TaskLines[]>;

/** Docker's `since` for what comes after a line: a nanosecond later. */
export function sinceBehind(timestamp: string): string {
  const [whole = '', fraction = ''] = timestamp.replace('Z', '').split('.');
  const nano = BigInt(Date.parse(`${whole}Z`) / 1000) * 1_000_000_000n + BigInt(fraction.padEnd(9, '0')) + 1n;
  return `${nano / 1_000_000_000n}.${String(nano % 1_000_000_000n).padStart(9, '0')}`;
}
