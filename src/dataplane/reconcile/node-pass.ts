/** One look at a node: which namespaces there are to be, what each holds, and what would make it right. Writes nothing. */
import { createHash } from 'node:crypto';
import { OutsideError } from '../../model/errors.js';
import type { Vni } from '../../model/ids.js';
import type { SandboxEndpoint } from '../sandbox.js';
import type { Kernel, Observation } from '../kernel/kernel.js';
import type { Op, Stage } from '../plan/diff.js';
import { byStage } from '../plan/diff.js';
import { vxlanOverheadBytes } from '../plan/names.js';
import type { Desired, Scope, ScopePlan } from '../plan/node.js';
import {
  planHostScope,
  planOps,
  planOverlayScope,
  planSandboxScope,
  sandboxesByPath,
  scopeName,
} from '../plan/node.js';
import type { KernelObject, Link, Sysctl } from '../plan/objects.js';
import { line } from '../plan/objects.js';
import { presentEndpoints } from '../plan/sandbox.js';

/**
 * A namespace that is to be looked at. `key` changes when what is desired of it does; where the plan depends on what is found
 * there, too, the kernel's notifications tell of the rest.
 */
export interface Target {
  readonly name: string;
  readonly key: string;
  observe(): Promise<ScopeWork>;
}

/** What is to be done in one namespace. */
export interface ScopeWork {
  readonly scope: Scope;
  readonly name: string;
  readonly key: string;
  /** Changes exactly when the plan does. */
  readonly planKey: string;
  /** False: a container's namespace that is not there; nothing can be done in it. */
  readonly exists: boolean;
  /** False while something is awaited that the engine has yet to do. */
  readonly complete: boolean;
  readonly ops: readonly Op[];
  readonly stages: Record<Stage, readonly Op[]>;
  readonly applied: Op[];
  /** Endpoints with a port in this overlay, or with their interface inside this container. */
  readonly present: readonly SandboxEndpoint[];
  /** What the kernel lacks for the balancing stages; the rest is programmed all the same. */
  readonly unavailable: OutsideError | null;
  error: OutsideError | null;
}

/** Used where nothing depends on it: the state is null, or the device is not there and the scope fails anyway. */
const unknownMtuBytes = 1500;

/**
 * Of which namespaces chains and sets are read, rather than taken to be as last read and written: reading them costs a
 * process each. The host's are the ones that others write, too.
 */
export type Freshness = 'all' | 'host' | 'none';

export class NodePass {
  /** Scopes that the desired value asks for. */
  readonly names = new Set<string>();
  /** Failures that belong to no scope. */
  readonly errors: string[] = [];
  #mtu: Promise<number> | undefined;

  constructor(
    private readonly kernel: Kernel,
    private readonly desired: Desired,
    /** Chains and sets are read, too; see Kernel.observe. */
    private readonly fresh: Freshness,
  ) {}

  #isFresh(scope: Scope): boolean {
    return this.fresh === 'all' || (this.fresh === 'host' && scope.kind === 'host');
  }

  async overlays(): Promise<Target[]> {
    const { state, sandboxes } = this.desired;
    if (state === null) return [];
    const mtu = await this.#mtuBytes();
    return state.overlays.map((overlay) => {
      const plan = planOverlayScope({ state, sandboxes }, overlay, mtu, this.kernel.engine.plan);
      const present = sandboxes.filter(({ overlayId }) => overlayId === overlay.id);
      return this.#target(plan, () => plan, present);
    });
  }

  /** The host's namespace; an engine may plan by the devices and addresses found there. */
  async host(): Promise<Target> {
    const mtu = await this.#mtuBytes();
    const plan = (observed: readonly KernelObject[]): ScopePlan =>
      planHostScope(this.desired.state, mtu, this.kernel.engine.plan, observed);
    return this.#target(plan([]), plan);
  }

  /** Containers' namespaces; what is planned in one depends on the interfaces found there. */
  sandboxes(): Target[] {
    const { state } = this.desired;
    return [...sandboxesByPath(this.desired)].map(([path, endpoints]) => {
      const scope: Scope = { kind: 'sandbox', path };
      const name = scopeName(scope);
      this.names.add(name);
      const named = endpoints.map(({ mac }): Link => ({ kind: 'link', name: mac, mac }));
      const key = keyOf(planSandboxScope(state, path, endpoints, named).objects);
      return { name, key, observe: () => this.#observeSandbox(path, endpoints, key) };
    });
  }

  /** Overlay namespaces that nobody wants. */
  async staleOverlays(): Promise<Vni[]> {
    const wanted = new Set(this.desired.state?.overlays.map(({ vni }) => vni));
    return (await this.kernel.overlayNamespaces()).filter((vni) => !wanted.has(vni));
  }

  async observeAll(): Promise<ScopeWork[]> {
    const works: ScopeWork[] = [];
    for (const target of [...(await this.overlays()), await this.host(), ...this.sandboxes()])
      works.push(await target.observe());
    return works;
  }

  /**
   * @param first the plan as far as it is known before the namespace is looked at; its parameters are all there will be
   * @param replan the plan given what is found
   */
  #target(
    first: ScopePlan,
    replan: (observed: readonly KernelObject[]) => ScopePlan,
    present: readonly SandboxEndpoint[] = [],
  ): Target {
    const { scope } = first;
    const name = scopeName(scope);
    this.names.add(name);
    const key = keyOf(first.objects);
    return {
      name,
      key,
      observe: () =>
        this.#attempt(scope, key, async () => {
          const sysctls = sysctlPaths(first.objects);
          const observation = await this.kernel.observe(scope, sysctls, this.#isFresh(scope));
          return { ...this.#work(replan(observation.objects), key, observation), present };
        }),
    };
  }

  async #observeSandbox(
    path: string,
    endpoints: readonly SandboxEndpoint[],
    key: string,
  ): Promise<ScopeWork> {
    const scope: Scope = { kind: 'sandbox', path };
    return this.#attempt(scope, key, async () => {
      const links = await this.kernel.observe(scope, [], this.#isFresh(scope));
      const plan = planSandboxScope(this.desired.state, path, endpoints, links.objects);
      const sysctls = sysctlPaths(plan.objects);
      // Most containers have no chains of ours, and reading them takes a process.
      const chains = plan.objects.some(({ kind }) => kind === 'chain');
      const observation =
        sysctls.length > 0 || chains
          ? await this.kernel.observe(scope, sysctls, this.#isFresh(scope), chains)
          : links;
      const present = presentEndpoints(
        endpoints,
        observation.objects.filter((object): object is Link => object.kind === 'link'),
      );
      return {
        ...this.#work(plan, key, observation),
        present,
        complete: present.length === endpoints.length,
      };
    });
  }

  #work(plan: ScopePlan, key: string, observation: Observation): ScopeWork {
    const exists = observation.exists || plan.scope.kind === 'overlay';
    const ops = exists ? planOps(plan, observation.objects) : [];
    const split = byStage(ops);
    const missing = split.balance.length > 0 ? observation.balancingUnavailable : null;
    return {
      scope: plan.scope,
      name: scopeName(plan.scope),
      key,
      planKey: keyOf(plan.objects),
      exists,
      complete: exists,
      ops,
      // What the kernel cannot do is reported once, by its name, rather than tried op by op.
      stages: missing ? { ...split, balance: [], unbalance: [] } : split,
      applied: [],
      present: [],
      unavailable: missing,
      error: null,
    };
  }

  async #attempt(scope: Scope, key: string, observe: () => Promise<ScopeWork>): Promise<ScopeWork> {
    try {
      return await observe();
    } catch (err) {
      if (!(err instanceof OutsideError)) throw err;
      const none = { reach: [], balance: [], unbalance: [], unreach: [] };
      return {
        scope,
        name: scopeName(scope),
        key,
        planKey: '',
        exists: false,
        complete: false,
        ops: [],
        stages: none,
        applied: [],
        present: [],
        unavailable: null,
        error: err,
      };
    }
  }

  #mtuBytes(): Promise<number> {
    this.#mtu ??= (async () => {
      const vtep = this.desired.state?.vtep;
      if (vtep === undefined) return unknownMtuBytes;
      const underlay = await this.kernel.underlayMtu(vtep);
      if (underlay === null) this.errors.push(`no device of this host holds the VTEP address ${vtep}`);
      return (underlay ?? unknownMtuBytes) - vxlanOverheadBytes;
    })();
    return this.#mtu;
  }
}

const sysctlPaths = (objects: readonly KernelObject[]): string[] => [
  ...new Set(objects.filter((object): object is Sysctl => object.kind === 'sysctl').map(({ path }) => path)),
];

/** A digest of the objects' texts, which may be megabytes. */
function keyOf(objects: readonly KernelObject[]): string {
  const hash = createHash('sha256');
  for (const object of objects) hash.update(`${line(object)}\n`);
  return hash.digest('base64');
}
