/**
 * Who uses a network of the swarm, and so keeps it from being removed. Swarm looks at what is meant to run and removes a network
 * from under tasks that are still being stopped; with the network would go the flows that they are given time to
 * finish. Here such a task keeps it, too, and whoever removes the network waits for it.
 */
import type { NetworkId } from '../../model/ids.js';
import { isAttachment } from '../../model/attachments.js';
import type { Network, Task } from '../../model/objects.js';
import { atMost, mayRun } from '../../model/task-state.js';
import type { Clock } from '../../runtime/clock.js';
import { Waiters } from '../../runtime/waiters.js';
import type { Store, View } from '../store/store.js';
import { attachedNetworks, needsIngress } from './service-validation.js';

/**
 * Longest wait for tasks to stop: the barrier of a drain, Docker's ten seconds between the signals, and the reports. Clients
 * that limit a request at all allow it a minute. Tasks that are given longer to stop are told of in a refusal.
 */
const releaseWaitMs = 30_000;

export interface NetworkUser {
  /** Why the network stays, in swarmkit's words. */
  readonly refusal: string;
  /** It is being stopped: once it has ended the network may go. */
  readonly leaves: boolean;
}

/** Somebody who uses the network; of those, one who stays goes before one who leaves. */
export function userOfNetwork(view: View, { id, spec }: Network): NetworkUser | undefined {
  const service = view
    .list('service')
    .find((each) => (spec.ingress ? needsIngress(each.spec) : attachedNetworks(each.spec).includes(id)));
  if (service) {
    const refusal = spec.ingress
      ? `ingress network cannot be removed because service ${service.id} depends on it`
      : `network ${id} is in use by service ${service.id}`;
    return { refusal, leaves: false };
  }
  const tasks = view
    .list('task')
    .filter(({ networks, nodeNetworks = [] }) =>
      [...networks, ...nodeNetworks].some(({ networkId }) => networkId === id),
    );
  const inUseBy = (task: Task, leaves: boolean): NetworkUser => ({
    refusal: `network ${id} is in use by task ${task.id}`,
    leaves,
  });
  // Of ingress's tasks Swarm asks nothing: they are those of services that publish nothing any more.
  const staying = spec.ingress ? undefined : tasks.find((task) => stays(view, task));
  if (staying) return inUseBy(staying, false);
  const leaving = tasks.find((task) => mayRun(task.status.state) && isReachable(view, task));
  return leaving && inUseBy(leaving, true);
}

/** It is to run. A task whose service is gone is not, though its desired state may not say so yet. */
const stays = (view: View, task: Task): boolean =>
  atMost(task.desiredState, 'complete') &&
  atMost(task.status.state, 'running') &&
  (isAttachment(task) || view.get('service', task.serviceId) !== undefined);

/** What runs on a node that is down nobody can wait for, and nobody sends it anything. */
const isReachable = (view: View, { nodeId }: Task): boolean => {
  const state = nodeId && view.get('node', nodeId)?.status.state;
  return state !== undefined && state !== 'down';
};

/** Resolves when nobody who leaves keeps the network any more, or after {@link releaseWaitMs}. Rejects with the signal's reason. */
export async function untilReleased(
  store: Store,
  id: NetworkId,
  clock: Pick<Clock, 'sleep'>,
  signal: AbortSignal,
): Promise<void> {
  const isReleased = (): boolean => {
    const view = store.view();
    const network = view.get('network', id);
    return network === undefined || userOfNetwork(view, network)?.leaves !== true;
  };
  if (isReleased()) return;
  const waiters = new Waiters();
  const unsubscribe = store.subscribe(() => waiters.check());
  const over = new AbortController();
  const limit = AbortSignal.any([signal, over.signal]);
  try {
    await Promise.race([waiters.until(isReleased, limit), clock.sleep(releaseWaitMs, limit)]);
  } finally {
    over.abort(new Error('no longer waiting'));
    unsubscribe();
  }
}
