/** What becomes of a task whose node is gone for good: removed, or replaced by the host that restores its swarm. */
import type { Task } from './objects.js';

/** The task as `docker node rm` leaves it; it has given back its addresses. */
export const orphanedWithNode = (task: Task, nowMs: number): Task => ({
  ...task,
  status: {
    timestampMs: nowMs,
    appliedAtMs: nowMs,
    state: 'orphaned',
    message: 'Task belonged to a node that has been deleted',
  },
});
