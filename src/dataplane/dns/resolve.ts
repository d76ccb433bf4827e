/**
 * Service discovery: a question and who asks, answered from one NodeNetworkState. Pure, and always of one whole state: the
 * caller hands over the names of the state that it holds at that moment. A name is looked up as it is in all networks of the
 * asker, internal ones last and else by their names, as the engine orders them, then with the last labels taken for a network's name; the first
 * that knows it answers. The ingress network has no names (as in Swarm: services meet there by published port only).
 *
 * Where this differs from Swarm on purpose: a VIP is answered also while nothing serves behind it, so that a restart of the
 * only task is a refused connection and not an unknown host; a known name whose tasks do not serve is answered empty, as the
 * next resolver could only deny it for longer.
 */
import type { Ip } from '../../model/addresses.js';
import { cidrContains, familyOf, ipToNumber, numberToIp } from '../../model/addresses.js';
import type { NetworkId, ServiceId, TaskId } from '../../model/ids.js';
import { difference } from '../keyed-list.js';
import type { Endpoint, NodeNetworkState, Overlay, OverlayService } from '../state.js';
import { endpointKey, serviceKey, withoutItems } from '../state-change.js';

/**
 * Seconds a client may keep an answer. Short, because a dnsrr service's answer is its set of tasks and nothing takes a
 * stopped task out of a client's cache; Swarm's 600 s outlive most tasks.
 */
export const answerTtlS = 2;

export interface DnsQuestion {
  /** With or without the trailing dot, in any case. */
  readonly name: string;
  /** `A`, `AAAA`, `PTR`…; anything else of a known name is answered empty. */
  readonly type: string;
}

/** Who asks: the networks it has a leg on, in the order in which they are looked through. */
export interface Asker {
  readonly networks: readonly OverlayNames[];
}

export interface DnsRecord {
  readonly type: 'A' | 'AAAA' | 'PTR';
  /** An address, or a name without the trailing dot. */
  readonly data: string;
}

export type Resolution =
  /** A known name; no records means that it has none of that type. */
  | { readonly kind: 'answer'; readonly records: readonly DnsRecord[] }
  /** Nobody else can know it either: an address of the asker's networks that nobody has. */
  | { readonly kind: 'unknown' }
  /** Not ours: the host's resolvers may know it. */
  | { readonly kind: 'forward' }
  /** Not ours, and the asker's networks are all internal: nothing of it leaves the node. */
  | { readonly kind: 'isolated' };

/** The names of one overlay, kept up with it: what it has become costs what has changed. */
export class OverlayNames {
  /** By name and alias, in lower case; several services may share an alias, which then means all of them. */
  readonly #services = new Map<string, OverlayService[]>();
  readonly #serving = new Map<ServiceId, Endpoint[]>();
  /** By name and alias, in lower case, those that do not serve included. */
  readonly #endpoints = new Map<string, Endpoint[]>();
  readonly #byAddress = new Map<Ip, Endpoint>();
  readonly #tasks = new Set<TaskId>();
  readonly #vips = new Map<Ip, OverlayService>();
  #overlay: Overlay;

  constructor(overlay: Overlay) {
    this.#overlay = withoutItems(overlay);
    this.follow(overlay);
  }

  get overlay(): Overlay {
    return this.#overlay;
  }

  /** What follows a name of this network when it is given in full. */
  get suffix(): string {
    return `.${this.#overlay.name.toLowerCase()}`;
  }

  /** Answers from `overlay`, a later value of the same, from now on. */
  follow(overlay: Overlay): void {
    const services = difference(this.#overlay.services, overlay.services);
    const endpoints = difference(this.#overlay.endpoints, overlay.endpoints);
    this.#overlay = overlay;
    // What has gone first: others may have its names and addresses now.
    for (const service of services.gone) {
      for (const name of namesOf(service)) take(this.#services, name, service);
      if (service.vip !== undefined) this.#vips.delete(service.vip);
    }
    for (const endpoint of endpoints.gone) {
      for (const name of namesOf(endpoint)) take(this.#endpoints, name, endpoint);
      take(this.#serving, endpoint.serviceId, endpoint);
      this.#byAddress.delete(endpoint.address);
      this.#tasks.delete(endpoint.taskId);
    }
    for (const service of services.come) {
      for (const name of namesOf(service)) put(this.#services, name, service, serviceKey);
      if (service.vip !== undefined) this.#vips.set(service.vip, service);
    }
    for (const endpoint of endpoints.come) {
      for (const name of namesOf(endpoint)) put(this.#endpoints, name, endpoint, endpointKey);
      if (endpoint.serving) put(this.#serving, endpoint.serviceId, endpoint, endpointKey);
      this.#byAddress.set(endpoint.address, endpoint);
      this.#tasks.add(endpoint.taskId);
    }
  }

  /** The addresses of a name in lower case; null when nobody has that name. */
  lookUp(name: string): readonly Ip[] | null {
    // A service may be called `tasks.x` for all Swarm cares; the service's own name wins.
    const services = this.#services.get(name);
    if (services) return distinct(services.flatMap(({ id, vip }) => (vip ? [vip] : this.#servingOf(id))));
    const behind = name.startsWith('tasks.') ? this.#services.get(name.slice('tasks.'.length)) : undefined;
    if (behind) return distinct(behind.flatMap(({ id }) => this.#servingOf(id)));
    const endpoints = this.#endpoints.get(name);
    return endpoints
      ? distinct(endpoints.filter(({ serving }) => serving).map(({ address }) => address))
      : null;
  }

  #servingOf(id: ServiceId): Ip[] {
    return (this.#serving.get(id) ?? []).map(({ address }) => address);
  }

  /** The name of an address, with the network's name behind it as Docker gives it; null when it has none. */
  hostName(address: Ip): string | null {
    const owner = this.#byAddress.get(address) ?? this.#vips.get(address);
    const name = owner ? `${owner.name}.${this.overlay.name}` : '';
    return isHostName(name) ? name : null;
  }

  endpointAt(address: Ip): Endpoint | undefined {
    return this.#byAddress.get(address);
  }

  hasTask(taskId: TaskId): boolean {
    return this.#tasks.has(taskId);
  }
}

/** All names of one state, each overlay's read when it is first asked for: a question costs the same whatever there is. */
export class NameIndex {
  #overlays: ReadonlyMap<NetworkId, Overlay> = new Map();
  readonly #names = new Map<NetworkId, OverlayNames>();

  constructor(state: NodeNetworkState) {
    this.follow(state);
  }

  /** Answers from `state` from now on. Costs what has changed in the overlays that somebody has asked of. */
  follow(state: NodeNetworkState): void {
    const byName = [...state.overlays].sort(
      (a, b) => Number(a.internal) - Number(b.internal) || (a.name < b.name ? -1 : 1),
    );
    this.#overlays = new Map(byName.map((overlay) => [overlay.id, overlay]));
    for (const [id, names] of this.#names) {
      const overlay = this.#overlays.get(id);
      if (overlay) names.follow(overlay);
      else this.#names.delete(id);
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
    const taskId = asked.endpointAt(address)?.taskId;
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

/**
 * Answers `question` for `asker`.
 * @param rotation turns the order of several addresses; the caller counts it up
 */
export function resolve(question: DnsQuestion, { networks }: Asker, rotation: number): Resolution {
  const named = networks.filter(({ overlay }) => !overlay.ingress);
  const name = question.name.toLowerCase().replace(/\.$/, '');
  if (question.type === 'PTR') {
    const address = parseReverseName(name);
    if (address) {
      const host = first(named, (network) => network.hostName(address));
      if (host) return { kind: 'answer', records: [{ type: 'PTR', data: host }] };
      if (networks.some(({ overlay }) => contains(overlay, address))) return { kind: 'unknown' };
    }
  } else {
    const addresses = addressesOf(name, named);
    if (addresses) return { kind: 'answer', records: recordsOf(addresses, question.type, rotation) };
  }
  const isolated = networks.length > 0 && networks.every(({ overlay }) => overlay.internal);
  return { kind: isolated ? 'isolated' : 'forward' };
}

/** The addresses of a name, as it is or with a network's name behind it; null when nobody has that name. */
const addressesOf = (name: string, networks: readonly OverlayNames[]): readonly Ip[] | null =>
  first(networks, (network) => network.lookUp(name)) ??
  first(networks, (network) =>
    name.endsWith(network.suffix) ? network.lookUp(name.slice(0, -network.suffix.length)) : null,
  );

/** What `look` finds in the first of them that has something. */
function first<T, R>(among: readonly T[], look: (one: T) => R | null): R | null {
  for (const one of among) {
    const found = look(one);
    if (found !== null) return found;
  }
  return null;
}

const contains = ({ subnet }: Overlay, address: Ip): boolean =>
  familyOf(subnet) === familyOf(address) && cidrContains(subnet, address);

const namesOf = ({
  name,
  aliases,
}: {
  readonly name: string;
  readonly aliases: readonly string[];
}): Set<string> => new Set([name, ...aliases].map((one) => one.toLowerCase()));

/** In the order that the state has them in. */
function put<K, V>(to: Map<K, V[]>, name: K, value: V, keyOf: (value: V) => string): void {
  const held = to.get(name) ?? [];
  let place = held.length;
  while (place > 0 && keyOf(held[place - 1] as V) > keyOf(value)) place -= 1;
  held.splice(place, 0, value);
  to.set(name, held);
}

function take<K, V>(from: Map<K, V[]>, name: K, value: V): void {
  const left = (from.get(name) ?? []).filter((one) => one !== value);
  if (left.length > 0) from.set(name, left);
  else from.delete(name);
}

const distinct = (addresses: readonly Ip[]): Ip[] => [...new Set(addresses)];

function recordsOf(addresses: readonly Ip[], type: string, rotation: number): DnsRecord[] {
  const records = addresses
    .map((address): DnsRecord => ({ type: familyOf(address) === 4 ? 'A' : 'AAAA', data: address }))
    .filter((record) => type === record.type || type === 'ANY');
  const start = records.length === 0 ? 0 : rotation % records.length;
  return [...records.slice(start), ...records.slice(0, start)];
}

/** A network may be called what no DNS label can hold, such as `a..b`. */
const isHostName = (name: string): boolean =>
  name.length <= 253 && name.split('.').every((label) => label.length > 0 && Buffer.byteLength(label) <= 63);

/** The address of a name below in-addr.arpa or ip6.arpa, or null. */
export function parseReverseName(name: string): Ip | null {
  const labels = name.split('.');
  const zone = labels.splice(-2).join('.');
  labels.reverse();
  if (zone === 'in-addr.arpa' && labels.length === 4 && labels.every(isOctet))
    return numberToIp(ipToNumber(labels.join('.')), 4);
  if (zone === 'ip6.arpa' && labels.length === 32 && labels.every((label) => /^[0-9a-f]$/.test(label)))
    return numberToIp(BigInt(`0x${labels.join('')}`), 6);
  return null;
}

const isOctet = (label: string): boolean => /^\d{1,3}$/.test(label) && Number(label) <= 255;
