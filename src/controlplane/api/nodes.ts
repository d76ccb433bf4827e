/** `/nodes`: list, inspect, update (availability, labels, role), remove. */
import { isDeepStrictEqual } from 'node:util';
import { faultOfNodeLabels } from '../../model/balancing.js';
import { SkepError, controlApiError } from '../../model/errors.js';
import { orphanedWithNode } from '../../model/orphans.js';
import { atLeast } from '../../model/task-state.js';
import type { Node } from '../../model/objects.js';
import { mayDemote } from '../managers/members-plan.js';
import { maxWrites } from '../store/store.js';
import type { Transaction } from '../store/store.js';
import type { Handler } from './context.js';
import { requireStore } from './context.js';
import { node as nodeCodec, nodeSpec } from './convert/objects.js';
import type { Filters } from './filters.js';
import { parseFilters } from './filters.js';
import { findNode } from './lookup.js';

export const listNodes: Handler = async (context, request) => {
  const filters = parseFilters(request, {
    keys: ['id', 'label', 'node.label', 'membership', 'name', 'role'],
    before: () => requireStore(context),
  });
  const view = requireStore(context).view();
  checkWords(filters, 'role', ['worker', 'manager']);
  checkWords(filters, 'membership', ['accepted', 'pending']);
  const nodes = view.list('node').filter(
    ({ id, spec, description }) =>
      filters.prefix('id', id) &&
      filters.prefix('name', description?.hostname ?? '') &&
      filters.labels('label', description?.engine.labels ?? {}) &&
      filters.labels('node.label', spec.labels) &&
      isAsked(filters, 'role', spec.role) &&
      // Every node with a record was accepted: its certificate was issued.
      isAsked(filters, 'membership', 'accepted'),
  );
  request.json(
    200,
    nodes.map((node) => request.shown(nodeCodec, node)),
  );
};

function checkWords(filters: Filters, key: string, words: readonly string[]): void {
  for (const value of filters.get(key))
    if (value !== '' && !words.includes(value.toLowerCase()))
      throw new SkepError('unknown', `Invalid ${key} filter: '${value}'`);
}

/** Words of either case; the empty one asks for nothing. */
function isAsked(filters: Filters, key: string, word: string): boolean {
  const wanted = filters.get(key).filter((value) => value !== '');
  return wanted.length === 0 || wanted.some((value) => value.toLowerCase() === word);
}

export const inspectNode: Handler = async (context, request) => {
  request.json(200, request.shown(nodeCodec, findNode(requireStore(context).view(), request.param(0))));
};

export const updateNode: Handler = async (context, request) => {
  const version = request.version('node');
  const spec = await request.decode(nodeSpec);
  const store = requireStore(context);
  const { id } = findNode(store.view(), request.param(0));
  await store.update((tx) => {
    const current = tx.get('node', id);
    if (!current) throw new SkepError('notFound', `node ${request.param(0)} not found`);
    if (current.spec.role === 'manager' && spec.role === 'worker') {
      // One that is a manager still and is to be none does not stay to manage.
      const stays = ({ id: other, role, spec: wanted }: Node): boolean =>
        other !== id && role === 'manager' && wanted.role === 'manager';
      if (!tx.list('node').some(stays))
        throw controlApiError('failedPrecondition', 'attempting to demote the last manager of the swarm');
      if (!mayDemote(tx, id))
        throw controlApiError(
          'failedPrecondition',
          "can't remove member from the raft: this would result in a loss of quorum",
        );
    }
    if (current.version !== version) throw controlApiError('unknown', 'update out of sequence');
    // Labels of old that mean nothing must not be in the way of a drain.
    const fault = isDeepStrictEqual(spec.labels, current.spec.labels)
      ? undefined
      : faultOfNodeLabels(spec.labels);
    if (fault !== undefined) throw controlApiError('invalidArgument', fault);
    tx.update('node', { ...current, spec });
  });
  request.empty(200);
};

export const removeNode: Handler = async (context, request) => {
  const force = request.flag('force');
  const store = requireStore(context);
  const { id } = findNode(store.view(), request.param(0));
  await store.update((tx) => {
    const current = tx.get('node', id);
    if (!current) throw new SkepError('notFound', `node ${request.param(0)} not found`);
    if (current.managerStatus)
      throw controlApiError(
        'failedPrecondition',
        `node ${id} is a cluster manager and is a member of the raft cluster. It must be demoted to worker ` +
          'before removal',
      );
    if (!force && current.status.state === 'ready')
      throw controlApiError('failedPrecondition', `node ${id} is not down and can't be removed`);
    deleteNode(tx, current, context.clock.nowMs());
  });
  request.empty(200);
};

/** Takes a node out of the cluster. What it ran is orphaned, and so gives back its addresses; `aborted` if that is too much at once. */
export function deleteNode(tx: Transaction, { id }: Pick<Node, 'id'>, nowMs: number): void {
  const orphans = tx.tasksOnNode(id).filter(({ status }) => !atLeast(status.state, 'complete'));
  if (orphans.length >= maxWrites)
    throw controlApiError('aborted', `node ${id} still has ${orphans.length} tasks; drain it before removal`);
  for (const task of orphans) tx.update('task', orphanedWithNode(task, nowMs));
  tx.delete('node', id);
}
