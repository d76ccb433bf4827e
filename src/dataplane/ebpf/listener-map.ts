/**
 * Where limited ports listen: skep_listeners as objects. Devices are names in plans and indices in the map; an entry whose device
 * is gone can stand for no object and is a leftover.
 */
import type { LinkIndices } from '../balancer/engine.js';
import type { Listener } from '../plan/objects.js';
import { identity } from '../plan/objects.js';
import type { BpfMap, MapEntry } from './bpf.js';
import { ipv4Number, ipv4Text } from './ipv4.js';
import { structs } from './layout.js';
import { sameEntries } from './mirrored-array.js';
import { u32Octets } from './struct.js';

/** What the map holds for a listener. */
const present = u32Octets(1);
/** A listener with the index of its device, 0 when that is not looked at. */
export interface PlacedListener {
  readonly object: Listener;
  readonly device: number;
}

export class ListenerMap {
  readonly #map: BpfMap;
  #entries: readonly MapEntry[];
  /** Keys by the object's identity, as last observed and since written. */
  readonly #keys = new Map<string, Buffer>();
  #strays: Buffer[] = [];

  /** Reads the map whole. Throws KernelError. */
  constructor(map: BpfMap) {
    this.#map = map;
    this.#entries = map.getAll();
  }

  /** Reads it again; true when it was not as last read and written. Throws KernelError. */
  refresh(): boolean {
    const before = valuesByKey(this.#entries);
    this.#entries = this.#map.getAll();
    return !sameEntries(before, valuesByKey(this.#entries));
  }

  async observe(links: LinkIndices): Promise<Listener[]> {
    const found: Listener[] = [];
    const strays: Buffer[] = [];
    this.#keys.clear();
    for (const { key, value } of this.#entries) {
      const { mark, device: index, address } = structs.listenerKey.decode(key);
      const device = index === 0 ? null : await links.nameOf(index);
      const object: Listener = {
        kind: 'listener',
        mark,
        device,
        address: address === 0 ? null : ipv4Text(address),
      };
      if ((index !== 0 && device === null) || !value.equals(present)) {
        strays.push(key);
        continue;
      }
      found.push(object);
      this.#keys.set(identity(object), key);
    }
    this.#strays = strays;
    return found;
  }

  /** As last observed. */
  get hasLeftovers(): boolean {
    return this.#strays.length > 0;
  }

  clearLeftovers(): void {
    this.#delete(this.#strays);
    this.#strays = [];
  }

  /** How many there would be. */
  sizeAfter(put: readonly Listener[], removed: readonly Listener[]): number {
    const after = new Set(this.#keys.keys());
    for (const object of removed) after.delete(identity(object));
    for (const object of put) after.add(identity(object));
    return after.size + this.#strays.length;
  }

  /** Throws KernelError. */
  put(listeners: readonly PlacedListener[]): void {
    if (listeners.length === 0) return;
    const entries = listeners.map(({ object, device }): MapEntry => ({
      key: structs.listenerKey.encode({
        mark: object.mark,
        device,
        address: object.address === null ? 0 : ipv4Number(object.address),
      }),
      value: present,
    }));
    this.#map.putMany(entries);
    const put = new Set(entries.map(({ key }) => key.toString('hex')));
    // One that was damaged is whole now.
    this.#strays = this.#strays.filter((key) => !put.has(key.toString('hex')));
    this.#entries = [...this.#entries.filter(({ key }) => !put.has(key.toString('hex'))), ...entries];
    for (const [index, { key }] of entries.entries()) {
      const object = listeners[index]?.object;
      if (object) this.#keys.set(identity(object), key);
    }
  }

  /** Absent ones are no error. Throws KernelError. */
  remove(listeners: readonly Listener[]): void {
    this.#delete(listeners.flatMap((object) => this.#keys.get(identity(object)) ?? []));
    for (const object of listeners) this.#keys.delete(identity(object));
  }

  #delete(keys: readonly Buffer[]): void {
    if (keys.length === 0) return;
    this.#map.deleteMany(keys);
    const gone = new Set(keys.map((key) => key.toString('hex')));
    this.#entries = this.#entries.filter(({ key }) => !gone.has(key.toString('hex')));
  }
}

const valuesByKey = (entries: readonly MapEntry[]): Map<string, string> =>
  new Map(entries.map(({ key, value }) => [key.toString('hex'), value.toString('hex')]));
