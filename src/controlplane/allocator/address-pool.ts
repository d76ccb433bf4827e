/**
 * The addresses of one network, by their numbers (model/network-subnets.ts): through its subnets one after the other, and from the
 * last one's end to the first again. Serial (next fit), and an address that was freed rests for {@link quarantineMs}: until
 * then packets for its last holder may be on their way, and caches may name it. Only a network that has nothing else
 * left gives out resting addresses, the longest freed first: a task that cannot start is worse than what its MAC, which
 * no earlier holder had, keeps away from it anyway.
 *
 * Cursor and ledger live in the network object, so a new leader goes on where the last one was. What became free is
 * seen by comparing the ledger with who holds addresses now, whoever freed them and however.
 */
import type { Cidr, Ip } from '../../model/addresses.js';
import { addressBits, cidrContains, parseCidr } from '../../model/addresses.js';
import type { NetworkSubnet, NetworkSubnets } from '../../model/network-subnets.js';
import { addressAt, hostNumbers, subnetSize, subnetsOf } from '../../model/network-subnets.js';
import type { IpamConfig, Network } from '../../model/objects.js';
import { HeldHosts } from './held-addresses.js';
import { HostSet } from './host-set.js';

/** Longer than DNS answers and idle UDP flows live, and than a node takes that comes back from a reboot. */
export const quarantineMs = 600_000;
/** Times of freeing are rounded up to this, so that the ledger has at most 61 of them. */
const freedStepMs = 10_000;
/** Of more than these, the longest freed rest no longer: the ledger stays small. */
const restingMax = 16_384;

/** Host parts are plain numbers: of an IPv6 subnet only the first 2^32 addresses are used. */
const hostPartMax = 2 ** 32 - 1;

/** Lowest and highest host part that may be handed out: never the network's own or the broadcast address. */
export function usableHostParts(
  subnet: Cidr,
  range?: Cidr,
): { readonly first: number; readonly last: number } {
  const usable = boundsOf(subnet);
  if (range === undefined || !cidrContains(subnet, range.split('/')[0] ?? '')) return usable;
  const { base, family, prefixLength } = parseCidr(range);
  const first = Number(base - parseCidr(subnet).base);
  return {
    first: Math.max(usable.first, first),
    last: Math.min(usable.last, first + 2 ** (addressBits(family) - prefixLength) - 1),
  };
}

function boundsOf(subnet: Cidr): { first: number; last: number } {
  const { family, prefixLength } = parseCidr(subnet);
  const hostBits = addressBits(family) - prefixLength;
  if (hostBits <= 1) return { first: 0, last: 2 ** hostBits - 1 };
  const all = hostBits > 32 ? hostPartMax : 2 ** hostBits - 1;
  return { first: 1, last: family === 4 ? all - 1 : all };
}

/** The first and the last number that may be handed out of a subnet. */
interface Extent {
  readonly first: number;
  readonly last: number;
}

/** @param configs of the subnets, where only their ranges may be handed out */
function extentsOf(subnets: readonly NetworkSubnet[], configs: readonly IpamConfig[] = []): Extent[] {
  let before = 0;
  return subnets.map(({ subnet }, index) => {
    const { first, last } = usableHostParts(subnet, configs[index]?.range);
    const extent = { first: before + first, last: before + last };
    before += Number(subnetSize(subnet));
    return extent;
  });
}

/** Addresses that the user keeps for other uses (`--aux-address`). */
export const auxiliaryAddresses = (config: IpamConfig | undefined): readonly Ip[] =>
  Object.values(config?.auxiliaryAddresses ?? {});

/** What {@link AddressPool.next} gave, with all that it takes to undo it. */
export interface Taking {
  readonly address: Ip;
  readonly host: number;
  readonly cursorBefore: number;
  readonly changedBefore: boolean;
  /** When its last holder freed it, if it was still resting. */
  readonly freedAtMs: number | undefined;
}

export class AddressPool {
  readonly #network: NetworkSubnets;
  readonly #hostOf: (address: Ip) => number | undefined;
  /** What may be handed out of each subnet, in their order. */
  readonly #extents: readonly Extent[];
  readonly #nowMs: number;
  /** Never handed out. */
  readonly #reserved = new Set<number>();
  readonly #held: HeldHosts;
  /** What the network object says that is held. */
  readonly #ledger: HostSet;
  /** Host part to the time it was freed, the longest freed first. */
  readonly #resting = new Map<number, number>();
  #changed = false;
  #cursor: number;

  /**
   * `network` must be allocated. Tell it who holds what, then {@link settle} it, before anything is taken.
   * @param held what is known to be held; it is the pool's from now on
   */
  constructor(network: Network & { allocation: object }, nowMs: number, held = HeldHosts.none()) {
    const { configs } = network.spec.ipam;
    this.#network = network.allocation;
    this.#hostOf = hostNumbers(network.allocation);
    this.#nowMs = nowMs;
    const subnets = subnetsOf(network.allocation);
    this.#extents = extentsOf(subnets, configs);
    this.#cursor = network.addressCursor;
    for (const [index, { gateway }] of subnets.entries())
      for (const address of [gateway, ...auxiliaryAddresses(configs[index])]) {
        const host = this.#hostOf(address);
        if (host !== undefined) this.#reserved.add(host);
      }
    this.#held = held;
    this.#ledger = HostSet.parse(network.addressLedger?.held ?? '');
    for (const { atMs, hosts } of network.addressLedger?.freed ?? [])
      if (atMs + quarantineMs > nowMs) for (const host of HostSet.parse(hosts)) this.#resting.set(host, atMs);
  }

  /** Marks an address as held; one of another subnet (left from before a re-creation) is no concern of the pool. */
  hold(address: Ip): void {
    const host = this.#hostOf(address);
    if (host === undefined) return;
    this.#held.hold(host);
  }

  /** All holders are known: what the ledger has beside them was freed since, and rests from now on. */
  settle(): void {
    const { hosts } = this.#held;
    for (const host of [...this.#resting.keys()]) if (hosts.has(host)) this.#resting.delete(host);
    const freed = this.#ledger.minus(hosts);
    for (const host of freed) this.#resting.set(host, this.#freedAtMs());
    this.#changed = freed.length > 0 || hosts.minus(this.#ledger).length > 0;
    for (const [host] of this.#resting) {
      if (this.#resting.size <= restingMax) break;
      this.#resting.delete(host);
    }
  }

  /** A holder has just let it go: if it was the last one, it rests from now on. */
  release(address: Ip): void {
    const host = this.#hostOf(address);
    if (host === undefined || !this.#held.release(host)) return;
    this.#changed = true;
    this.#resting.set(host, this.#freedAtMs());
  }

  /** Takes an address that somebody chose, in or out of the range to choose from, resting or not; false if that cannot be. */
  take(address: Ip): boolean {
    const host = this.#hostOf(address);
    const isUsable =
      host !== undefined &&
      extentsOf(subnetsOf(this.#network)).some(({ first, last }) => host >= first && host <= last);
    if (!isUsable || !this.#isFree(host)) return false;
    this.#held.hold(host);
    this.#resting.delete(host);
    this.#changed = true;
    return true;
  }

  /** The next free address, or undefined when the network is exhausted. */
  next(): Taking | undefined {
    const size = this.#extents.reduce((sum, { first, last }) => sum + last - first + 1, 0);
    const busy = this.#held.hosts.size + this.#reserved.size + this.#resting.size;
    let candidate = this.#cursor;
    // One more step than busy addresses there are finds a free one if the pool has any.
    for (let step = 0; step <= busy && step < size; step++) {
      candidate = this.#after(candidate);
      if (this.#isFree(candidate) && !this.#resting.has(candidate)) return this.#take(candidate);
    }
    for (const [host, freedAtMs] of this.#resting)
      if (this.#extents.some(({ first, last }) => host >= first && host <= last) && this.#isFree(host))
        return this.#take(host, freedAtMs);
    return undefined;
  }

  /** Undoes the latest {@link next}. */
  putBack({ host, cursorBefore, changedBefore, freedAtMs }: Taking): void {
    this.#held.release(host);
    this.#changed = changedBefore;
    this.#cursor = cursorBefore;
    if (freedAtMs === undefined) return;
    const others = [...this.#resting];
    this.#resting.clear();
    for (const [other, atMs] of [[host, freedAtMs] as const, ...others]) this.#resting.set(other, atMs);
  }

  /** The last host part handed out. */
  get cursor(): number {
    return this.#cursor;
  }

  /** What the network object must come to say of its addresses; undefined: it says so already. */
  ledger(): NonNullable<Network['addressLedger']> | undefined {
    if (!this.#changed) return undefined;
    const byTime = new Map<number, number[]>();
    for (const [host, atMs] of this.#resting) {
      const together = byTime.get(atMs);
      if (together) together.push(host);
      else byTime.set(atMs, [host]);
    }
    const freed = [...byTime].map(([atMs, hosts]) => ({ atMs, hosts: HostSet.of(hosts).format() }));
    return { held: this.#held.hosts.format(), freed };
  }

  #freedAtMs(): number {
    return Math.ceil(this.#nowMs / freedStepMs) * freedStepMs;
  }

  #isFree(host: number): boolean {
    return !this.#held.hosts.has(host) && !this.#reserved.has(host);
  }

  #take(host: number, freedAtMs?: number): Taking {
    const before = { cursorBefore: this.#cursor, changedBefore: this.#changed };
    this.#held.hold(host);
    this.#resting.delete(host);
    // A resting address out of turn does not move the cursor: those behind it have their turn still.
    if (freedAtMs === undefined) this.#cursor = host;
    this.#changed = true;
    return { address: addressAt(this.#network, BigInt(host)), host, ...before, freedAtMs };
  }

  /** What follows in turn. */
  #after(host: number): number {
    for (const { first, last } of this.#extents) {
      if (host < first) return first;
      if (host < last) return host + 1;
    }
    return this.#extents[0]?.first ?? 0;
  }
}
