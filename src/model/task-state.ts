/**
 * The two laws of tasks (Swarm's task model): an observed state never goes back, and each range of states has
 * one writer: orchestrator (new), allocator (pending), scheduler (assigned), agent (the rest).
 */
export const taskStates = {
  new: 0,
  pending: 64,
  assigned: 192,
  accepted: 256,
  preparing: 320,
  ready: 384,
  starting: 448,
  running: 512,
  complete: 576,
  shutdown: 640,
  failed: 704,
  rejected: 768,
  /** A desired state only: stop, then delete the record. */
  remove: 800,
  orphaned: 832,
} as const;

export type TaskState = keyof typeof taskStates;

/** Negative, zero or positive as `a` comes before, equals or comes after `b`. */
export const compareStates = (a: TaskState, b: TaskState): number => taskStates[a] - taskStates[b];
export const isTerminal = (state: TaskState): boolean => taskStates[state] > taskStates.running;
export const atMost = (state: TaskState, limit: TaskState): boolean => taskStates[state] <= taskStates[limit];
export const atLeast = (state: TaskState, limit: TaskState): boolean =>
  taskStates[state] >= taskStates[limit];
/**
 * Whether a task has ended as far as can be known. `orphaned` is said by a manager's clock of a task whose node has been down for
 * long, and by nobody who would know: it has ended for sure with its node, or once that is back and has been told what it is to run.
 * @param nodeState asked of an orphaned one alone: its node's state; undefined: it is on none, or its node has been removed
 */
export const hasEnded = (
  state: TaskState,
  nodeState: () => 'unknown' | 'down' | 'ready' | 'disconnected' | undefined,
): boolean => isTerminal(state) && (state !== 'orphaned' || [undefined, 'ready'].includes(nodeState()));
/** A node has the task, and it has not ended. */
export const mayRun = (state: TaskState): boolean => atLeast(state, 'assigned') && atMost(state, 'running');
