/**
 * One namespace: all adapters over it, opened on first use and closed together. Ops are done in order; runs of chains and
 * jumps, and runs of ipset entries, are one transaction each.
 */
import type { Op } from '../plan/diff.js';
import { applyToImage, opLine } from '../plan/diff.js';
import type { KernelObject, ObjectKind, RealServer, VirtualServer } from '../plan/objects.js';
import { OutsideError } from '../../model/errors.js';
import { isErrno } from '../netlink/netlink-error.js';
import { Iptables } from './iptables.js';
import { IpSets } from './ipsets.js';
import { IpvsTable } from './ipvs-table.js';
import { errnoOf, KernelError } from './kernel-error.js';
import type { Observation } from './kernel.js';
import type { LinkFactory, RouteObject } from './route-objects.js';
import { isRouteObject, RouteObjects } from './route-objects.js';
import { Sysctls } from './sysctls.js';

type Adapter = 'route' | 'sysctl' | 'ipset' | 'iptables' | 'ipvs' | 'namespace';

const adapterOf: Readonly<Record<ObjectKind, Adapter>> = {
  namespace: 'namespace',
  link: 'route',
  address: 'route',
  fdb: 'route',
  neighbour: 'route',
  route: 'route',
  rule: 'route',
  sysctl: 'sysctl',
  ipset: 'ipset',
  ipsetEntry: 'ipset',
  chain: 'iptables',
  jump: 'iptables',
  virtualServer: 'ipvs',
  realServer: 'ipvs',
};

export class NamespaceKernel implements Disposable {
  readonly #sysctls: Sysctls;
  readonly #iptables: Iptables;
  readonly #ipSets: IpSets;
  /** Chains and sets as last read and since written; null: they must be read. */
  #filters: readonly KernelObject[] | null = null;
  #route: RouteObjects | null = null;
  #ipvs: IpvsTable | null = null;

  /**
   * @param netns path of the namespace, null for this process's own
   * @param balances false where nothing is ever balanced, so that nothing of it need be read
   */
  constructor(
    private readonly netns: string | null,
    private readonly factory: LinkFactory,
    private readonly balances: boolean,
  ) {
    this.#sysctls = new Sysctls(netns);
    this.#iptables = new Iptables(netns);
    this.#ipSets = new IpSets(netns);
  }

  [Symbol.dispose](): void {
    this.#route?.[Symbol.dispose]();
    this.#ipvs?.[Symbol.dispose]();
    this.#route = null;
    this.#ipvs = null;
  }

  /** The namespace was just made: there is nothing in it to be read. */
  knownEmpty(): void {
    this.#filters = [];
  }

  /** See Kernel.observe. Rejects with KernelError. `exists` false: there is no such namespace. */
  async observe(sysctls: readonly string[], fresh: boolean): Promise<Observation> {
    try {
      this.#route ??= new RouteObjects(this.netns, this.factory);
    } catch (err) {
      // ENOENT: no file. EINVAL: the file is there and no namespace is mounted on it (made or removed half way).
      if (isErrno(err, 'ENOENT', 'EINVAL')) return { exists: false, objects: [], balancingUnavailable: null };
      throw new KernelError(`open ${this.netns}`, errnoOf(err), { cause: err });
    }
    try {
      const objects: KernelObject[] = [{ kind: 'namespace' }, ...(await this.#route.observe())];
      objects.push(...this.#sysctls.observe(sysctls));
      if (!this.balances) return { exists: true, objects, balancingUnavailable: null };
      const { found, unavailable } = await this.#observeBalancing(fresh);
      return { exists: true, objects: [...objects, ...found], balancingUnavailable: unavailable };
    } catch (err) {
      throw toKernelError('observe', err);
    }
  }

  /** Rejects with KernelError at the first op that fails. The namespace itself is the caller's to make. */
  async apply(ops: readonly Op[]): Promise<void> {
    for (const run of runsByAdapter(ops)) {
      const [first] = run;
      if (first === undefined) continue;
      const adapter = adapterOf[first.object.kind];
      const filters = this.#filters;
      const filtering = adapter === 'iptables' || adapter === 'ipset';
      const what = run.length === 1 ? opLine(first) : `${opLine(first)} and ${run.length - 1} more`;
      try {
        if (filtering) this.#filters = null;
        if (adapter === 'iptables') await this.#iptables.apply(run);
        else if (adapter === 'ipset') await this.#ipSets.apply(run);
        else for (const op of run) await this.#applyOne(op);
        if (filtering && filters) this.#filters = applyToImage(filters, run);
      } catch (err) {
        throw toKernelError(what, err);
      }
    }
  }

  async #applyOne(op: Op): Promise<void> {
    const { object } = op;
    if (isRouteObject(object)) {
      this.#route ??= new RouteObjects(this.netns, this.factory);
      try {
        await this.#route.apply(op as Op & { readonly object: RouteObject });
      } catch (err) {
        throw toKernelError(opLine(op), err);
      }
    } else if (object.kind === 'sysctl') {
      if (op.op !== 'delete') this.#sysctls.write(object);
    } else if (object.kind === 'virtualServer' || object.kind === 'realServer') {
      this.#ipvs ??= await IpvsTable.open(this.netns);
      try {
        await this.#ipvs.apply(op as Op & { readonly object: VirtualServer | RealServer });
      } catch (err) {
        throw toKernelError(opLine(op), err);
      }
    }
  }

  async #observeBalancing(
    fresh: boolean,
  ): Promise<{ found: KernelObject[]; unavailable: OutsideError | null }> {
    const readers = [
      async (): Promise<readonly KernelObject[]> => {
        this.#ipvs ??= await IpvsTable.open(this.netns);
        return this.#ipvs.observe();
      },
      async (): Promise<readonly KernelObject[]> => {
        if (fresh || this.#filters === null) {
          this.#filters = null;
          const [chains, sets] = await Promise.all([this.#iptables.observe(), this.#ipSets.observe()]);
          this.#filters = [...chains, ...sets];
        }
        return this.#filters;
      },
    ];
    const results = await Promise.allSettled(readers.map((read) => read()));
    const found: KernelObject[] = [];
    let unavailable: OutsideError | null = null;
    for (const result of results) {
      if (result.status === 'fulfilled') found.push(...result.value);
      else if (result.reason instanceof OutsideError) unavailable ??= result.reason;
      else throw result.reason;
    }
    return { found, unavailable };
  }
}

/** Keeps order; neighbours of one adapter go together. */
function runsByAdapter(ops: readonly Op[]): Op[][] {
  const runs: Op[][] = [];
  for (const op of ops) {
    const last = runs.at(-1);
    if (last?.[0] && adapterOf[last[0].object.kind] === adapterOf[op.object.kind]) last.push(op);
    else runs.push([op]);
  }
  return runs;
}

function toKernelError(what: string, err: unknown): unknown {
  if (err instanceof KernelError) return err;
  if (!(err instanceof Error) || !('code' in err) || err.name === 'AssertionError') return err;
  return new KernelError(what, errnoOf(err), { cause: err, text: err.message });
}
