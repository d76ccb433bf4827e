/**
 * The addresses of one network. Serial (next fit): an address that was freed is handed out again only after the cursor
 * has gone round, so a stale entry somewhere does not meet a new holder at once. The cursor lives in the network object.
 */
import type { Cidr, Ip } from '../../model/addresses.js';
import { addressBits, cidrContains, hostPart, numberToIp, parseCidr } from '../../model/addresses.js';
import type { Network } from '../../model/objects.js';

/** Host parts are plain numbers: of an IPv6 subnet only the first 2^32 addresses are used. */
const hostPartMax = 2 ** 32 - 1;

/** Lowest and highest host part that may be handed out: never the network's own or the broadcast address. */
export function usableHostParts(subnet: Cidr): { readonly first: number; readonly last: number } {
  const { family, prefixLength } = parseCidr(subnet);
  const hostBits = addressBits(family) - prefixLength;
  if (hostBits <= 1) return { first: 0, last: 2 ** hostBits - 1 };
  const all = hostBits > 32 ? hostPartMax : 2 ** hostBits - 1;
  return { first: 1, last: family === 4 ? all - 1 : all };
}

export class AddressPool {
  readonly #subnet: Cidr;
  readonly #first: number;
  readonly #last: number;
  readonly #used = new Set<number>();
  #cursor: number;

  /** `network` must be allocated. */
  constructor(network: Network & { allocation: object }) {
    const { subnet, gateway } = network.allocation;
    this.#subnet = subnet;
    const usable = usableHostParts(subnet);
    const range = network.spec.ipam.configs[0]?.range;
    const bounds =
      range && cidrContains(subnet, range.split('/')[0] ?? '') ? rangeBounds(subnet, range) : usable;
    this.#first = Math.max(usable.first, bounds.first);
    this.#last = Math.min(usable.last, bounds.last);
    this.#cursor = network.addressCursor;
    this.hold(gateway);
  }

  /** Marks an address as held; one of another subnet (left from before a re-creation) is no concern of the pool. */
  hold(address: Ip): void {
    if (cidrContains(this.#subnet, address)) this.#used.add(Number(hostPart(this.#subnet, address)));
  }

  /** Takes an address that somebody chose, in or out of the range to choose from; false if that cannot be. */
  take(address: Ip): boolean {
    const { first, last } = usableHostParts(this.#subnet);
    const part = cidrContains(this.#subnet, address) ? Number(hostPart(this.#subnet, address)) : -1;
    if (part < first || part > last || this.#used.has(part)) return false;
    this.#used.add(part);
    return true;
  }

  /** The next free address, or undefined when the network is exhausted. */
  next(): Ip | undefined {
    const size = this.#last - this.#first + 1;
    let candidate = this.#cursor;
    // One more step than holders there are finds a free address if the pool has any.
    for (let step = 0; step <= this.#used.size && step < size; step++) {
      candidate = candidate < this.#first || candidate >= this.#last ? this.#first : candidate + 1;
      if (this.#used.has(candidate)) continue;
      this.#used.add(candidate);
      this.#cursor = candidate;
      const { base, family } = parseCidr(this.#subnet);
      return numberToIp(base + BigInt(candidate), family);
    }
    return undefined;
  }

  /** Undoes the latest {@link next}. */
  putBack(address: Ip, cursor: number): void {
    this.#used.delete(Number(hostPart(this.#subnet, address)));
    this.#cursor = cursor;
  }

  /** The last host part handed out. */
  get cursor(): number {
    return this.#cursor;
  }
}

function rangeBounds(subnet: Cidr, range: Cidr): { first: number; last: number } {
  const { base, family, prefixLength } = parseCidr(range);
  const first = Number(base - parseCidr(subnet).base);
  return { first, last: first + 2 ** (addressBits(family) - prefixLength) - 1 };
}
