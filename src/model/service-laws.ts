/**
 * What follows from a service's spec alone: defaults, the networks and ports it asks for, and whether a task still is
 * what the spec says.
 */
import { isDeepStrictEqual } from 'node:util';
import { satisfiesConstraints } from './constraint.js';
import { isEngineNetwork } from './engine-networks.js';
import { sameHostAccess } from './host-access.js';
import type { Node, Service, Task } from './objects.js';
import type { PayloadKind } from './payloads.js';
import type {
  NetworkAttachmentConfig,
  PayloadReference,
  RestartPolicy,
  ServiceMode,
  ServiceSpec,
  TaskSpec,
  UpdateConfig,
} from './service-spec.js';
import { atLeast, atMost } from './task-state.js';

/** Swarm's defaults for a restart policy left out. */
export const defaultRestartPolicy = {
  condition: 'any',
  delayNs: 5_000_000_000,
  maxAttempts: 0,
  windowNs: 0,
} as const satisfies RestartPolicy;

/** Swarm's defaults for an update or rollback config left out as a whole. */
export const defaultUpdateConfig: UpdateConfig = {
  parallelism: 1,
  delayNs: 0,
  failureAction: 'pause',
  monitorNs: 5_000_000_000,
  maxFailureRatio: 0,
  order: 'stop-first',
};

/** Whether its tasks are to complete, rather than to run on. */
export const isJob = ({ kind }: ServiceMode): boolean => kind === 'replicated-job' || kind === 'global-job';

/** A job is run when it is created and with every update, whatever that changes; as Swarm does it. Nothing of any other service. */
export const nextRun = (
  { mode }: Pick<ServiceSpec, 'mode'>,
  before: Service | undefined,
  nowMs: number,
): Pick<Service, 'jobStatus'> =>
  isJob(mode)
    ? { jobStatus: { iteration: (before?.jobStatus?.iteration ?? -1) + 1, lastExecutionMs: nowMs } }
    : {};

export const nsToMs = (ns: number): number => ns / 1_000_000;

/** Milliseconds between the failure of a task and the start of its replacement. */
export const restartDelayMs = (spec: TaskSpec): number =>
  nsToMs(spec.restartPolicy?.delayNs ?? defaultRestartPolicy.delayNs);

/** The networks of the swarm that a service's tasks attach to; the task template's list wins over the deprecated one. */
export const swarmNetworksOf = (spec: ServiceSpec): readonly NetworkAttachmentConfig[] =>
  (spec.taskTemplate.networks?.length ? spec.taskTemplate.networks : (spec.networks ?? [])).filter(
    ({ target }) => !isEngineNetwork(target),
  );

/** The secrets, or the configs, that a service's tasks are given. */
export const referencesOf = (
  { taskTemplate }: Pick<ServiceSpec, 'taskTemplate'>,
  kind: PayloadKind,
): readonly PayloadReference[] => taskTemplate.container[`${kind}s`] ?? [];

/** True when the service is reached through the routing mesh. */
export const publishesOnIngress = (spec: ServiceSpec): boolean =>
  spec.endpointSpec?.ports.some((port) => port.publishMode === 'ingress') ?? false;

/**
 * True when the task must be replaced to be what the service asks for. `node` is where it runs: a change of the
 * placement alone (preferences and limits per node too, as in Swarm) moves no task whose node satisfies the constraints.
 */
export function isTaskDirty(service: Service, task: Task, node: Node | undefined): boolean {
  // An earlier run of a job may have been of the same spec: it says nothing of this one.
  if (task.jobIteration !== service.jobStatus?.iteration) return true;
  if (task.specVersion === service.specVersion) return false;
  // Of a service's own labels only these are of its containers.
  if (!sameHostAccess(service.spec.labels, task.serviceLabels)) return true;
  const wanted = service.spec.taskTemplate;
  const endpointDiffers = !equals(service.spec.endpointSpec, task.endpointSpec);
  const constraints = wanted.placement?.constraints ?? [];
  const sameButPlacement = equals(withoutPlacement(wanted), withoutPlacement(task.spec));
  if (!endpointDiffers && sameButPlacement && node && satisfiesConstraints(node, constraints)) return false;
  // Once the image is on the node, other credentials to pull it are no reason to replace the task.
  const pulled = atLeast(task.status.state, 'ready') && atMost(task.status.state, 'running');
  const comparable = pulled ? withoutRegistryAuth : (spec: TaskSpec): TaskSpec => spec;
  return endpointDiffers || !equals(comparable(wanted), comparable(task.spec));
}

/**
 * Makes a thing of a value once for as long as the value lives. An update looks at every task of its service in each pass, and
 * tasks are frozen: only one that was written since needs another look.
 */
function remembered<T extends object, R>(make: (value: T) => R): (value: T) => R {
  const made = new WeakMap<T, R>();
  return (value) => {
    if (made.has(value)) return made.get(value) as R;
    const result = make(value);
    made.set(value, result);
    return result;
  };
}

/** By what a value was last found equal to or not. */
const compared = new WeakMap<object, { readonly wanted: object; readonly equal: boolean }>();

/** Deep equality of frozen values; comparing a value again with the same one is a look-up. */
function equals(wanted: object | undefined, value: object | undefined): boolean {
  if (wanted === value || wanted === undefined || value === undefined) return wanted === value;
  const known = compared.get(value);
  if (known?.wanted === wanted) return known.equal;
  const equal = isDeepStrictEqual(wanted, value);
  compared.set(value, { wanted, equal });
  return equal;
}

const withoutPlacement = remembered(
  ({ placement: _, ...spec }: TaskSpec): Omit<TaskSpec, 'placement'> => spec,
);

const withoutRegistryAuth = remembered((spec: TaskSpec): TaskSpec => {
  const { registryAuth: _, ...container } = spec.container;
  return { ...spec, container };
});
