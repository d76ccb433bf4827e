/**
 * What both modes of jobs share. A job is run at its creation, with every update and when its schedule says so; a run starts
 * everything anew and is over when each of its instances has completed once or has given up. Of earlier runs only what ended by
 * itself is left, as history.
 */
import type { Node, Service, Task } from '../../model/objects.js';
import { instanceOf } from '../../model/objects.js';
import { isTerminal } from '../../model/task-state.js';
import type { Context } from './context.js';
import { isLive, presentTasks, setDesired } from './context.js';
import { meetsConstraints } from './global.js';
import { hasStopped, occupants } from './restart.js';

const isOfRun = (service: Service, { jobIteration }: Task): boolean =>
  jobIteration === service.jobStatus?.iteration;

/** The tasks of the job's present run. */
export const tasksOfRun = (context: Context, service: Service): readonly Task[] =>
  presentTasks(context, service).filter((task) => isOfRun(service, task));

/** The task did what the job is for; a job's desired state says nothing more of it. */
export const isComplete = ({ status }: Task): boolean => status.state === 'complete';

/** The task is to complete, and has not yet. */
export const isUnderWay = (task: Task): boolean => isLive(task) && !isComplete(task);

/**
 * Ends what earlier runs have left: what may run is removed, what failed just now is not restarted.
 * @param isKept whether the record of an instance that ended is history of one that there still is
 * @returns the tasks of earlier runs that may still run
 */
export function endEarlierRuns(
  context: Context,
  service: Service,
  isKept: (task: Task) => boolean,
): readonly Task[] {
  const { draft } = context;
  const earlier = draft.tasksOfService(service.id).filter((task) => !isOfRun(service, task));
  for (const task of earlier) {
    if (task.desiredState === 'remove' || !draft.fits(1)) continue;
    if (!isTerminal(task.status.state) || !isKept(task)) setDesired(context, task, 'remove');
    else if (!isComplete(task) && isLive(task)) setDesired(context, task, 'shutdown');
  }
  return earlier.filter((task) => !hasStopped(context, draft.get('task', task.id)));
}

/** Whether a global job is to run on the node now, if it has not yet. */
export const takesJob = (node: Node, service: Service): boolean =>
  node.status.state === 'ready' && node.spec.availability === 'active' && meetsConstraints(node, service);

/** Nothing of the job runs, and nothing more will start before its next run or a change of the nodes. */
export function isRunOver(context: Context, service: Service): boolean {
  const { draft } = context;
  const present = tasksOfRun(context, service);
  if (present.some(isUnderWay)) return false;
  if (draft.tasksOfService(service.id).some((task) => !hasStopped(context, task))) return false;
  const { mode } = service.spec;
  const begun = new Set(present.map(instanceOf));
  if (mode.kind === 'replicated-job') return begun.size >= mode.totalCompletions || mode.maxConcurrent === 0;
  return draft.view
    .list('node')
    .filter((node) => takesJob(node, service))
    .every(
      ({ id }) =>
        occupants(
          service,
          present.filter((task) => task.nodeId === id),
        ).length > 0,
    );
}
