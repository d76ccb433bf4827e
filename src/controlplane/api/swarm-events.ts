/**
 * What changes of the store are in `docker events`. Pure but for {@link SwarmEvents}, which keeps the last of them: each manager
 * derives them from the same changes in the same order, so that all tell the same.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Node, Service } from '../../model/objects.js';
import type { Clock } from '../../runtime/clock.js';
import type { Change, Kind, Objects, Store } from '../store/store.js';

/** An event as Docker says it, the engine's or the swarm's. */
export interface DockerEvent {
  readonly Type: string;
  readonly Action: string;
  readonly Actor: { readonly ID: string; readonly Attributes: Readonly<Record<string, string>> };
  readonly scope: string;
}

/** An event of the swarm. It has none of the old fields `status`, `id` and `from`, in any version of the API. */
export interface SwarmEvent extends DockerEvent {
  readonly Type: Kind;
  readonly Action: 'create' | 'update' | 'remove';
  readonly scope: 'swarm';
  /** In seconds. */
  readonly time: number;
  /** A number of 19 digits, whose first 16 JavaScript can tell apart: milliseconds and zeros. */
  readonly timeNano: number;
}

type Attributes = Readonly<Record<string, string>>;

/** How objects of one kind are told of. */
interface Told<T> {
  readonly name: (object: T) => string;
  /** What an update says besides. */
  readonly changes?: (before: T, after: T) => Attributes;
  /** Fields that Swarm's objects have not: what changes only them is nobody's event. */
  readonly ownFields?: readonly (keyof T)[];
}

const named = { name: ({ spec }: { readonly spec: { readonly name: string } }): string => spec.name };

/** Kinds that are not here have no events. */
const toldKinds: { readonly [K in Kind]?: Told<Objects[K]> } = {
  service: { ...named, changes: serviceChanges, ownFields: ['rebalancing'] },
  node: {
    name: ({ spec, description }) => spec.name || (description?.hostname ?? ''),
    changes: nodeChanges,
    ownFields: ['espEpoch', 'wantedIssuer'],
  },
  network: { ...named, ownFields: ['addressCursor', 'addressLedger'] },
  secret: named,
  config: named,
};

/** `x.old` and `x.new` of what changed; nothing when there was none before, or is none any more. */
const changed = (name: string, before: string | undefined, after: string | undefined): Attributes =>
  before === undefined || after === undefined || before === after
    ? {}
    : { [`${name}.old`]: before, [`${name}.new`]: after };

function serviceChanges(before: Service, after: Service): Attributes {
  const replicas = ({ spec: { mode } }: Service): string | undefined =>
    mode.kind === 'replicated' ? String(mode.replicas) : undefined;
  const [was, is] = [before.updateStatus?.state, after.updateStatus?.state];
  return {
    ...changed('image', before.spec.taskTemplate.container.image, after.spec.taskTemplate.container.image),
    ...changed('replicas', replicas(before), replicas(after)),
    // Of all attributes the only one that is told when it was not there before.
    ...(was === undefined && is !== undefined ? { 'updatestate.new': is } : changed('updatestate', was, is)),
  };
}

function nodeChanges(before: Node, after: Node): Attributes {
  const leader = ({ managerStatus }: Node): string | undefined =>
    managerStatus && String(managerStatus.leader);
  return {
    ...changed('availability', before.spec.availability, after.spec.availability),
    ...changed('role', before.role, after.role),
    ...changed('state', before.status.state, after.status.state),
    ...changed('leader', leader(before), leader(after)),
    ...changed('reachability', before.managerStatus?.reachability, after.managerStatus?.reachability),
  };
}

/** The event of one change; undefined: it is none that Docker reports. */
export function eventOf(change: Change, nowMs: number): SwarmEvent | undefined {
  // What a kind is told by goes with its objects: the table's type says so, which a union of changes cannot.
  const told = toldKinds[change.kind] as Told<Objects[Kind]> | undefined;
  const subject = change.current ?? change.previous;
  if (!told || !subject) return undefined;
  const { previous, current } = change;
  if (previous && current && isOwnAffair(previous, current, told.ownFields ?? [])) return undefined;
  const action = !previous ? 'create' : !current ? 'remove' : 'update';
  const atMs = action === 'create' ? subject.createdAtMs : action === 'update' ? subject.updatedAtMs : nowMs;
  const changes = previous && current ? told.changes?.(previous, current) : undefined;
  return {
    Type: change.kind,
    Action: action,
    Actor: { ID: change.id, Attributes: { name: told.name(subject), ...changes } },
    scope: 'swarm',
    time: Math.floor(atMs / 1000),
    timeNano: atMs * 1e6,
  };
}

/** True when fields of ours changed and nothing else did. An update that changes nothing at all is told, as Swarm does. */
function isOwnAffair<T extends object>(before: T, after: T, own: readonly (keyof T)[]): boolean {
  if (own.every((field) => isDeepStrictEqual(before[field], after[field]))) return false;
  const seen = (object: T): object =>
    Object.fromEntries(
      Object.entries(object).filter(
        ([field]) => !['version', 'updatedAtMs', 'trace', ...own].includes(field as keyof T & string),
      ),
    );
  return isDeepStrictEqual(seen(before), seen(after));
}

/** How many events are remembered: dockerd's `eventsLimit`, which there the engine's share. */
const rememberedMax = 256;

/** The swarm's events as this daemon has seen them, in whatever swarms it was a manager. */
export class SwarmEvents {
  #remembered: SwarmEvent[] = [];
  readonly #listeners = new Set<(event: SwarmEvent) => void>();

  constructor(private readonly clock: Pick<Clock, 'nowMs'>) {}

  /** Tells of the store's changes until the result is called. */
  follow(store: Pick<Store, 'subscribe'>): () => void {
    return store.subscribe(({ changes }) => {
      for (const change of changes) {
        const event = eventOf(change, this.clock.nowMs());
        if (event) this.#tell(event);
      }
    });
  }

  /** Calls `listener` with each event from now on, until `unsubscribe` is called; `past` ends where that begins. */
  subscribe(listener: (event: SwarmEvent) => void): {
    readonly past: readonly SwarmEvent[];
    readonly unsubscribe: () => void;
  } {
    const call = (event: SwarmEvent): void => listener(event);
    this.#listeners.add(call);
    return { past: [...this.#remembered], unsubscribe: () => void this.#listeners.delete(call) };
  }

  #tell(event: SwarmEvent): void {
    this.#remembered.push(event);
    if (this.#remembered.length > rememberedMax) this.#remembered.shift();
    for (const call of [...this.#listeners]) call(event);
  }
}
