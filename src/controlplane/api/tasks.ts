/** `/tasks`: list and inspect. History is listed too; a task is never made or changed through the API. */
import { attachmentRuntime, isAttachment } from '../../model/attachments.js';
import { SkepError } from '../../model/errors.js';
import { taskName } from '../../model/objects.js';
import type { Task } from '../../model/objects.js';
import { isTaskDirty } from '../../model/service-laws.js';
import { taskStates } from '../../model/task-state.js';
import type { View } from '../store/store.js';
import type { Handler } from './context.js';
import { requireStore } from './context.js';
import { task as taskCodec } from './convert/objects.js';
import { parseFilters } from './filters.js';
import { findNode, findService, findTask } from './lookup.js';
import type { ApiRequest } from './request.js';

export const listTasks: Handler = async (context, request) => {
  const filters = parseFilters(request, {
    keys: ['desired-state', 'id', 'label', 'name', 'node', 'runtime', 'service', '_up-to-date'],
    before: () => requireStore(context),
  });
  const view = requireStore(context).view();
  for (const state of filters.get('desired-state'))
    if (state !== '' && !Object.hasOwn(taskStates, state.toLowerCase()))
      throw new SkepError('unknown', `Invalid desired-state filter: '${state}'`);
  const states = filters.get('desired-state').map((state) => state.toLowerCase());
  // An argument that resolves to nothing fails the whole call (404).
  const services = new Set(filters.get('service').map((argument) => findService(view, argument).id));
  const nodes = new Set(filters.get('node').map((argument) => findNode(view, argument).id));
  // Whatever is said of it.
  const upToDate = filters.get('_up-to-date').length > 0;
  const tasks = view
    .list('task')
    .filter(
      (task) =>
        filters.prefix('id', task.id) &&
        filters.prefix('name', taskName(task)) &&
        filters.labels('label', task.serviceLabels) &&
        (filters.has('runtime')
          ? filters.exact('runtime', isAttachment(task) ? attachmentRuntime : 'container')
          : !isAttachment(task)) &&
        (states.length === 0 || states.includes(task.desiredState)) &&
        (services.size === 0 || services.has(task.serviceId)) &&
        (nodes.size === 0 || (task.nodeId !== undefined && nodes.has(task.nodeId))) &&
        (!upToDate || isUpToDate(view, task)),
    );
  request.json(
    200,
    tasks.map((task) => encodeTask(view, task, request)),
  );
};

export const inspectTask: Handler = async (context, request) => {
  const view = requireStore(context).view();
  request.json(200, encodeTask(view, findTask(view, request.param(0)), request));
};

/** `_up-to-date`: the service's present spec would not have the task replaced. */
function isUpToDate(view: View, task: Task): boolean {
  const service = view.get('service', task.serviceId);
  return service !== undefined && !isTaskDirty(service, task, task.nodeId && view.get('node', task.nodeId));
}

function encodeTask(view: View, task: Task, request: ApiRequest): unknown {
  // Services show the runtime, their tasks do not; attachments do.
  const { runtime: _, ...spec } = task.spec;
  const { jobIteration, ...rest } = task;
  return request.shown(taskCodec, {
    ...rest,
    ...(jobIteration === undefined ? {} : { run: { iteration: jobIteration } }),
    spec: isAttachment(task) ? task.spec : spec,
    labels: {},
    attachments: [
      ...task.networks.map(({ networkId, address, prefixLength }) => ({
        networkId,
        addresses: [`${address}/${prefixLength}`],
      })),
      ...(task.nodeNetworks ?? []).map(({ networkId }) => ({ networkId, addresses: [] })),
    ].flatMap(({ networkId, addresses }) => {
      const network = view.get('network', networkId);
      return network ? [{ network, addresses }] : [];
    }),
    volumes: null,
  });
}
