/**
 * The orchestrator: compares each service with its tasks and writes the difference as new tasks and desired states. A
 * pass works from whole states; what it did half is finished by the next.
 */
import type { RandomSource } from '../../model/ids.js';
import { Draft } from '../plan.js';
import type { Plan } from '../plan.js';
import type { View } from '../store/store.js';
import type { Context } from './context.js';
import { setDesired } from './context.js';
import { planGlobal } from './global.js';
import { planReplicated } from './replicated.js';

/** One pass over all services. Jobs are refused by the API and have no tasks. */
export function planServices(view: View, nowMs: number, random: RandomSource): Plan {
  const draft = new Draft(view, nowMs);
  const context: Context = { draft, cluster: view.cluster(), random };
  for (const service of view.list('service')) {
    const { mode } = service.spec;
    if (mode.kind === 'replicated') planReplicated(context, service, mode.replicas);
    else if (mode.kind === 'global') planGlobal(context, service);
  }
  // The API deletes a service's record at once; its tasks are stopped first and deleted by the reaper.
  for (const task of view.list('task'))
    if (task.serviceId && !view.get('service', task.serviceId) && draft.fits(1))
      setDesired(context, task, 'remove');
  return draft.plan();
}
