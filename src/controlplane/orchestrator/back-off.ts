/**
 * Backing off: what ends early again and again is tried ever more rarely, whatever its restart policy's delay is. How often it has
 * ended early stands in the replacement itself, so that neither a new leader nor a short history forgets it. Numbers are those
 * of the Docker Engine's own restart policies (ADR 30).
 */
import type { Service, Task } from '../../model/objects.js';
import { defaultRestartPolicy, restartDelayMs } from '../../model/service-laws.js';
import { isTerminal } from '../../model/task-state.js';

/** A run that lasted this long was no failure to start. */
const lastingRunMs = 10_000;
const firstDelayMs = 100;
const delayMsMax = 60_000;
/** After a run that ended with 0: that is no failure, but nothing is to spin. */
const completedDelayMsMax = 1_000;

/** How many tasks in a row have ended early in this one's place, itself included, once it is replaced. */
export function earlyEndsWith(service: Service, task: Task, nowMs: number): number {
  const { state, runningAtMs, appliedAtMs } = task.status;
  const hasEnded = isTerminal(state);
  if (task.specVersion !== service.specVersion || state === 'orphaned') return 0;
  const ranMs = runningAtMs === undefined ? 0 : (hasEnded ? appliedAtMs : nowMs) - runningAtMs;
  // Backwards: a clock was wrong, and nobody is made to wait for that.
  if (ranMs >= lastingRunMs || ranMs < 0) return 0;
  const before = task.succession?.earlyEnds ?? 0;
  // Moved away from its node, it has not failed; nor has it lasted.
  return hasEnded ? before + 1 : before;
}

/** Milliseconds from a task's end to the start of its replacement, which is the `earlyEnds`-th in a row; 0: it has lasted. */
export function replacementDelayMs({ spec, status }: Task, earlyEnds: number): number {
  const delayMs = restartDelayMs(spec);
  const { maxAttempts, windowNs } = spec.restartPolicy ?? defaultRestartPolicy;
  // Attempts end by themselves and come as often as the policy says; not so where a short window forgets them.
  if ((maxAttempts > 0 && windowNs === 0) || earlyEnds === 0) return delayMs;
  const most = status.state === 'complete' ? completedDelayMsMax : delayMsMax;
  return Math.max(delayMs, Math.min(most, firstDelayMs * 2 ** (earlyEnds - 1)));
}
