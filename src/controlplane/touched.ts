/**
 * What has changed for a loop whose units are services, since it last planned for them: a pass looks at these only, and at those
 * that asked for this time. Everything at first, after a failure, when {@link Touched.everything} is called, and whenever the cluster
 * has changed; in a large cluster bit by bit, for nothing else is done meanwhile. On a node hang those that have tasks there and
 * those that are to have some on each; on whether it is heard of, fewer. To mark too much costs a look; what is marked too little,
 * the resync finds.
 */
import { isDeepStrictEqual } from 'node:util';
import type { NodeId, ServiceId } from '../model/ids.js';
import type { Node, Task } from '../model/objects.js';
import { mayRun } from '../model/task-state.js';
import type { Change, View } from './store/store.js';

/**
 * What a pass has to look at: these services, or what is left of them, each a unit whose plan depends on nothing of the others.
 * Undefined: everything.
 */
export type Scope = ReadonlySet<ServiceId>;

/** All there is, by the units of a {@link Scope}: services, then those that are gone but for their tasks. */
export const servicesAndTheirTasks = (view: View): Scope =>
  new Set([...view.list('service').map(({ id }) => id), ...view.servicesOfTasks()]);

/** What a plan says of the units that it looked at. */
export interface Looked {
  /** When the plan for a unit may change by time alone, in ms since the epoch. */
  readonly wakes: ReadonlyMap<ServiceId, number>;
  /** The units that there is more to do for. */
  readonly unfinished: ReadonlySet<ServiceId>;
}

/** Tasks that a pass looks at, more or less, while it is not for their services' sake: some 20 ms. */
const tasksPerPass = 4_000;

export class Touched {
  #everything = true;
  /** Services that are to be looked at though nothing is known to have touched them. */
  #rest: ServiceId[] = [];
  #services = new Set<ServiceId>();
  /** Nodes that are not what they were to services. */
  #nodes = new Set<NodeId>();
  /** Nodes that have come to be ready, or are so no more, and have changed in nothing else. */
  #readiness = new Set<NodeId>();
  /** When the plan for a service may change by time alone, in ms since the epoch. */
  #wakes = new Map<ServiceId, number>();

  constructor(private readonly tasksMax = tasksPerPass) {}

  note(change: Change): void {
    switch (change.kind) {
      case 'service':
        this.#services.add(change.id);
        break;
      case 'task':
        if (change.previous) this.#services.add(change.previous.serviceId);
        if (change.current) this.#services.add(change.current.serviceId);
        break;
      case 'node':
        if (!isDeepStrictEqual(lastingOf(change.previous), lastingOf(change.current)))
          this.#nodes.add(change.id);
        else if (isReady(change.previous) !== isReady(change.current)) this.#readiness.add(change.id);
        break;
      case 'cluster':
        this.everything();
        break;
      case 'network':
      case 'secret':
      case 'config':
      case 'manager':
      case 'leader':
        break;
    }
  }

  everything(): void {
    this.#everything = true;
  }

  /** What the next plan is to look at. From now on only later changes count, until {@link planned} says what was left. */
  take(nowMs: number, view: View): Scope | undefined {
    const everything = this.#everything;
    const scope = this.#services;
    const [nodes, readiness] = [this.#nodes, this.#readiness];
    this.#everything = false;
    this.#services = new Set();
    this.#nodes = new Set();
    this.#readiness = new Set();
    if (everything && view.list('task').length <= this.tasksMax) {
      this.#rest = [];
      return undefined;
    }
    if (everything) this.#rest = [...servicesAndTheirTasks(view)];
    for (const id of hangingOnNodes(view, nodes)) scope.add(id);
    for (const id of hangingOnReadiness(view, readiness)) scope.add(id);
    for (const [id, wakeAtMs] of this.#wakes) if (wakeAtMs <= nowMs) scope.add(id);
    for (let tasks = 0; tasks < this.tasksMax;) {
      const id = this.#rest.pop();
      if (id === undefined) break;
      scope.add(id);
      tasks += 1 + view.tasksOfService(id).length;
    }
    return scope;
  }

  /** A plan for this scope was committed. */
  planned(scope: Scope | undefined, { wakes, unfinished }: Looked): void {
    if (scope === undefined) this.#wakes.clear();
    else for (const id of scope) this.#wakes.delete(id);
    for (const [id, wakeAtMs] of wakes) this.#wakes.set(id, wakeAtMs);
    for (const id of unfinished) this.#services.add(id);
  }

  /** When the next look is due though nothing changes; 0: at once, for not all of everything was looked at. */
  wakeAtMs(): number | undefined {
    if (this.#rest.length > 0) return 0;
    let earliest: number | undefined;
    for (const wakeAtMs of this.#wakes.values()) earliest = Math.min(wakeAtMs, earliest ?? wakeAtMs);
    return earliest;
  }
}

/** Services of tasks on these nodes, and those that are to have one on each. */
function* hangingOnNodes(view: View, nodes: ReadonlySet<NodeId>): Generator<ServiceId, void> {
  if (nodes.size === 0) return;
  for (const { id, spec } of view.list('service'))
    if (spec.mode.kind === 'global' || spec.mode.kind === 'global-job') yield id;
  for (const node of nodes) for (const { serviceId } of view.tasksOnNode(node)) yield serviceId;
}

/**
 * What of a node services depend on. Not on where it is sent to and with which keys, nor on its own addresses, which come and
 * go with tasks; and on whether it is heard of only once it is down.
 */
const lastingOf = (node: Node | undefined): unknown =>
  node && {
    ...{ spec: node.spec, role: node.role, description: node.description, addr: node.status.addr },
    isDown: node.status.state === 'down',
  };

const isReady = (node: Node | undefined): boolean => node?.status.state === 'ready';

/** Jobs that are to run on each node that is ready, and orphaned tasks, which have ended for sure once their node is. */
function* hangingOnReadiness(view: View, nodes: ReadonlySet<NodeId>): Generator<ServiceId, void> {
  if (nodes.size === 0) return;
  for (const { id, spec } of view.list('service')) if (spec.mode.kind === 'global-job') yield id;
  for (const node of nodes)
    for (const { serviceId, status } of view.tasksOnNode(node))
      if (status.state === 'orphaned') yield serviceId;
}

export const isNoTask = ({ kind }: Change): boolean => kind !== 'task';

/**
 * False for a step of a task between its assignment and its end, which is most of what is ever written: it holds on its node what
 * it held before, and can be neither placed nor removed.
 */
export function isMoreThanProgress(change: Change): boolean {
  if (change.kind !== 'task') return true;
  const { previous, current } = change;
  if (!previous || !current || !mayRun(previous.status.state) || !mayRun(current.status.state)) return true;
  return !isDeepStrictEqual(withoutProgress(previous), withoutProgress(current));
}

/**
 * False, besides, for a node that only registers or is not heard of: nobody's addresses hang on that. What orphaned tasks held, which
 * is free once their node is ready, is given back with the next change or the resync.
 */
export const concernsAddresses = (change: Change): boolean =>
  change.kind === 'node'
    ? !isDeepStrictEqual(addressesOf(change.previous), addressesOf(change.current))
    : isMoreThanProgress(change);

const addressesOf = (node: Node | undefined): unknown =>
  node && {
    ...{ attachments: node.attachments, routes: node.description?.routes, manager: node.managerStatus?.addr },
    isDown: node.status.state === 'down',
  };

function withoutProgress(task: Task): unknown {
  const { version: _v, updatedAtMs: _u, status: _s, succession: _p, ...rest } = task;
  return rest;
}
