/**
 * The node's kernel: the host's namespace, one namespace per overlay in a directory of their own names, and the containers'
 * by the engine's path. Sockets are kept per namespace and closed when it is forgotten. The host's namespace may be another
 * than this process's own, so that several nodes can live on one kernel.
 */
import { closeSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Family, Ip } from '../../model/addresses.js';
import { familyOf } from '../../model/addresses.js';
import type { Vni } from '../../model/ids.js';
import type { BalancerEngine, BalancerTable } from '../balancer/engine.js';
import { ipvsEngine } from '../balancer/ipvs.js';
import { native } from '../../runtime/native.js';
import { isErrno } from '../netlink/netlink-error.js';
import type { RouteEvent, RouteTopic } from '../netlink/route.js';
import { RouteNetlink, subscribeRoute } from '../netlink/route.js';
import { subscribeXfrm } from '../netlink/xfrm.js';
import type { Op } from '../plan/diff.js';
import { hostLinkName, overlayNamespace } from '../plan/names.js';
import type { Scope } from '../plan/node.js';
import { scopeName } from '../plan/node.js';
import type { Link, VxlanAttributes } from '../plan/objects.js';
import { EspObjects } from './esp-objects.js';
import { errnoOf, KernelError, toKernelError } from './kernel-error.js';
import type { Change, Kernel, Observation, Quiet, SandboxNames } from './kernel.js';
import { NamespaceKernel } from './namespace-kernel.js';
import { overlayNamespacesIn } from './overlay-namespaces.js';
import type { ReservationsRecord } from './reserved-ports.js';
import { unkeptReservations } from './reserved-ports.js';
import type { LinkFactory } from './route-objects.js';

export interface LinuxKernelOptions {
  /** Path of the host's namespace; null: this process's own. */
  readonly hostNetns?: string | null;
  /** Where overlay namespaces are mounted. */
  readonly netnsDirectory?: string;
  /** Stays the caller's to close. */
  readonly engine?: BalancerEngine;
  /** Absent: names are left to the engine's resolver. */
  readonly names?: SandboxNames;
  /** Which of the host's reserved ports are ours; absent: that is known as long as this object lives. */
  readonly reservations?: ReservationsRecord;
}

/** A scope in which something may be balanced. */
export type BalancedScope = Exclude<NamespaceScope, { readonly kind: 'sandbox' }>;
/** A scope that is a namespace with all that is in it. */
type NamespaceScope = Exclude<Scope, { readonly kind: 'esp' }>;

const topics: Readonly<Record<NamespaceScope['kind'], readonly RouteTopic[]>> = {
  host: ['link', 'address', 'neighbour', 'route', 'rule'],
  overlay: ['link', 'address', 'neighbour', 'route', 'rule'],
  sandbox: ['link', 'address', 'route', 'rule'],
};

export class LinuxKernel implements Kernel, Disposable {
  readonly engine: BalancerEngine;
  readonly #hostNetns: string | null;
  readonly #directory: string;
  readonly #names: SandboxNames | null;
  readonly #reservations: ReservationsRecord;
  readonly #namespaces = new Map<string, NamespaceKernel>();
  readonly #esp: EspObjects;
  #host: RouteNetlink | null = null;

  constructor({
    hostNetns = null,
    netnsDirectory = '/run/netns',
    engine = ipvsEngine,
    names,
    reservations = unkeptReservations(),
  }: LinuxKernelOptions = {}) {
    this.engine = engine;
    this.#reservations = reservations;
    this.#names = names ?? null;
    this.#hostNetns = hostNetns;
    this.#directory = netnsDirectory;
    this.#esp = new EspObjects(hostNetns);
  }

  /** Path of an overlay's namespace, e.g. for the DNS server's sockets. */
  overlayPath(vni: Vni): string {
    return join(this.#directory, overlayNamespace(vni));
  }

  async observe(
    scope: Scope,
    sysctls: readonly string[],
    fresh: boolean,
    chains: readonly Family[] | null,
  ): Promise<Observation> {
    if (scope.kind === 'esp')
      return {
        exists: true,
        objects: await this.#esp.observe(fresh, chains ?? []),
        balancingUnavailable: null,
      };
    const found = await this.#namespace(scope).observe(sysctls, fresh, chains);
    if (scope.kind !== 'sandbox' || !found.exists || this.#names === null) return found;
    return { ...found, namesAnswered: await this.#names.openSandbox(scope.path) };
  }

  async refresh(scope: Scope, quiet: Quiet): Promise<boolean> {
    if (scope.kind === 'esp') return this.#esp.refresh(quiet);
    const namespace = this.#namespaces.get(scopeName(scope));
    if (!namespace) return false;
    if (namespace.isStillThere()) return namespace.refresh(quiet);
    // A container's is the engine's: what it has there goes with it.
    if (scope.kind === 'overlay') await namespace.strip();
    this.forget(scope);
    return true;
  }

  async apply(scope: Scope, ops: readonly Op[]): Promise<void> {
    if (scope.kind === 'esp') return this.#esp.apply(ops);
    const [first, ...rest] = ops;
    if (first?.object.kind === 'namespace' && first.op === 'add' && scope.kind === 'overlay') {
      await mkdir(this.#directory, { recursive: true });
      const path = this.overlayPath(scope.vni);
      // A file left by a namespace that was half made or half removed would be in the way.
      this.#native(`delete ${path}`, () => native().deleteNetns(path));
      this.#native(`create ${path}`, () => native().createNetns(path));
      this.forget(scope);
      const namespace = this.#namespace(scope);
      namespace.knownEmpty();
      return namespace.apply(rest);
    }
    return this.#namespace(scope).apply(ops);
  }

  async overlayNamespaces(): Promise<Vni[]> {
    // Whoever was killed between removing a namespace and what the engine kept for it left the latter.
    return [...new Set([...(await overlayNamespacesIn(this.#directory)), ...this.engine.overlays()])];
  }

  async deleteOverlayNamespace(vni: Vni): Promise<void> {
    this.forget({ kind: 'overlay', vni });
    const path = this.overlayPath(vni);
    await this.#removePorts(path);
    this.#native(`delete ${path}`, () => native().deleteNetns(path));
    try {
      await this.engine.forgetOverlay(vni);
    } catch (err) {
      throw toKernelError(`forget overlay ${vni}`, err);
    }
  }

  async release(): Promise<void> {
    try {
      await this.engine.release();
    } catch (err) {
      throw toKernelError(`release the ${this.engine.name} engine`, err);
    }
  }

  /** The engine's table of a scope, for its counters and flows. Rejects with KernelError. */
  async table(scope: BalancedScope): Promise<BalancerTable> {
    try {
      return await this.#namespace(scope).table();
    } catch (err) {
      throw toKernelError(`open the table of ${scopeName(scope)}`, err);
    }
  }

  async underlayMtu(vtep: Ip): Promise<number | null> {
    const { links, addresses } = this.#hostNetlink();
    try {
      const holder = (await addresses.list({ family: familyOf(vtep) })).find(
        ({ address }) => address === vtep,
      );
      return holder ? ((await links.find(holder.index))?.mtu ?? null) : null;
    } catch (err) {
      throw new KernelError('find the underlay device', errnoOf(err), { cause: err });
    }
  }

  watch(scope: Scope, onChange: (what: Change) => void): Disposable | null {
    const rules = scope.kind === 'esp' ? this.#esp : this.#namespace(scope);
    try {
      return both(
        this.#watchObjects(scope, () => onChange('objects')),
        () => rules.watchRules(() => onChange('rules')),
      );
    } catch (err) {
      if (isErrno(err, 'ENOENT', 'EINVAL', 'EPROTONOSUPPORT')) return null;
      throw new KernelError(`watch ${scopeName(scope)}`, errnoOf(err), { cause: err });
    }
  }

  #watchObjects(scope: Scope, onChange: () => void): Disposable {
    if (scope.kind === 'esp') return subscribeXfrm(this.#hostNetns, onChange);
    const filters = this.engine.name === 'ebpf' && scope.kind !== 'sandbox' ? (['filter'] as const) : [];
    const name = scopeName(scope);
    return subscribeRoute(this.#path(scope), [...topics[scope.kind], ...filters], (event) => {
      if (this.#namespaces.get(name)?.isOfNoConcern(event)) return;
      if (scope.kind !== 'host' || this.#concernsHost(event)) onChange();
    });
  }

  /**
   * In the host, neighbour events tell of each ARP answer of strangers, and of what their bridges learn; ours are elsewhere. Links
   * come and go with every container of the engine's: what is planned asks for those with an address.
   */
  #concernsHost(event: RouteEvent): boolean {
    const host = this.#namespaces.get(scopeName({ kind: 'host' }));
    switch (event.object) {
      case 'fdb':
      case 'port':
        return false;
      case 'neighbour':
        return event.neighbour.index === host?.lastIndexOf(hostLinkName);
      case 'link':
        return !(host?.isOfStranger(event, hostLinkName) ?? false);
      default:
        return true;
    }
  }

  forget(scope: Scope): void {
    if (scope.kind === 'esp') return this.#esp[Symbol.dispose]();
    const name = scopeName(scope);
    if (scope.kind === 'sandbox') void this.#names?.closeSandbox(scope.path);
    this.#namespaces.get(name)?.[Symbol.dispose]();
    this.#namespaces.delete(name);
  }

  /** Closes every socket. The kernel keeps all it was given. */
  [Symbol.dispose](): void {
    for (const namespace of this.#namespaces.values()) namespace[Symbol.dispose]();
    this.#namespaces.clear();
    this.#esp[Symbol.dispose]();
    this.#host?.[Symbol.dispose]();
    this.#host = null;
  }

  #path(scope: NamespaceScope): string | null {
    switch (scope.kind) {
      case 'host':
        return this.#hostNetns;
      case 'overlay':
        return this.overlayPath(scope.vni);
      case 'sandbox':
        return scope.path;
    }
  }

  #namespace(scope: NamespaceScope): NamespaceKernel {
    const name = scopeName(scope);
    const known = this.#namespaces.get(name);
    if (known) return known;
    const balancing =
      scope.kind === 'sandbox'
        ? null
        : scope.kind === 'overlay'
          ? { engine: this.engine, vni: scope.vni }
          : { engine: this.engine, vni: null, reservations: this.#reservations };
    const namespace = new NamespaceKernel(this.#path(scope), this.#factory(scope), balancing);
    this.#namespaces.set(name, namespace);
    return namespace;
  }

  /**
   * Links of an overlay are made by a request in the host's namespace that names the overlay's as their destination: so a
   * pair's other end stays in the host, and a VXLAN device keeps its UDP socket there.
   */
  #factory(scope: NamespaceScope): LinkFactory {
    const make = async (use: (netnsFd: number) => Promise<void>): Promise<void> => {
      const path = this.#path(scope);
      if (path === null) throw new KernelError('make a link in the host', 'EINVAL');
      const fd = native().openNetns(path);
      try {
        await use(fd);
      } finally {
        closeSync(fd);
      }
    };
    return {
      makeVeth: (link: Link) =>
        make(async (netnsFd) => {
          if (!link.peer) throw new KernelError(`make ${link.name}`, 'EINVAL');
          const { name } = link;
          const mtu = link.mtu === undefined ? {} : { mtu: link.mtu };
          await this.#hostNetlink().links.add({ kind: 'veth', name, netnsFd, ...mtu, peer: link.peer });
        }),
      makeVxlan: (link: Link) =>
        make(async (netnsFd) => {
          const { name, vxlan } = link;
          if (!vxlan) throw new KernelError(`make ${name}`, 'EINVAL');
          const { links, namespaceIds } = this.#hostNetlink();
          // By which it is found again should it lose its name, and this process its memory.
          await namespaceIds.assign(netnsFd);
          const add = (): Promise<void> => links.add({ kind: 'vxlan', name, netnsFd, ...vxlan });
          try {
            await add();
          } catch (err) {
            if (!isErrno(err, 'EEXIST') || !(await this.#stripPredecessor(name, vxlan))) throw err;
            await add();
          }
        }),
      moveEnd: (link: Link) =>
        make(async (netnsFd) => {
          const { links } = this.#hostNetlink();
          const end = await links.find(link.end ?? '');
          if (end === null) throw new KernelError(`find link ${link.end}`, 'ENODEV');
          await links.change(end.index, { netnsFd, name: link.name });
        }),
    };
  }

  /**
   * Pairs end at once when a port is removed, but only some time later when its namespace is: whoever makes the same
   * names again at once must not meet them.
   */
  async #removePorts(path: string): Promise<void> {
    try {
      using netlink = new RouteNetlink(path);
      for (const { kind, index } of await netlink.links.list())
        if (kind === 'veth' || kind === 'vxlan') await netlink.links.remove(index);
    } catch (err) {
      if (!isErrno(err, 'ENOENT', 'EINVAL', 'ENODEV'))
        throw new KernelError(`empty ${path}`, errnoOf(err), { cause: err });
    }
  }

  /**
   * A namespace that lost its name while nobody looked lives on under whoever holds it, and its VXLAN device keeps the host's
   * socket from the next one. Takes our links out of it. Only one with just this device, our VTEP's, is ours.
   * @returns whether there was one
   */
  async #stripPredecessor(name: string, { vni, port, local }: VxlanAttributes): Promise<boolean> {
    const { links, namespaceIds } = this.#hostNetlink();
    let found = false;
    for (const id of await namespaceIds.list()) {
      try {
        const vxlan = (await links.find(name, id))?.vxlan;
        if (vxlan?.vni !== vni || vxlan.port !== port || vxlan.local !== local) continue;
        found = true;
        for (const { kind, index } of await links.list(id))
          if (kind === 'veth' || kind === 'vxlan') await links.remove(index, id);
      } catch (err) {
        // It ends while we look.
        if (!isErrno(err, 'EINVAL', 'ENODEV')) throw err;
      }
    }
    return found;
  }

  #hostNetlink(): RouteNetlink {
    try {
      return (this.#host ??= new RouteNetlink(this.#hostNetns));
    } catch (err) {
      throw new KernelError(`open the host's namespace`, errnoOf(err), { cause: err });
    }
  }

  #native(what: string, call: () => void): void {
    try {
      call();
    } catch (err) {
      throw new KernelError(what, errnoOf(err), { cause: err });
    }
  }
}

function both(first: Disposable, openSecond: () => Disposable): Disposable {
  try {
    const second = openSecond();
    return {
      [Symbol.dispose]: () => {
        second[Symbol.dispose]();
        first[Symbol.dispose]();
      },
    };
  } catch (err) {
    first[Symbol.dispose]();
    throw err;
  }
}
