/**
 * The orchestrator: compares each service with its tasks and writes the difference as new tasks and desired states. A
 * pass works from whole states; what it did half is finished by the next.
 */
import type { RandomSource, ServiceId } from '../../model/ids.js';
import type { Service } from '../../model/objects.js';
import { Draft } from '../plan.js';
import type { Plan } from '../plan.js';
import type { View } from '../store/store.js';
import { servicesAndTheirTasks } from '../touched.js';
import type { Scope } from '../touched.js';
import type { Context } from './context.js';
import { setDesired } from './context.js';
import { planGlobal } from './global.js';
import { planGlobalJob } from './global-job.js';
import { planReplicatedJob } from './replicated-job.js';
import { planReplicated } from './replicated.js';

/** One pass over the services in scope. */
export function planServices(view: View, nowMs: number, random: RandomSource, scope?: Scope): Plan {
  const draft = new Draft(view, nowMs);
  const context: Context = { draft, cluster: view.cluster(), random };
  for (const id of scope ?? servicesAndTheirTasks(view)) {
    if (!draft.begin(id)) continue;
    const service = view.get('service', id);
    if (service) planService(context, service);
    else removeTasks(context, id);
  }
  return draft.plan();
}

/** The API deletes a service's record at once; its tasks are stopped first and deleted by the reaper. */
function removeTasks(context: Context, id: ServiceId): void {
  // Attachments are no service's.
  if (!id) return;
  for (const task of context.draft.view.tasksOfService(id))
    if (context.draft.fits(1)) setDesired(context, task, 'remove');
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
