/** `/services`: list, inspect, create, update, remove. Nothing is written before everything was checked. */
import { isDeepStrictEqual } from 'node:util';
import { SkepError, controlApiError } from '../../model/errors.js';
import { newId } from '../../model/ids.js';
import type { ServiceId } from '../../model/ids.js';
import { instanceOf } from '../../model/objects.js';
import type { Service, Task } from '../../model/objects.js';
import { isJob, nextRun } from '../../model/service-laws.js';
import { atMost } from '../../model/task-state.js';
import type {
  ContainerSpec,
  NetworkAttachmentConfig,
  ServiceMode,
  ServiceSpec,
} from '../../model/service-spec.js';
import type { Transaction, View } from '../store/store.js';
import type { ApiContext, Handler } from './context.js';
import { requireStore, requireStoreWithRoom } from './context.js';
import { insertDefaults } from './convert/insert-defaults.js';
import { createdService, service as serviceCodec } from './convert/objects.js';
import type { ServiceStatus } from './convert/objects.js';
import { serviceSpec } from './convert/service.js';
import { parseFilters } from './filters.js';
import { chooseImage } from './image-digest.js';
import { findService } from './lookup.js';
import { findNetworkId } from './network-lookup.js';
import { randomServiceName } from './random-name.js';
import type { ApiRequest } from './request.js';
import { validateAgainst, validateServiceSpec } from './service-validation.js';

export const listServices: Handler = async (context, request) => {
  let withStatus = false;
  const filters = parseFilters(request, {
    keys: ['id', 'label', 'mode', 'name', 'runtime'],
    malformed: 'invalidArgument',
    before: () => {
      withStatus = request.minor >= 41 && request.strictFlag('status');
      requireStore(context);
    },
  });
  const view = requireStore(context).view();
  const services = view
    .list('service')
    .filter(
      ({ id, spec }) =>
        filters.prefix('id', id) &&
        filters.prefix('name', spec.name) &&
        filters.labels('label', spec.labels) &&
        filters.exact('mode', spec.mode.kind) &&
        filters.exact('runtime', 'container'),
    );
  request.json(
    200,
    services.map((service) =>
      request.shown(
        serviceCodec,
        withStatus ? { ...service, serviceStatus: statusOf(view, service) } : service,
      ),
    ),
  );
};

/** What `docker service ls` counts. Of a job only the tasks of its present run are, and an instance completes once. */
export function statusOf(view: View, { id, spec, jobStatus }: Service): ServiceStatus {
  const tasks = view.tasksOfService(id).filter((task) => task.jobIteration === jobStatus?.iteration);
  const count = (wanted: (task: Task) => boolean): number => tasks.filter(wanted).length;
  const running = count(({ status }) => status.state === 'running');
  const completed = tasks.filter(({ status }) => status.state === 'complete');
  const completedTasks = jobStatus ? new Set(completed.map(instanceOf)).size : 0;
  return { runningTasks: running, desiredTasks: desiredTasks(spec.mode, count), completedTasks };
}

function desiredTasks(mode: ServiceMode, count: (wanted: (task: Task) => boolean) => number): number {
  switch (mode.kind) {
    case 'replicated':
      return mode.replicas;
    case 'global':
      // With those that wait out their back-off, which may be long: Swarm leaves them out, and shows 0/0 of what only fails.
      return count(({ desiredState }) => atMost(desiredState, 'running'));
    case 'replicated-job':
      return mode.maxConcurrent;
    case 'global-job':
      // With those that wait to be tried again: clients count them and the completed ones as all there are.
      return count(
        ({ status, desiredState }) => atMost(desiredState, 'complete') && status.state !== 'complete',
      );
  }
}

export const inspectService: Handler = async (context, request) => {
  const defaults = request.strictFlag('insertDefaults');
  const service = findService(requireStore(context).view(), request.param(0));
  request.json(
    200,
    request.shown(serviceCodec, defaults ? { ...service, spec: insertDefaults(service.spec) } : service),
  );
};

export const createService: Handler = async (context, request) => {
  const sent = await request.decode(serviceSpec);
  const store = requireStoreWithRoom(context);
  const spec = await complete(context, request, store.view(), {
    ...sent,
    name: sent.name || randomServiceName(context.random, (name) => !!store.view().byName('service', name)),
  });
  validateServiceSpec(spec);
  const { container } = spec.taskTemplate;
  const { image, warnings } = await chooseImage(context.engine, request, container);
  const chosen = withContainer(spec, { image });
  const id = newId<ServiceId>(context.random);
  await store.update((tx) => {
    validateAgainst(tx, chosen);
    if (tx.byName('service', spec.name))
      throw controlApiError(
        'alreadyExists',
        `name conflicts with an existing object: service ${spec.name} already exists`,
      );
    tx.create('service', {
      id,
      spec: chosen,
      specVersion: nextSpecVersion(tx),
      ...nextRun(chosen, undefined, tx.nowMs),
    });
  });
  request.json(201, request.shown(createdService, { id, warnings }));
};

/**
 * A service's spec version is the revision that writes the spec (the one after what the transaction reads): it only
 * grows, so a task made of any earlier spec, one rolled back included, never counts as made of a later one.
 */
const nextSpecVersion = (tx: Transaction): number => tx.revision + 1;

export const updateService: Handler = async (context, request) => {
  const version = request.version('service');
  const sent = await request.decode(serviceSpec);
  const store = requireStore(context);
  const view = store.view();
  const resolved = await complete(context, request, view, sent);
  const rollback = rollbackWanted(request);
  const known = findService(view, request.param(0));
  const { id } = known;
  const { container } = withRegistryAuth(request, resolved, known).taskTemplate;
  const { image, warnings } = await chooseImage(context.engine, request, container);
  await store.update((tx) => {
    const current = tx.get('service', id);
    if (!current) throw new SkepError('notFound', `service ${request.param(0)} not found`);
    const spec = withRegistryAuth(request, withContainer(resolved, { image }), current);
    validateServiceSpec(spec);
    checkUpdate(spec, current);
    if (rollback && !current.previousSpec)
      throw controlApiError('failedPrecondition', `service ${id} does not have a previous spec`);
    if (current.version !== version) throw controlApiError('unknown', 'update out of sequence');
    if (!rollback) validateAgainst(tx, spec, current);
    tx.update('service', rollback ? rolledBack(tx, current) : updated(tx, current, spec));
  });
  request.json(200, { Warnings: warnings.length > 0 ? warnings : null });
};

export const removeService: Handler = async (context, request) => {
  const store = requireStore(context);
  const { id } = findService(store.view(), request.param(0));
  await store.update((tx) => tx.delete('service', id));
  request.empty(200);
};

function updated(tx: Transaction, current: Service, spec: ServiceSpec): Service {
  const { updateStatus: _, ...kept } = current;
  return {
    ...kept,
    spec,
    specVersion: nextSpecVersion(tx),
    previousSpec: current.spec,
    previousSpecVersion: current.specVersion,
    ...nextRun(spec, current, tx.nowMs),
  };
}

/** Spec and previous spec change places, each with its version: a second rollback toggles back. */
export function rolledBack(tx: Transaction, current: Service): Service {
  const { previousSpec, previousSpecVersion, spec, specVersion } = current;
  if (!previousSpec) return current;
  const swapped = {
    ...current,
    spec: previousSpec,
    specVersion: previousSpecVersion ?? specVersion,
    previousSpec: spec,
    previousSpecVersion: specVersion,
  };
  // A job is not rolled back task by task, it is run anew: there is no update whose state could be told.
  if (isJob(spec.mode)) return { ...swapped, ...nextRun(previousSpec, current, tx.nowMs) };
  return {
    ...swapped,
    updateStatus: {
      state: 'rollback_started',
      startedAtMs: tx.nowMs,
      message: 'manually requested rollback',
    },
  };
}

/** What may not change in an update. */
function checkUpdate(spec: ServiceSpec, current: Service): void {
  if (spec.name !== current.spec.name)
    throw controlApiError('unimplemented', 'renaming services is not supported');
  if ((spec.networks || current.spec.networks) && !isDeepStrictEqual(spec.networks, current.spec.networks))
    throw controlApiError('unimplemented', 'networks must be migrated to TaskSpec before being changed');
  if (spec.mode.kind !== current.spec.mode.kind)
    throw controlApiError('unimplemented', 'service mode change is not allowed');
}

function rollbackWanted(request: ApiRequest): boolean {
  const rollback = request.query.get('rollback') ?? '';
  if (rollback === 'previous') return true;
  if (rollback === '' || rollback === 'none') return false;
  throw new SkepError('unknown', `unrecognized rollback option ${rollback}`);
}

/** Without the header the stored credentials are carried over, from the spec that `registryAuthFrom` names. */
function withRegistryAuth(request: ApiRequest, spec: ServiceSpec, current: Service): ServiceSpec {
  if (registryAuth(request) !== undefined) return spec;
  const from = request.query.get('registryAuthFrom') ?? '';
  if (from !== '' && from !== 'spec' && from !== 'previous-spec')
    throw new SkepError('unknown', 'unsupported registryAuthFrom value');
  const source = from === 'previous-spec' ? current.previousSpec : current.spec;
  if (!source) throw new SkepError('unknown', 'service does not have a previous spec');
  const kept = source.taskTemplate.container.registryAuth;
  return kept === undefined ? spec : withContainer(spec, { registryAuth: kept });
}

const registryAuth = (request: ApiRequest): string | undefined => {
  const header = request.http.headers['x-registry-auth'];
  return typeof header === 'string' && header !== '' ? header : undefined;
};

const withContainer = (spec: ServiceSpec, change: Partial<ContainerSpec>): ServiceSpec => ({
  ...spec,
  taskTemplate: { ...spec.taskTemplate, container: { ...spec.taskTemplate.container, ...change } },
});

/** The spec as it will be stored: networks by id, the client's registry credentials in place. */
async function complete(
  context: ApiContext,
  request: ApiRequest,
  view: View,
  sent: ServiceSpec,
): Promise<ServiceSpec> {
  const resolve = async (
    networks: readonly NetworkAttachmentConfig[],
  ): Promise<readonly NetworkAttachmentConfig[]> => {
    const resolved: NetworkAttachmentConfig[] = [];
    for (const each of networks)
      resolved.push({ ...each, target: await findNetworkId(context, view, each.target) });
    return resolved;
  };
  const { taskTemplate, networks } = sent;
  const spec: ServiceSpec = {
    ...sent,
    taskTemplate: {
      ...taskTemplate,
      ...(taskTemplate.networks ? { networks: await resolve(taskTemplate.networks) } : {}),
    },
    ...(networks ? { networks: await resolve(networks) } : {}),
  };
  const auth = registryAuth(request);
  return auth === undefined ? spec : withContainer(spec, { registryAuth: auth });
}
