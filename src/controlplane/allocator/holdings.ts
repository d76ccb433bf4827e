/**
 * Everything that is handed out at this moment, read from the store: addresses per network (held-addresses.ts) and published ports,
 * which are free at once when their service is gone. What a pass takes is its own, so the allocator has no state that could
 * disagree with the store.
 */
import type { Ip } from '../../model/addresses.js';
import type { NetworkId } from '../../model/ids.js';
import type { Network } from '../../model/objects.js';
import { swarmPorts } from '../../model/swarm-ports.js';
import type { Draft } from '../plan.js';
import type { Taking } from './address-pool.js';
import { AddressPool } from './address-pool.js';
import { HeldAddresses } from './held-addresses.js';
import type { HeldHosts } from './held-addresses.js';
import { PortTable } from './ports.js';

export class Holdings {
  readonly ports: PortTable;
  readonly #pools = new Map<NetworkId, AddressPool>();

  /** @param held what earlier passes have read of it */
  constructor(
    private readonly draft: Draft,
    held = new HeldAddresses(),
  ) {
    const { view } = draft;
    this.ports = new PortTable(swarmPorts(view.cluster(), view.list('node')));
    for (const { endpoint } of view.list('service')) if (endpoint) this.ports.hold(endpoint.ports);
    const byNetwork = held.of(view);
    for (const network of view.list('network')) this.addNetwork(network, byNetwork.get(network.id));
  }

  /** Opens the pool of a network that has its subnet. @param held of it; absent: nothing */
  addNetwork(network: Network, held?: HeldHosts): void {
    if (!hasAllocation(network)) return;
    const pool = new AddressPool(network, this.draft.nowMs, held);
    pool.settle();
    this.#pools.set(network.id, pool);
  }

  /**
   * One address on each of the networks, or undefined if one of them is missing, unallocated or exhausted. Moves the
   * cursors; a network object is written once per draft, so the caller reserves one write per network.
   */
  takeAddresses(networks: readonly NetworkId[]): readonly Ip[] | undefined {
    const taken: { readonly pool: AddressPool; readonly taking: Taking }[] = [];
    for (const id of networks) {
      const pool = this.#pools.get(id);
      const taking = pool?.next();
      if (!pool || !taking) {
        // Nothing may remain of a failed attempt: a moved cursor would be a write, and the write another pass.
        for (const step of taken.reverse()) step.pool.putBack(step.taking);
        return undefined;
      }
      taken.push({ pool, taking });
    }
    for (const [index, id] of networks.entries()) {
      const network = this.draft.get('network', id);
      const cursor = taken[index]?.pool.cursor;
      if (network && cursor !== undefined)
        this.draft.update('network', { ...network, addressCursor: cursor });
    }
    return taken.map(({ taking }) => taking.address);
  }

  /**
   * Writes what is held and what rests into the networks where that changed. Call it last: a network that something was
   * taken of is in the draft already, the others cost a write each.
   * @param of those that may be written; absent: all
   */
  writeLedgers(of: readonly NetworkId[] = [...this.#pools.keys()]): void {
    for (const id of of) {
      const network = this.draft.get('network', id);
      const addressLedger = this.#pools.get(id)?.ledger();
      if (!network || !addressLedger) continue;
      if (network === this.draft.view.get('network', id) && !this.draft.fits(1)) continue;
      this.draft.update('network', { ...network, addressLedger });
    }
  }

  /** Their holder is written without them. */
  release(legs: readonly { readonly networkId: NetworkId; readonly address: Ip }[]): void {
    for (const { networkId, address } of legs) this.#pools.get(networkId)?.release(address);
  }

  /** This address, or undefined when somebody holds it or it is none to be handed out. */
  takeAddress(network: NetworkId, address: Ip): Ip | undefined {
    return this.#pools.get(network)?.take(address) === true ? address : undefined;
  }
}

const hasAllocation = (network: Network): network is Network & { allocation: object } =>
  network.allocation !== undefined;
