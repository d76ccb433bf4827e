/**
 * One namespace: all adapters over it, opened on first use and closed together. Ops are done in order; runs of chains and
 * jumps, of ipset entries, and of virtual and real servers are handed over whole.
 */
import { statSync } from 'node:fs';
import type { Op } from '../plan/diff.js';
import { applyToHeld, opLine } from '../plan/diff.js';
import type {
  Chain,
  EspPolicy,
  EspState,
  Filter,
  Jump,
  KernelObject,
  ObjectKind,
  ReservedPort,
} from '../plan/objects.js';
import { identity, line, routeProtocol } from '../plan/objects.js';
import type { RouteEvent } from '../netlink/route.js';
import type { Family } from '../../model/addresses.js';
import { familyOf } from '../../model/addresses.js';
import { OutsideError } from '../../model/errors.js';
import type { Vni } from '../../model/ids.js';
import type { BalancerEngine, BalancerOp, BalancerTable } from '../balancer/engine.js';
import { isKernelsOwn } from '../netlink/addresses.js';
import { Netfilter } from '../netlink/netfilter.js';
import { isErrno } from '../netlink/netlink-error.js';
import { applyTogether } from './apply-together.js';
import { Filters } from './filters.js';
import { Firewall } from './iptables.js';
import { IpSets } from './ipsets.js';
import { errnoOf, KernelError, toKernelError } from './kernel-error.js';
import type { Observation, Quiet } from './kernel.js';
import type { LinkFactory, RouteObject } from './route-objects.js';
import { isRouteObject, RouteObjects } from './route-objects.js';
import type { ReservationsRecord } from './reserved-ports.js';
import { ReservedPorts } from './reserved-ports.js';
import { Sysctls } from './sysctls.js';

type Adapter = 'route' | 'sysctl' | 'reservedPort' | 'ipset' | 'firewall' | 'table' | 'filter' | 'namespace';

/** Of a namespace's objects; those of IPsec have an adapter of their own. */
const adapters: Readonly<Record<Exclude<ObjectKind, (EspState | EspPolicy)['kind']>, Adapter>> = {
  namespace: 'namespace',
  link: 'route',
  address: 'route',
  fdb: 'route',
  neighbour: 'route',
  route: 'route',
  rule: 'route',
  sysctl: 'sysctl',
  reservedPort: 'reservedPort',
  ipset: 'ipset',
  ipsetEntry: 'ipset',
  chain: 'firewall',
  jump: 'firewall',
  virtualServer: 'table',
  realServer: 'table',
  ipvsTimeouts: 'table',
  localAddress: 'table',
  listener: 'table',
  aliasNode: 'table',
  mesh: 'table',
  filter: 'filter',
};

function adapterOf({ kind }: KernelObject): Adapter {
  if (kind === 'espState' || kind === 'espPolicy') throw new KernelError(`put ${kind} here`, 'EINVAL');
  return adapters[kind];
}

/** What balances in a namespace. */
export interface Balancing {
  readonly engine: BalancerEngine;
  /** Null: the host's namespace. */
  readonly vni: Vni | null;
  /** Which of the namespace's reserved ports are ours; absent where none ever are. */
  readonly reservations?: ReservationsRecord;
}

const noNamespace: Observation = { exists: false, objects: [], balancingUnavailable: null };

export class NamespaceKernel implements Disposable {
  readonly #sysctls: Sysctls;
  readonly #reservedPorts: ReservedPorts | null;
  readonly #firewall: Firewall;
  readonly #ipSets: IpSets;
  /** Chains and sets as last read and since written, by identity; null: they must be read. */
  #chains: Map<string, KernelObject> | null = null;
  #route: RouteObjects | null = null;
  /** Of the file that the namespace was opened by. */
  #inode: number | null = null;
  #netfilter: Netfilter | null = null;
  #filters: Filters | null = null;
  #table: Promise<BalancerTable> | null = null;

  /**
   * @param netns path of the namespace, null for this process's own
   * @param balancing null where nothing is ever balanced, in a container, so that nothing of it need be read
   */
  constructor(
    private readonly netns: string | null,
    private readonly factory: LinkFactory,
    private readonly balancing: Balancing | null,
  ) {
    this.#sysctls = new Sysctls(netns);
    this.#reservedPorts = balancing?.reservations ? new ReservedPorts(netns, balancing.reservations) : null;
    const netfilter = (): Netfilter => (this.#netfilter ??= new Netfilter(netns));
    this.#firewall = new Firewall(netns, netfilter);
    this.#ipSets = new IpSets(netns, netfilter);
  }

  [Symbol.dispose](): void {
    this.#sysctls[Symbol.dispose]();
    this.#route?.[Symbol.dispose]();
    this.#netfilter?.[Symbol.dispose]();
    // Also one that is still being opened.
    void this.#table?.then(
      (table) => table[Symbol.dispose](),
      () => undefined,
    );
    this.#route = null;
    this.#netfilter = null;
    this.#filters = null;
    this.#table = null;
  }

  /** False: another namespace, or none, has the path that this one was opened by; what is open is of no more use. */
  isStillThere(): boolean {
    return this.netns === null || this.#route === null || inodeOf(this.netns) === this.#inode;
  }

  /**
   * Takes links of ours out of a namespace that has lost its name. They would live on in it for as long as anybody has it
   * open, and stand in the way of their successors. Rejects with KernelError.
   */
  async strip(): Promise<void> {
    try {
      await this.#route?.removeTunnelsAndPairs();
    } catch (err) {
      throw toKernelError('strip a namespace without a name', err);
    }
  }

  /** The namespace was just made: there is nothing in it to be read. */
  knownEmpty(): void {
    this.#chains = new Map();
  }

  /** Index of a link as it was last seen, without asking. */
  lastIndexOf(name: string): number | undefined {
    return this.#route?.lastIndexOf(name);
  }

  /** See RouteObjects.isOfStranger. */
  isOfStranger(event: RouteEvent & { readonly object: 'link' }, planned: string): boolean {
    return this.#route?.isOfStranger(event, planned) ?? false;
  }

  /** Whether a notification asks for no look: it tells of what we did ourselves, or of what is never observed here. */
  isOfNoConcern(event: RouteEvent): boolean {
    const isContainer = this.balancing === null;
    // Another's route is none of ours, unless it took the place of one.
    if (event.object === 'route' && !isContainer && event.route.protocol !== routeProtocol && !event.replaces)
      return true;
    // Bridges in containers are their own.
    if (event.object === 'port' && isContainer) return true;
    // Each link that comes up brings one.
    if (event.object === 'address' && isKernelsOwn(event.address.address)) return true;
    return this.#route?.isEcho(event) ?? false;
  }

  /** See Firewall.watch. */
  watchRules(onChange: () => void): Disposable {
    return this.#firewall.watch(onChange);
  }

  /** The engine's table here. Rejects as BalancerEngine.open does. */
  table(): Promise<BalancerTable> {
    if (this.balancing === null) throw new KernelError('balance in a container', 'EINVAL');
    const { engine, vni } = this.balancing;
    const opened = (this.#table ??= engine.open({ vni, netns: this.netns, links: this.#openRoute() }));
    // What failed to open is tried again.
    opened.catch(() => {
      if (this.#table === opened) this.#table = null;
    });
    return opened;
  }

  /** See Kernel.observe. Rejects with KernelError. `exists` false: there is no such namespace. */
  async observe(
    sysctls: readonly string[],
    fresh: boolean,
    chains: readonly Family[] | null,
  ): Promise<Observation> {
    try {
      this.#openRoute();
    } catch (err) {
      // ENOENT: no file. EINVAL: the file is there and no namespace is mounted on it (made or removed half way).
      if (isErrno(err, 'ENOENT', 'EINVAL')) return noNamespace;
      throw new KernelError(`open ${this.netns}`, errnoOf(err), { cause: err });
    }
    try {
      const isContainer = this.balancing === null;
      const objects: KernelObject[] = [
        { kind: 'namespace' },
        ...(await this.#openRoute().observe(isContainer)),
        ...this.#sysctls.observe(sysctls),
        ...(this.#reservedPorts?.observe() ?? []),
      ];
      const { found, unavailable } = await this.#observeBalancing(
        fresh,
        chains && [...chains, ...routedFamilies(objects)],
      );
      // What is read lies open, and is still answered for by a namespace that nobody else can enter any more.
      if (!this.isStillThere()) return noNamespace;
      return { exists: true, objects: [...objects, ...found], balancingUnavailable: unavailable };
    } catch (err) {
      // It went while it was read, as a container's does.
      if (!this.isStillThere()) return noNamespace;
      throw toKernelError('observe', err);
    }
  }

  /** See Kernel.refresh. Rejects with KernelError. */
  async refresh(quiet: Quiet): Promise<boolean> {
    try {
      const rules = {
        mayHaveChanged: () => this.#firewall.mayHaveChanged(quiet),
        observe: () => this.#firewall.observe(),
      };
      let changed = await this.#refreshChains(rules, (kind) => kind === 'chain' || kind === 'jump');
      if (quiet === 'chains') return changed;
      if (this.#sysctls.refresh()) changed = true;
      if (this.#reservedPorts?.refresh()) changed = true;
      if (this.balancing === null) return changed;
      if (await this.#refreshChains(this.#ipSets, (kind) => kind === 'ipset' || kind === 'ipsetEntry'))
        changed = true;
      if (this.#table && (await (await this.#table).refresh())) changed = true;
      return changed;
    } catch (err) {
      throw toKernelError('look for silent changes', err);
    }
  }

  /** True where those of `kinds` are not as last read and since written; they are then known as they are. */
  async #refreshChains(
    reader: {
      mayHaveChanged(): Promise<boolean>;
      observe(): Promise<readonly KernelObject[]>;
    },
    kinds: (kind: ObjectKind) => boolean,
  ): Promise<boolean> {
    const held = this.#chains;
    if (held === null || !(await reader.mayHaveChanged())) return false;
    this.#chains = null;
    const found = await reader.observe();
    const all = [...held.values()];
    const [ours, others] = [all.filter(({ kind }) => kinds(kind)), all.filter(({ kind }) => !kinds(kind))];
    this.#chains = byIdentity([...others, ...found]);
    const lines = new Set(ours.map(line));
    return lines.size !== found.length || found.some((object) => !lines.has(line(object)));
  }

  /** Rejects with KernelError at the first op that fails. The namespace itself is the caller's to make. */
  async apply(ops: readonly Op[]): Promise<void> {
    for (const run of runsByAdapter(ops)) {
      const [first] = run;
      if (first === undefined) continue;
      const what = run.length === 1 ? opLine(first) : `${opLine(first)} and ${run.length - 1} more`;
      try {
        await this.#applyRun(adapterOf(first.object), run);
      } catch (err) {
        throw toKernelError(what, err);
      }
    }
  }

  async #applyRun(adapter: Adapter, run: readonly Op[]): Promise<void> {
    switch (adapter) {
      case 'firewall':
      case 'ipset': {
        const chains = this.#chains;
        this.#chains = null;
        if (adapter === 'ipset') await this.#ipSets.apply(run);
        else await this.#firewall.apply(run as readonly (Op & { readonly object: Chain | Jump })[]);
        this.#chains = chains && applyToHeld(chains, run);
        return;
      }
      case 'table':
        return (await this.table()).apply(run as readonly BalancerOp[]);
      case 'reservedPort':
        return this.#reservedPorts?.apply(run as readonly (Op & { readonly object: ReservedPort })[]);
      case 'route':
      case 'filter':
      case 'sysctl':
        for (const together of independentOps(run)) await applyTogether(together, (op) => this.#applyOne(op));
        return;
      case 'namespace':
        return;
    }
  }

  async #applyOne(op: Op): Promise<void> {
    const { object } = op;
    if (isRouteObject(object)) return this.#openRoute().apply(op as Op & { readonly object: RouteObject });
    if (object.kind === 'filter') return this.#openFilters().apply(op as Op & { readonly object: Filter });
    if (object.kind === 'sysctl' && op.op !== 'delete') this.#sysctls.write(object);
  }

  async #observeBalancing(
    fresh: boolean,
    chains: readonly Family[] | null,
  ): Promise<{ found: KernelObject[]; unavailable: OutsideError | null }> {
    const readers = [
      async (): Promise<readonly KernelObject[]> =>
        this.balancing === null ? [] : (await this.table()).observe(fresh),
      async (): Promise<readonly KernelObject[]> => {
        if (chains === null) return [];
        if (fresh || this.#chains === null || !this.#firewall.covers(chains)) {
          this.#chains = null;
          const found = await Promise.all([
            this.#firewall.observe(chains),
            this.balancing === null ? [] : this.#ipSets.observe(),
          ]);
          this.#chains = byIdentity(found.flat());
        }
        return [...this.#chains.values()];
      },
      async (): Promise<readonly KernelObject[]> =>
        this.balancing?.engine.name === 'ebpf' ? this.#openFilters().observe() : [],
    ];
    const results = await Promise.allSettled(readers.map((read) => read()));
    const found: (readonly KernelObject[])[] = [];
    let unavailable: OutsideError | null = null;
    for (const result of results) {
      if (result.status === 'fulfilled') found.push(result.value);
      else if (result.reason instanceof OutsideError) unavailable ??= result.reason;
      else throw result.reason;
    }
    return { found: found.flat(), unavailable };
  }

  #openRoute(): RouteObjects {
    if (this.#route === null) {
      this.#inode = this.netns === null ? null : inodeOf(this.netns);
      this.#route = new RouteObjects(this.netns, this.factory);
    }
    return this.#route;
  }

  #openFilters(): Filters {
    if (this.balancing === null) throw new KernelError('filter in a container', 'EINVAL');
    const route = this.#openRoute();
    return (this.#filters ??= new Filters(route.tc, route, this.balancing.engine));
  }
}

/** Families in which there is a route of ours: where an earlier daemon has left some, it has left chains. */
const routedFamilies = (objects: readonly KernelObject[]): Family[] =>
  objects.flatMap((object) => (object.kind === 'route' ? [familyOf(object.destination)] : []));

/** Null: there is no such file. */
const inodeOf = (path: string): number | null => statSync(path, { throwIfNoEntry: false })?.ino ?? null;

/** Of objects with the same identity the first counts, as for {@link diff}. */
function byIdentity(objects: readonly KernelObject[]): Map<string, KernelObject> {
  const held = new Map<string, KernelObject>();
  for (const object of objects) {
    const key = identity(object);
    if (!held.has(key)) held.set(key, object);
  }
  return held;
}

/** Kinds of which thousands may be put, each without regard to the others. */
const independentKinds: ReadonlySet<ObjectKind> = new Set<ObjectKind>(['fdb', 'neighbour', 'route']);

/** Keeps order; neighbours of one of those kinds, of which all are put or all removed, are done together. */
function independentOps(ops: readonly Op[]): Op[][] {
  const groups: Op[][] = [];
  for (const op of ops) {
    const last = groups.at(-1);
    const first = last?.[0];
    const together =
      first !== undefined &&
      first.object.kind === op.object.kind &&
      (first.op === 'delete') === (op.op === 'delete') &&
      independentKinds.has(op.object.kind);
    if (last && together) last.push(op);
    else groups.push([op]);
  }
  return groups;
}

/** Keeps order; neighbours of one adapter go together. */
function runsByAdapter(ops: readonly Op[]): Op[][] {
  const runs: Op[][] = [];
  for (const op of ops) {
    const last = runs.at(-1);
    if (last?.[0] && adapterOf(last[0].object) === adapterOf(op.object)) last.push(op);
    else runs.push([op]);
  }
  return runs;
}
