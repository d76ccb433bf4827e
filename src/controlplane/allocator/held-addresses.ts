/**
 * Who holds which addresses of which network: nodes, services and tasks, read from a view. The next view is read only where it is
 * not the same any more: lists and objects of views never change, so what is the same object says the same. What is remembered of the
 * others is nothing but what reading them again would give, whichever views are asked about, in whichever order.
 *
 * An address is a task's until the task is observed to have stopped or its record is gone: a task that a lost node may
 * still run keeps its address, however long the node is down. So do the virtual IPs by which it is reached, though its service may
 * be gone.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Ip } from '../../model/addresses.js';
import type { NetworkId } from '../../model/ids.js';
import { hostNumbers } from '../../model/network-subnets.js';
import type { Network, Task } from '../../model/objects.js';
import { hasEnded } from '../../model/task-state.js';
import type { View } from '../store/store.js';
import { HostSet } from './host-set.js';

export const holdsAddresses = (view: Pick<View, 'get'>, { status, nodeId }: Task): boolean =>
  !hasEnded(status.state, () => (nodeId === undefined ? undefined : view.get('node', nodeId)?.status.state));

/** Whether it takes more than the tasks themselves to tell which of them hold addresses: of those, it hangs on their nodes. */
export const hangOnNodes = (tasks: readonly Task[]): boolean =>
  tasks.some(({ status }) => status.state === 'orphaned');

/** Host parts of one network, each with how many hold it: a VIP is its service's and that of tasks that are still reached by it. */
export class HeldHosts {
  private constructor(
    /** That somebody holds. */
    readonly hosts: HostSet,
    /** Of those that several hold: by how many more than one. */
    private readonly more: Map<number, number>,
  ) {}

  static none(): HeldHosts {
    return new HeldHosts(HostSet.of(), new Map());
  }

  clone(): HeldHosts {
    return new HeldHosts(this.hosts.clone(), new Map(this.more));
  }

  hold(host: number): void {
    if (!this.hosts.add(host)) this.more.set(host, (this.more.get(host) ?? 0) + 1);
  }

  /** One holder less. @returns whether it was the last one */
  release(host: number): boolean {
    const more = this.more.get(host);
    if (more === undefined) return this.hosts.delete(host);
    if (more === 1) this.more.delete(host);
    else this.more.set(host, more - 1);
    return false;
  }
}

interface Leg {
  readonly networkId: NetworkId;
  readonly address: Ip;
}

/** One of those that hold addresses, as it was when its legs were read. */
interface Holder {
  /** What was read; undefined: its legs hang on more than that. */
  readonly of: unknown;
  readonly legs: readonly Leg[];
}

interface Pool {
  readonly allocation: NonNullable<Network['allocation']>;
  readonly hostOf: (address: Ip) => number | undefined;
  readonly held: HeldHosts;
}

export class HeldAddresses {
  readonly #pools = new Map<NetworkId, Pool>();
  /** By kind and id. */
  #holders = new Map<string, Holder>();
  /** How many legs there are on a network, whether or not it was there to count their addresses. */
  readonly #legs = new Map<NetworkId, number>();

  /** By network that has its subnet; the caller's own. */
  of(view: View): ReadonlyMap<NetworkId, HeldHosts> {
    if (!this.#knows(view.list('network'))) this.#forget();
    for (const network of view.list('network')) this.#open(network);
    const before = this.#holders;
    this.#holders = new Map();
    const note = (
      key: string,
      of: unknown,
      legs: () => readonly Leg[],
      isWhole = (): boolean => true,
    ): void => {
      const known = before.get(key);
      before.delete(key);
      if (known?.of !== undefined && known.of === of) {
        this.#holders.set(key, known);
        return;
      }
      const holder: Holder = { of: isWhole() ? of : undefined, legs: legs() };
      for (const leg of holder.legs) this.#hold(leg);
      for (const leg of known?.legs ?? []) this.#release(leg);
      this.#holders.set(key, holder);
    };
    for (const { id, attachments } of view.list('node')) note(`node/${id}`, attachments, () => attachments);
    for (const { id, endpoint } of view.list('service'))
      if (endpoint) note(`service/${id}`, endpoint, () => endpoint.virtualIps);
    for (const id of view.servicesOfTasks()) {
      const tasks = view.tasksOfService(id);
      note(
        `tasks/${id}`,
        tasks,
        () => legsOf(view, tasks),
        () => !hangOnNodes(tasks),
      );
    }
    for (const { legs } of before.values()) for (const leg of legs) this.#release(leg);
    this.#keep(view.list('network'));
    return new Map([...this.#pools].map(([id, { held }]) => [id, held.clone()]));
  }

  /** Whether every network that is there now was counted as it is, or has come since and has nobody on it. */
  #knows(networks: readonly Network[]): boolean {
    return networks.every(({ id, allocation }) => {
      if (!allocation) return true;
      const pool = this.#pools.get(id);
      return pool ? isDeepStrictEqual(pool.allocation, allocation) : !this.#legs.has(id);
    });
  }

  #forget(): void {
    this.#pools.clear();
    this.#holders.clear();
    this.#legs.clear();
  }

  #open({ id, allocation }: Network): void {
    if (!allocation || this.#pools.has(id)) return;
    this.#pools.set(id, { allocation, hostOf: hostNumbers(allocation), held: HeldHosts.none() });
  }

  /** Drops those that are gone. Listed, not asked for one by one: a commit would depend on each. */
  #keep(networks: readonly Network[]): void {
    const present = new Set(networks.flatMap(({ id, allocation }) => (allocation ? [id] : [])));
    for (const id of this.#pools.keys()) if (!present.has(id)) this.#pools.delete(id);
  }

  #hold({ networkId, address }: Leg): void {
    this.#legs.set(networkId, (this.#legs.get(networkId) ?? 0) + 1);
    const pool = this.#pools.get(networkId);
    const host = pool?.hostOf(address);
    if (host !== undefined) pool?.held.hold(host);
  }

  #release({ networkId, address }: Leg): void {
    const legs = (this.#legs.get(networkId) ?? 0) - 1;
    if (legs > 0) this.#legs.set(networkId, legs);
    else this.#legs.delete(networkId);
    const pool = this.#pools.get(networkId);
    const host = pool?.hostOf(address);
    if (host !== undefined) pool?.held.release(host);
  }
}

const legsOf = (view: View, tasks: readonly Task[]): Leg[] =>
  tasks.flatMap((task) =>
    holdsAddresses(view, task) ? [...task.networks, ...(task.endpoint?.virtualIps ?? [])] : [],
  );
