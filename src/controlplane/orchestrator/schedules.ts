/**
 * Runs jobs again when their schedules say so. Which firing a run stands for is written together with the run, and only later
 * firings begin others: so none is doubled whoever leads, and none is missed, because whoever leads next looks at all since then. Of
 * several that nobody saw to, or that fell due while the run before them went on, the last begins one run.
 *
 * Clocks of managers differ and are set. What is written is a firing's time, not when it was noticed: a clock that is behind waits
 * until it has passed what another has seen to. That is Vixie's cron's answer to a clock that is put back, and so is its end: from
 * three hours on the clock that wrote it was wrong, or this one is, and a schedule goes by the present one.
 */
import type { RandomSource } from '../../model/ids.js';
import type { JobStatus, Service } from '../../model/objects.js';
import { scheduleOf } from '../../model/schedule.js';
import { Draft } from '../plan.js';
import type { Plan } from '../plan.js';
import type { View } from '../store/store.js';
import { isRunOver } from './jobs.js';

/** Vixie's cron's: a clock set by less is waited for. */
const correctionMs = 3 * 3600_000;

/** One pass over the jobs with a schedule. */
export function planSchedules(view: View, nowMs: number, random: RandomSource): Plan {
  const draft = new Draft(view, nowMs);
  const context = { draft, cluster: view.cluster(), random };
  for (const service of view.list('service')) {
    const { jobStatus } = service;
    const schedule = jobStatus && scheduleOf(service);
    if (!schedule) continue;
    const seenToMs = jobStatus.scheduledForMs ?? jobStatus.lastExecutionMs;
    if (seenToMs - nowMs >= correctionMs) {
      write(draft, service, { ...jobStatus, scheduledForMs: nowMs });
      continue;
    }
    const dueMs = schedule.upTo(nowMs);
    if (dueMs === undefined || dueMs <= seenToMs) {
      const nextMs = schedule.after(Math.max(nowMs, seenToMs));
      if (nextMs !== undefined) draft.wakeAt(nextMs);
    } else if (isRunOver(context, service)) {
      const iteration = jobStatus.iteration + 1;
      write(draft, service, { iteration, lastExecutionMs: nowMs, scheduledForMs: dueMs });
    }
  }
  return draft.plan();
}

function write(draft: Draft, service: Service, jobStatus: JobStatus): void {
  if (draft.fits(1)) draft.update('service', { ...service, jobStatus });
}
