/**
 * Service discovery: a question and who asks, answered from the names of one state (names.ts). Pure, and always of one whole
 * state: that which the names are of at that moment. A name is looked up as it is in all networks of the
 * asker, internal ones last and else by their names, as the engine orders them, then with the last labels taken for a network's name; the first
 * that knows it answers. The ingress network has no names (as in Swarm: services meet there by published port only).
 *
 * Where this differs from Swarm on purpose: a VIP is answered also while nothing serves behind it, so that a restart of the
 * only task is a refused connection and not an unknown host; a known name whose tasks do not serve is answered empty, as the
 * next resolver could only deny it for longer.
 */
import type { Ip } from '../../model/addresses.js';
import { familyOf, ipToNumber, numberToIp } from '../../model/addresses.js';
import { subnetAround } from '../../model/network-subnets.js';
import type { Overlay } from '../state.js';
import type { Asker, OverlayNames } from './names.js';

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

const contains = (overlay: Overlay, address: Ip): boolean => subnetAround(overlay, address) !== undefined;

function recordsOf(addresses: readonly Ip[], type: string, rotation: number): DnsRecord[] {
  const records = addresses
    .map((address): DnsRecord => ({ type: familyOf(address) === 4 ? 'A' : 'AAAA', data: address }))
    .filter((record) => type === record.type || type === 'ANY');
  const start = records.length === 0 ? 0 : rotation % records.length;
  return [...records.slice(start), ...records.slice(0, start)];
}

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
