/**
 * The allocator: gives networks their VNI and subnet, nodes and tasks their addresses, services their VIPs and ports,
 * and moves tasks from `new` to `pending`. What is in use is read from the store on every pass (holdings.ts); nothing
 * is ever held twice because only the leader's allocator hands out and each draft sees its own takings.
 */
import { routedDestinations } from '../../model/host-routes.js';
import { isNodeNetwork } from '../../model/node-networks.js';
import type { Network } from '../../model/objects.js';
import { atMost } from '../../model/task-state.js';
import { Draft } from '../plan.js';
import type { Plan, Planner } from '../plan.js';
import type { View } from '../store/store.js';
import { allocateTask, attachNode } from './attachments.js';
import { allocateEndpoint, isEndpointCurrent, knownNetworks } from './endpoints.js';
import { HeldAddresses } from './held-addresses.js';
import { Holdings } from './holdings.js';
import type { TakenNetwork } from './networks.js';
import { allocateNetwork } from './networks.js';

/** Reads of the holders of addresses those that its last pass has not read. Plans as {@link planAllocations}. */
export function allocationPlanner(): Planner {
  const held = new HeldAddresses();
  return (view, nowMs) => planFrom(held, view, nowMs);
}

/** One pass: networks, then nodes, services and tasks, so that each finds what it depends on. */
export const planAllocations = (view: View, nowMs: number): Plan =>
  planFrom(new HeldAddresses(), view, nowMs);

function planFrom(held: HeldAddresses, view: View, nowMs: number): Plan {
  const draft = new Draft(view, nowMs);
  const holdings = new Holdings(draft, held);
  planNetworks(draft, holdings);
  const known = knownNetworks(view);
  for (const node of view.list('node')) attachNode(draft, holdings, node, known.ingress);
  for (const service of byAge(view.list('service').filter((one) => !isEndpointCurrent(one, known))))
    allocateEndpoint(draft, holdings, service, known);
  for (const task of view.waitingTasks()) {
    if (task.status.state !== 'new' || !atMost(task.desiredState, 'complete')) continue;
    const service = draft.get('service', task.serviceId);
    if (service && isEndpointCurrent(service, known)) allocateTask(draft, holdings, service, task, known);
  }
  holdings.writeLedgers();
  return draft.plan();
}

function planNetworks(draft: Draft, holdings: Holdings): void {
  const networks = draft.view.list('network');
  const waiting = networks.filter((network) => !network.allocation && !isNodeNetwork(network));
  if (waiting.length === 0) return;
  const taken = networks.flatMap(allocated);
  const routes = routedDestinations(draft.view.list('node'));
  // Ingress is the first network of a cluster and gets the first subnet.
  const ordered = byAge(waiting).sort((a, b) => Number(b.spec.ingress) - Number(a.spec.ingress));
  for (const network of ordered) {
    const allocation = allocateNetwork(draft.view.cluster(), network, { networks: taken, routes });
    if (!allocation || !draft.fits(1)) continue;
    taken.push({ ...allocation, ingress: network.spec.ingress });
    holdings.addNetwork(draft.update('network', { ...network, allocation }));
  }
}

const allocated = ({ allocation, spec }: Network): TakenNetwork[] =>
  allocation ? [{ ...allocation, ingress: spec.ingress }] : [];

const byAge = <T extends { readonly createdAtMs: number }>(objects: readonly T[]): T[] =>
  [...objects].sort((a, b) => a.createdAtMs - b.createdAtMs);
