/** The cluster as its leader's view of the store has it: one look at each object a scrape, of ten thousand tasks some milliseconds. */
import type { ControlplaneMetrics } from '../../metrics/controlplane-table.js';
import type { Samples } from '../../metrics/samples.js';
import { isAttachment } from '../../model/attachments.js';
import type { DispatcherFigures } from '../dispatcher/manager-services.js';
import type { Kind, View } from '../store/store.js';
import { waitingReason } from './waiting-reason.js';

type Into = Samples<ControlplaneMetrics>;

const kinds = ['service', 'task', 'node', 'network', 'secret', 'config'] as const satisfies readonly Kind[];

export function putCluster(into: Into, view: View): void {
  for (const kind of kinds) into.put('skep_objects', { kind }, view.list(kind).length);
  putTasks(into, view);
  for (const { spec } of view.list('service'))
    if (spec.mode.kind === 'replicated')
      into.put('skep_service_desired_tasks', { service: spec.name }, spec.mode.replicas);
  const nodes = new Tally();
  const managers = new Tally();
  for (const { role, status, spec, managerStatus } of view.list('node')) {
    nodes.add(`${role} ${status.state} ${spec.availability}`);
    if (managerStatus) managers.add(managerStatus.reachability);
  }
  for (const [key, count] of nodes.counts) {
    const [role = '', state = '', availability = ''] = key.split(' ');
    into.put('skep_nodes', { role, state, availability }, count);
  }
  for (const [reachability, count] of managers.counts) into.put('skep_managers', { reachability }, count);
  const waiting = new Tally();
  for (const task of view.waitingTasks()) waiting.add(waitingReason(task.status));
  for (const [reason, count] of waiting.counts) into.put('skep_scheduler_waiting_tasks', { reason }, count);
}

/** Users' own containers are of no service. */
function putTasks(into: Into, view: View): void {
  const services = new Map<string, Tally>();
  for (const task of view.list('task')) {
    if (isAttachment(task)) continue;
    // By its present name, where there still is one.
    const name = view.get('service', task.serviceId)?.spec.name ?? task.serviceName;
    let tally = services.get(name);
    if (!tally) services.set(name, (tally = new Tally()));
    tally.add(task.status.state);
  }
  for (const [service, { counts }] of services)
    for (const [state, count] of counts) into.put('skep_tasks', { service, state }, count);
}

/** @param revision that the store has come to */
export function putDispatcher(
  into: Into,
  { sessions, unacknowledged, oldestMs, leastReached }: DispatcherFigures,
  revision: number,
): void {
  into.put('skep_dispatcher_sessions', {}, sessions);
  into.put('skep_dispatcher_unacknowledged_nodes', {}, unacknowledged);
  into.put('skep_dispatcher_unacknowledged_seconds', {}, oldestMs / 1000);
  into.put(
    'skep_dispatcher_behind_revisions',
    {},
    Math.max(0, revision - Math.max(0, Math.min(leastReached, revision))),
  );
}

class Tally {
  readonly counts = new Map<string, number>();

  add(key: string): void {
    this.counts.set(key, (this.counts.get(key) ?? 0) + 1);
  }
}
