/**
 * The names of a state, by overlay, ready to be asked for: a question costs the same whatever there is, and a change of the
 * state what it changes.
 */
import type { Ip } from '../../model/addresses.js';
import type { NetworkId, ServiceId, TaskId } from '../../model/ids.js';
import { difference } from '../../runtime/keyed-list.js';
import { takersOf } from '../silence.js';
import { withoutItems } from '../state-change.js';
import type { Endpoint, NodeNetworkState, Overlay, OverlayService } from '../state.js';

/** Who asks: the networks it has a leg on, in the order in which they are looked through. */
export interface Asker {
  readonly networks: readonly OverlayNames[];
}

/** Several values under a key, in the order in which they came. */
class Multimap<K, V> {
  readonly #values = new Map<K, Set<V>>();

  has(key: K): boolean {
    return this.#values.has(key);
  }

  /** Undefined: none, never an empty list. */
  get(key: K): V[] | undefined {
    const held = this.#values.get(key);
    return held && [...held];
  }

  add(key: K, value: V): void {
    const held = this.#values.get(key);
    if (held) held.add(value);
    else this.#values.set(key, new Set([value]));
  }

  remove(key: K, value: V): void {
    const held = this.#values.get(key);
    held?.delete(value);
    if (held?.size === 0) this.#values.delete(key);
  }
}

/** The names of one overlay. */
export class OverlayNames {
  /** By name and alias, in lower case; several services may share an alias, which then means all of them. */
  readonly #services = new Multimap<string, OverlayService>();
  readonly #serving = new Multimap<ServiceId, Endpoint>();
  /** By name and alias, in lower case, those that do not serve included. */
  readonly #endpoints = new Multimap<string, Endpoint>();
  /** What has an address has it alone, but for one that another is about to take over. */
  readonly #owners = new Multimap<Ip, Endpoint | OverlayService>();
  readonly #tasks = new Multimap<TaskId, Endpoint>();
  #overlay: Overlay;

  constructor(overlay: Overlay) {
    this.#overlay = withoutItems(overlay);
    this.change(overlay);
  }

  get overlay(): Overlay {
    return this.#overlay;
  }

  /** What follows a name of this network when it is given in full. */
  get suffix(): string {
    return `.${this.#overlay.name.toLowerCase()}`;
  }

  /** Takes a later state of the overlay; what is alike is found by identity, see {@link difference}. */
  change(overlay: Overlay): void {
    const services = difference(this.#overlay.services, overlay.services);
    const endpoints = difference(this.#overlay.endpoints, overlay.endpoints);
    for (const service of services.gone) this.#change(service, 'remove');
    for (const endpoint of endpoints.gone) this.#changeEndpoint(endpoint, 'remove');
    for (const service of services.come) this.#change(service, 'add');
    for (const endpoint of endpoints.come) this.#changeEndpoint(endpoint, 'add');
    this.#overlay = overlay;
  }

  #change(service: OverlayService, how: 'add' | 'remove'): void {
    for (const name of namesOf(service)) this.#services[how](name, service);
    if (service.vip !== undefined) this.#owners[how](service.vip, service);
  }

  #changeEndpoint(endpoint: Endpoint, how: 'add' | 'remove'): void {
    for (const name of namesOf(endpoint)) this.#endpoints[how](name, endpoint);
    if (endpoint.serving) this.#serving[how](endpoint.serviceId, endpoint);
    this.#owners[how](endpoint.address, endpoint);
    this.#tasks[how](endpoint.taskId, endpoint);
  }

  /** The addresses of a name in lower case; null when nobody has that name. */
  lookUp(name: string): readonly Ip[] | null {
    // A service may be called `tasks.x` for all Swarm cares; the service's own name wins.
    const services = this.#services.get(name);
    if (services) return distinct(services.flatMap(({ id, vip }) => (vip ? [vip] : this.#addressesOf(id))));
    const behind = name.startsWith('tasks.') ? this.#services.get(name.slice('tasks.'.length)) : undefined;
    if (behind) return distinct(behind.flatMap(({ id }) => this.#addressesOf(id)));
    const endpoints = this.#endpoints.get(name);
    return endpoints ? distinct(takersOf(endpoints).map(({ address }) => address)) : null;
  }

  /** The name of an address, with the network's name behind it as Docker gives it; null when it has none. */
  hostName(address: Ip): string | null {
    const owner = this.#owners.get(address)?.at(-1);
    const name = owner ? `${owner.name}.${this.#overlay.name}` : '';
    return isHostName(name) ? name : null;
  }

  /** Of the endpoint that has the address. */
  taskAt(address: Ip): TaskId | undefined {
    const owner = this.#owners.get(address)?.at(-1);
    return owner && 'taskId' in owner ? owner.taskId : undefined;
  }

  hasTask(taskId: TaskId): boolean {
    return this.#tasks.has(taskId);
  }

  /** Of what takes flows for a service. */
  #addressesOf(service: ServiceId): readonly Ip[] {
    return takersOf(this.#serving.get(service) ?? []).map(({ address }) => address);
  }
}

/** All names of one state, each overlay's read when it is first asked for. */
export class NameIndex {
  #overlays: ReadonlyMap<NetworkId, Overlay> = new Map();
  readonly #names = new Map<NetworkId, OverlayNames>();

  constructor(state: NodeNetworkState) {
    this.change(state);
  }

  /** Takes a later state, whole. Askers found before are void. */
  change(state: NodeNetworkState): void {
    const byName = [...state.overlays].sort(
      (a, b) => Number(a.internal) - Number(b.internal) || (a.name < b.name ? -1 : 1),
    );
    this.#overlays = new Map(byName.map((overlay) => [overlay.id, overlay]));
    for (const [id, names] of this.#names) {
      const overlay = this.#overlays.get(id);
      if (overlay === undefined) this.#names.delete(id);
      else if (overlay !== names.overlay) names.change(overlay);
    }
  }

  /** A container, by the networks that the engine has given it a leg on. */
  askerWith(overlayIds: readonly NetworkId[]): Asker {
    return { networks: this.#networks((id) => overlayIds.includes(id)) };
  }

  /**
   * Whoever asked on this node's address of an overlay from an address there: the task that has it, with every leg it has. A
   * source that nobody has sees that one network.
   */
  askerAt(overlayId: NetworkId, address: Ip): Asker {
    const asked = this.#namesOf(overlayId);
    if (!asked) return { networks: [] };
    const taskId = asked.taskAt(address);
    return {
      networks: this.#networks((id) => id === overlayId || (taskId !== undefined && this.#has(id, taskId))),
    };
  }

  #networks(wanted: (id: NetworkId) => boolean): OverlayNames[] {
    return [...this.#overlays.keys()].flatMap((id) => (wanted(id) ? (this.#namesOf(id) ?? []) : []));
  }

  #has(id: NetworkId, taskId: TaskId): boolean {
    return this.#namesOf(id)?.hasTask(taskId) ?? false;
  }

  #namesOf(id: NetworkId): OverlayNames | undefined {
    const known = this.#names.get(id);
    const overlay = this.#overlays.get(id);
    if (known || !overlay) return known;
    const names = new OverlayNames(overlay);
    this.#names.set(id, names);
    return names;
  }
}

const namesOf = ({
  name,
  aliases,
}: {
  readonly name: string;
  readonly aliases: readonly string[];
}): Set<string> => new Set([name, ...aliases].map((one) => one.toLowerCase()));

const distinct = (addresses: readonly Ip[]): Ip[] => [...new Set(addresses)];

/** A network may be called what no DNS label can hold, such as `a..b`. */
const isHostName = (name: string): boolean =>
  name.length <= 253 && name.split('.').every((label) => label.length > 0 && Buffer.byteLength(label) <= 63);
