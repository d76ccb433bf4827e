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
/** A node has the task, and it has not ended. */
export const mayRun = (state: TaskState): boolean => atLeast(state, 'assigned') && atMost(state, 'running');
