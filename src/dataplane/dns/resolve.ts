/**
 * Service discovery: a question and who asks, answered from one NodeNetworkState. Pure, and always of one whole state: the
 * caller hands over the value it holds at that moment. A name is looked up in the network asked on first, then in the
 * asker's other networks in the state's order; the first that knows it answers. The ingress network has no names (as in
 * Swarm: services meet there by published port only).
 *
 * Where this differs from Swarm on purpose: a VIP is answered also while nothing serves behind it, so that a restart of the
 * only task is a refused connection and not an unknown host; and a task's full name is known before the task is healthy,
 * so that members of one service can find each other while they start.
 */
import type { Ip } from '../../model/addresses.js';
import { familyOf, ipToNumber, numberToIp } from '../../model/addresses.js';
import type { NetworkId, TaskId } from '../../model/ids.js';
import type { Endpoint, NodeNetworkState, Overlay } from '../state.js';

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

/** Who asks: the overlay whose DNS address was asked, and the source address. */
export interface Asker {
  readonly overlayId: NetworkId;
  readonly address: Ip;
}

export interface DnsRecord {
  readonly type: 'A' | 'AAAA' | 'PTR';
  /** An address, or a name without the trailing dot. */
  readonly data: string;
}

export type Resolution =
  /** A known name; no records means that it has none of that type. */
  | { readonly kind: 'answer'; readonly records: readonly DnsRecord[] }
  /** Not ours: the host's resolvers may know it. */
  | { readonly kind: 'forward' }
  /** Not ours, and the asker's networks are all internal: nothing of it leaves the node. */
  | { readonly kind: 'isolated' };

/**
 * Answers `question` for `asker`.
 * @param rotation turns the order of several addresses; the caller counts it up
 */
export function resolve(
  question: DnsQuestion,
  asker: Asker,
  state: NodeNetworkState,
  rotation: number,
): Resolution {
  const attached = attachedOverlays(asker, state);
  const named = attached.filter((overlay) => !overlay.ingress);
  const name = question.name.toLowerCase().replace(/\.$/, '');
  if (question.type === 'PTR') {
    const address = parseReverseName(name);
    const host =
      address && named.map((overlay) => hostName(overlay, address)).find((found) => found !== null);
    if (host) return { kind: 'answer', records: [{ type: 'PTR', data: host }] };
  } else {
    const addresses = addressesOf(name, named);
    if (addresses) return { kind: 'answer', records: recordsOf(addresses, question.type, rotation) };
  }
  const isolated = attached.length > 0 && attached.every((overlay) => overlay.internal);
  return { kind: isolated ? 'isolated' : 'forward' };
}

/** Every overlay on this node that the asker has a leg on, the one asked on first. An unknown source has that one only. */
function attachedOverlays({ overlayId, address }: Asker, state: NodeNetworkState): Overlay[] {
  const asked = state.overlays.find((overlay) => overlay.id === overlayId);
  if (!asked) return [];
  const taskId = asked.endpoints.find((endpoint) => endpoint.address === address)?.taskId;
  const others = state.overlays.filter((overlay) => overlay !== asked && taskId && hasTask(overlay, taskId));
  return [asked, ...others];
}

const hasTask = (overlay: Overlay, taskId: TaskId): boolean =>
  overlay.endpoints.some((endpoint) => endpoint.taskId === taskId);

/** The addresses of a name, as it is or with a network's name behind it; null when nobody has that name. */
function addressesOf(name: string, overlays: readonly Overlay[]): readonly Ip[] | null {
  for (const overlay of overlays) {
    const found = lookUp(name, overlay);
    if (found) return found;
  }
  for (const overlay of overlays) {
    const suffix = `.${overlay.name.toLowerCase()}`;
    const found = name.endsWith(suffix) ? lookUp(name.slice(0, -suffix.length), overlay) : null;
    if (found) return found;
  }
  return null;
}

function lookUp(name: string, overlay: Overlay): readonly Ip[] | null {
  // A service may be called `tasks.x` for all Swarm cares; the service's own name wins.
  const services = servicesNamed(name, overlay);
  if (services.length > 0)
    return distinct(services.flatMap(({ id, vip }) => (vip ? [vip] : servingAddresses(overlay, id))));
  if (name.startsWith('tasks.')) {
    const behind = servicesNamed(name.slice('tasks.'.length), overlay);
    if (behind.length > 0) return distinct(behind.flatMap(({ id }) => servingAddresses(overlay, id)));
  }
  const endpoints = overlay.endpoints.filter((endpoint) => isCalled(endpoint, name));
  return endpoints.length === 0 ? null : distinct(endpoints.map(({ address }) => address));
}

/** By its full name or by a further one, which several may share: containers of users' have such. */
const isCalled = (endpoint: Endpoint, name: string): boolean =>
  endpoint.name.toLowerCase() === name || endpoint.aliases.some((alias) => alias.toLowerCase() === name);

/** Several services may share an alias: the name then means all of them. */
const servicesNamed = (name: string, overlay: Overlay): Overlay['services'] =>
  overlay.services.filter(
    (service) =>
      service.name.toLowerCase() === name || service.aliases.some((alias) => alias.toLowerCase() === name),
  );

const servingAddresses = (overlay: Overlay, serviceId: string): Ip[] =>
  overlay.endpoints
    .filter((endpoint) => endpoint.serviceId === serviceId && endpoint.serving)
    .map((endpoint) => endpoint.address);

const distinct = (addresses: readonly Ip[]): Ip[] => [...new Set(addresses)];

function recordsOf(addresses: readonly Ip[], type: string, rotation: number): DnsRecord[] {
  const records = addresses
    .map((address): DnsRecord => ({ type: familyOf(address) === 4 ? 'A' : 'AAAA', data: address }))
    .filter((record) => type === record.type || type === 'ANY');
  const start = records.length === 0 ? 0 : rotation % records.length;
  return [...records.slice(start), ...records.slice(0, start)];
}

/** The name of an address in one network, with the network's name behind it as Docker gives it; null when it has none. */
function hostName(overlay: Overlay, address: Ip): string | null {
  const owner =
    overlay.endpoints.find((endpoint) => endpoint.address === address) ??
    overlay.services.find((service) => service.vip === address);
  const name = owner ? `${owner.name}.${overlay.name}` : '';
  return isHostName(name) ? name : null;
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
