/** New tasks: snapshots of a service as its spec is now. */
import type { NodeId, RandomSource, TaskId } from '../../model/ids.js';
import { newId } from '../../model/ids.js';
import type { Cluster, Service, Succession } from '../../model/objects.js';
import type { TaskState } from '../../model/task-state.js';
import type { New } from '../plan.js';

export interface TaskPlace {
  /** 1 and up for replicated services, 0 for global ones. */
  readonly slot: number;
  /** Set from the start for global services only. */
  readonly nodeId?: NodeId;
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
  },
): New<'task'> {
  const { random, nowMs, desiredState = 'running', succession } = options;
  const { taskTemplate, endpointSpec, name, labels } = service.spec;
  const logDriver = taskTemplate.logDriver ?? cluster.spec.taskDefaultsLogDriver;
  return {
    id: newId<TaskId>(random),
    serviceId: service.id,
    serviceName: name,
    serviceLabels: labels,
    slot: place.slot,
    ...(place.nodeId === undefined ? {} : { nodeId: place.nodeId }),
    spec: taskTemplate,
    specVersion: service.specVersion,
    ...(endpointSpec === undefined ? {} : { endpointSpec }),
    desiredState,
    status: { state: 'new', message: 'created', timestampMs: nowMs, appliedAtMs: nowMs },
    networks: [],
    ...(logDriver === undefined ? {} : { logDriver }),
    ...(succession === undefined ? {} : { succession }),
  };
}
