/**
 * The orchestrator: compares each service with its tasks and writes the difference as new tasks and desired states. A
 * pass works from whole states; what it did half is finished by the next.
 */
import type { RandomSource } from '../../model/ids.js';
import type { Service } from '../../model/objects.js';
import { Draft } from '../plan.js';
import type { Plan } from '../plan.js';
import type { View } from '../store/store.js';
import type { Context } from './context.js';
import { setDesired } from './context.js';
import { planGlobal } from './global.js';
import { planGlobalJob } from './global-job.js';
import { planReplicatedJob } from './replicated-job.js';
import { planReplicated } from './replicated.js';

/** One pass over all services. */
export function planServices(view: View, nowMs: number, random: RandomSource): Plan {
  const draft = new Draft(view, nowMs);
  const context: Context = { draft, cluster: view.cluster(), random };
  for (const service of view.list('service')) {
    planService(context, service);
  }
  // The API deletes a service's record at once; its tasks are stopped first and deleted by the reaper.
  for (const task of view.list('task'))
    if (task.serviceId && !view.get('service', task.serviceId) && draft.fits(1))
      setDesired(context, task, 'remove');
  return draft.plan();
}

function planService(context: Context, service: Service): void {
  const { mode } = service.spec;
  switch (mode.kind) {
    case 'replicated':
      return planReplicated(context, service, mode.replicas);
    case 'global':
      return planGlobal(context, service);
    case 'replicated-job':
      return planReplicatedJob(context, service, mode);
    case 'global-job':
      return planGlobalJob(context, service);
  }
}
