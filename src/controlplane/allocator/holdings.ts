/**
 * Everything that is handed out at this moment, read from the store: addresses per network and published ports. Built
 * anew for each pass, so the allocator has no state of its own that could disagree. Cost: one walk over nodes, services
 * and tasks.
 *
 * An address is a task's until the task is observed to have stopped or its record is gone: a task that a lost node may
 * still run keeps its address, however long the node is down. So do the virtual IPs by which it is reached, though its service may be gone; a published port
 * is free at once.
 */
import type { Ip } from '../../model/addresses.js';
import type { NetworkId } from '../../model/ids.js';
import type { Network, Task } from '../../model/objects.js';
import { swarmPorts } from '../../model/swarm-ports.js';
import { hasEnded } from '../../model/task-state.js';
import type { Draft } from '../plan.js';
import type { View } from '../store/store.js';
import type { Taking } from './address-pool.js';
import { AddressPool } from './address-pool.js';
import { PortTable } from './ports.js';

export const holdsAddresses = (view: Pick<View, 'get'>, { status, nodeId }: Task): boolean =>
  !hasEnded(status.state, () => (nodeId === undefined ? undefined : view.get('node', nodeId)?.status.state));

export class Holdings {
  readonly ports: PortTable;
  readonly #pools = new Map<NetworkId, AddressPool>();

  constructor(private readonly draft: Draft) {
    const { view } = draft;
    this.ports = new PortTable(swarmPorts(view.cluster(), view.list('node')));
    for (const network of view.list('network')) this.addNetwork(network);
    for (const node of view.list('node'))
      for (const { networkId, address } of node.attachments) this.#hold(networkId, address);
    for (const { endpoint } of view.list('service')) {
      if (!endpoint) continue;
      this.ports.hold(endpoint.ports);
      for (const { networkId, address } of endpoint.virtualIps) this.#hold(networkId, address);
    }
    for (const task of view.list('task'))
      if (holdsAddresses(view, task))
        for (const { networkId, address } of [...task.networks, ...(task.endpoint?.virtualIps ?? [])])
          this.#hold(networkId, address);
    for (const pool of this.#pools.values()) pool.settle();
  }

  /** Opens the pool of a network that has its subnet. */
  addNetwork(network: Network): void {
    if (hasAllocation(network)) this.#pools.set(network.id, new AddressPool(network, this.draft.nowMs));
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

  #hold(network: NetworkId, address: Ip): void {
    this.#pools.get(network)?.hold(address);
  }
}

const hasAllocation = (network: Network): network is Network & { allocation: object } =>
  network.allocation !== undefined;
