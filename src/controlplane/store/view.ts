/**
 * The indexed copy both stores keep: objects by id, tasks by service and by node, those that wait, services and networks by name.
 * Immutable: applying a change gives a new snapshot that shares all but the changed part, so a pass can hold one
 * for as long as it likes. All values are deeply frozen.
 */
import assert from 'node:assert';
import type { NodeId, ServiceId } from '../../model/ids.js';
import type { Cluster, Task } from '../../model/objects.js';
import { SortedMap } from './sorted-map.js';
import type { Change, Ids, Kind, NamedKind, Objects, View } from './store.js';

type Tables = { readonly [K in Kind]: SortedMap<Objects[K]> };
type Index<T> = SortedMap<SortedMap<T>>;

const named: Readonly<Record<NamedKind, true>> = { service: true, network: true, secret: true, config: true };
export const isNamed = (kind: Kind): kind is NamedKind => Object.hasOwn(named, kind);
/** The form in which names are compared. */
export const nameKey = (name: string): string => name.toLowerCase();

export class Snapshot implements View {
  static readonly empty = new Snapshot(
    0,
    {
      cluster: SortedMap.empty(),
      node: SortedMap.empty(),
      service: SortedMap.empty(),
      task: SortedMap.empty(),
      network: SortedMap.empty(),
      secret: SortedMap.empty(),
      config: SortedMap.empty(),
      manager: SortedMap.empty(),
      leader: SortedMap.empty(),
    },
    SortedMap.empty(),
    SortedMap.empty(),
    SortedMap.empty(),
    {
      service: SortedMap.empty(),
      network: SortedMap.empty(),
      secret: SortedMap.empty(),
      config: SortedMap.empty(),
    },
  );

  private constructor(
    readonly revision: number,
    private readonly tables: Tables,
    private readonly byService: Index<Task>,
    private readonly byNode: Index<Task>,
    private readonly waiting: SortedMap<Task>,
    /** Name key to id. */
    private readonly names: { readonly [K in NamedKind]: SortedMap<Ids[K]> },
  ) {}

  get<K extends Kind>(kind: K, id: Ids[K]): Objects[K] | undefined {
    return this.tables[kind].get(id);
  }

  list<K extends Kind>(kind: K): readonly Objects[K][] {
    return this.tables[kind].values();
  }

  cluster(): Cluster {
    const [cluster] = this.tables.cluster.values();
    assert(cluster, 'the cluster object is not written yet');
    return cluster;
  }

  tasksOfService(id: ServiceId): readonly Task[] {
    return (this.byService.get(id) ?? SortedMap.empty<Task>()).values();
  }

  tasksOnNode(id: NodeId): readonly Task[] {
    return (this.byNode.get(id) ?? SortedMap.empty<Task>()).values();
  }

  servicesOfTasks(): readonly ServiceId[] {
    return this.byService.keys() as readonly ServiceId[];
  }

  waitingTasks(): readonly Task[] {
    return this.waiting.values();
  }

  byName<K extends NamedKind>(kind: K, name: string): Objects[K] | undefined {
    const id = this.names[kind].get(nameKey(name));
    return id === undefined ? undefined : this.get(kind, id);
  }

  /** The snapshot after `changes`; `revision` must not go back. */
  apply(revision: number, changes: readonly Change[]): Snapshot {
    assert(revision >= this.revision, 'a snapshot never goes back');
    const tables = { ...this.tables };
    const names = { ...this.names };
    let { byService, byNode, waiting } = this;
    for (const change of changes) {
      const { kind, id } = change;
      const table = tables[kind] as SortedMap<Objects[Kind]>;
      const next = change.current ? table.set(id, change.current) : table.delete(id);
      (tables as Record<Kind, SortedMap<Objects[Kind]>>)[kind] = next;
      if (change.kind === 'task') {
        const { previous, current } = change;
        byService = reindex(byService, previous?.serviceId, current?.serviceId, change);
        byNode = reindex(byNode, previous?.nodeId, current?.nodeId, change);
        if (current && isWaiting(current)) waiting = waiting.set(change.id, current);
        else if (previous && isWaiting(previous)) waiting = waiting.delete(change.id);
      } else if (isNamed(kind)) {
        const renamed = rename(names[kind], id, nameOf(change.previous), nameOf(change.current));
        (names as Record<NamedKind, SortedMap<string>>)[kind] = renamed;
      }
    }
    return new Snapshot(revision, tables, byService, byNode, waiting, names);
  }
}

const isWaiting = ({ status }: Task): boolean => status.state === 'new' || status.state === 'pending';

function reindex(
  index: Index<Task>,
  from: string | undefined,
  to: string | undefined,
  change: { readonly id: string; readonly current?: Task },
): Index<Task> {
  let result = index;
  if (from !== undefined && from !== to) {
    const rest = (result.get(from) ?? SortedMap.empty<Task>()).delete(change.id);
    result = rest.size === 0 ? result.delete(from) : result.set(from, rest);
  }
  if (to !== undefined && change.current)
    result = result.set(to, (result.get(to) ?? SortedMap.empty<Task>()).set(change.id, change.current));
  return result;
}

const nameOf = (object: Objects[Kind] | undefined): string | undefined =>
  object && nameKey((object as Objects[NamedKind]).spec.name);

/** @param from and `to`: name keys */
function rename(
  names: SortedMap<string>,
  id: string,
  from: string | undefined,
  to: string | undefined,
): SortedMap<string> {
  if (from === to) return names;
  // Two objects may swap names in one batch: only the present holder gives a name up.
  const released = from !== undefined && names.get(from) === id ? names.delete(from) : names;
  return to === undefined ? released : released.set(to, id);
}
