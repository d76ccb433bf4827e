/** New tasks: snapshots of a service as its spec is now. */
import assert from 'node:assert';
import type { NodeId, RandomSource, TaskId } from '../../model/ids.js';
import { newId } from '../../model/ids.js';
import type { Cluster, Service, Succession, Task } from '../../model/objects.js';
import type { TaskState } from '../../model/task-state.js';
import type { TraceId } from '../../model/trace.js';
import type { New } from '../plan.js';
import { goalOf } from './context.js';

/** A slot, whose task the scheduler places; the node whose task it is; or both: the node that a slot's task is moved to. */
export type TaskPlace = { readonly slot: number; readonly nodeId?: NodeId } | { readonly nodeId: NodeId };

/** Where the task's replacement goes. */
export function placeOf({ slot, nodeId }: Task): TaskPlace {
  if (slot !== undefined) return { slot };
  assert(nodeId !== undefined, "a task without slot is its node's");
  return { nodeId };
}

/** A task that copies what it needs of the service, so that later updates leave it as it is. */
export function createTask(
  cluster: Cluster,
  service: Service,
  place: TaskPlace,
  options: {
    readonly random: RandomSource;
    readonly nowMs: number;
    readonly desiredState?: TaskState;
    readonly succession?: Succession;
    /** Of the request that it follows from; by default the one that wrote the service last. */
    readonly trace?: TraceId | undefined;
  },
): New<'task'> {
  const { random, nowMs, succession, trace = service.trace } = options;
  const { jobStatus } = service;
  const run = jobStatus && { jobIteration: jobStatus.iteration };
  const { taskTemplate, endpointSpec, name, labels } = service.spec;
  const logDriver = taskTemplate.logDriver ?? cluster.spec.taskDefaultsLogDriver;
  return {
    id: newId<TaskId>(random),
    serviceId: service.id,
    serviceName: name,
    serviceLabels: labels,
    ...place,
    spec: taskTemplate,
    specVersion: service.specVersion,
    ...(endpointSpec === undefined ? {} : { endpointSpec }),
    ...run,
    desiredState: options.desiredState ?? goalOf(run ?? {}),
    status: { state: 'new', message: 'created', timestampMs: nowMs, appliedAtMs: nowMs },
    networks: [],
    ...(logDriver === undefined ? {} : { logDriver }),
    ...(succession === undefined ? {} : { succession }),
    ...(trace === undefined ? {} : { trace }),
  };
}
