/**
 * One pass over a node: which namespaces there are to be, and for each what makes it right, either from a look at all that it
 * holds or, where it was right for the value desired before, from the difference of the two plans. Writes nothing.
 */
import { createHash } from 'node:crypto';
import { familyOf } from '../../model/addresses.js';
import { OutsideError } from '../../model/errors.js';
import type { Vni } from '../../model/ids.js';
import { together } from '../../runtime/together.js';
import type { SandboxEndpoint } from '../sandbox.js';
import type { NodeNetworkState } from '../state.js';
import type { Kernel, Observation } from '../kernel/kernel.js';
import type { Op, Stage } from '../plan/diff.js';
import { byStage, diff } from '../plan/diff.js';
import type { EspSender } from '../plan/esp.js';
import { espInputs, planEsp } from '../plan/esp.js';
import type { Desired, Scope, ScopePlan } from '../plan/node.js';
import {
  chainFamilies,
  espScopePlan,
  planHostScope,
  planOps,
  planOverlayScope,
  planSandboxScope,
  sandboxesByPath,
  scopeName,
} from '../plan/node.js';
import type { KernelObject, Link, Sysctl } from '../plan/objects.js';
import { line } from '../plan/objects.js';
import type { PartialChange } from '../plan/part.js';
import { headOnly, isOfOneItem, partialChange } from '../plan/part.js';
import { joinedInterfaces, presentEndpoints } from '../plan/sandbox.js';

/** A namespace that there is to be. */
export interface Target {
  readonly scope: Scope;
  readonly name: string;
  /** Against what the last pass has planned for it, with no look at the kernel. */
  change(): TargetChange;
  observe(): Promise<ScopeWork>;
}

/** Nothing; the ops that lead from one plan to the other; or something of which only a look tells what is to be done. */
export type TargetChange = 'none' | 'look' | ScopeWork;

/** What the protection of encrypted overlays is planned from, beside the state and the kernel. */
export interface EspLook {
  readonly sender: EspSender;
  /** The last try failed: what the sender names may not have been made. */
  readonly retrying: boolean;
}

/** What is to be done in one namespace. */
export interface ScopeWork {
  readonly scope: Scope;
  readonly name: string;
  /** Changes exactly when that does which the plan takes from what is found there; null: nothing was looked at. */
  readonly planKey: string | null;
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
  /** Only of scope `esp`: to be kept before anything is applied. */
  readonly sender?: EspSender;
  error: OutsideError | null;
}

/** Used where nothing depends on it: the state is null, or the device is not there and the scope fails anyway. */
const unknownMtuBytes = 1500;

/**
 * Containers that are looked at and programmed at the same time. Each costs some processes, and on a busy host they are waited
 * for: one after the other, an update of ten services would keep the node's whole state waiting.
 */
export const sandboxesAtOnce = 4;

export class NodePass {
  /** Scopes that the desired value asks for. */
  readonly names = new Set<string>();
  /** Failures that belong to no scope. */
  readonly errors: string[] = [];
  #mtu: Promise<number> | undefined;
  /** Since the last pass; null: in so much that everything is to be looked at. */
  readonly #change: PartialChange | null;
  /** MTU that the last pass has planned with. */
  readonly #lastMtu: Promise<number> | undefined;
  /** What the last pass has planned the protection of encrypted overlays from. */
  readonly #lastEspInputs: string | null;

  /** @param last the last pass, where it came to its end */
  constructor(
    private readonly kernel: Kernel,
    private readonly desired: Desired,
    private readonly espLook: EspLook,
    /** Chains and sets are read, too, which takes a process each; else they are as last read and written. */
    private readonly fresh: boolean,
    /** Per container, by its path: what {@link joinedInterfaces} last gave. Kept from pass to pass. */
    private readonly joined: Map<string, ReadonlyMap<string, string>>,
    last: NodePass | null = null,
  ) {
    this.#change = last && partialChange(last.desired, desired);
    this.#lastMtu = last === null ? undefined : last.#mtu;
    this.#lastEspInputs = last && espInputs(last.desired.state);
  }

  /** States and policies of IPsec: observed and made before the overlays that rely on them. */
  esp(): Target {
    const { state } = this.desired;
    const scope: Scope = { kind: 'esp' };
    return this.#target(
      scope,
      () => (this.#lastEspInputs === espInputs(state) ? 'none' : 'look'),
      async () => {
        const observation = await this.kernel.observe(
          scope,
          [],
          this.fresh,
          state === null ? [] : [familyOf(state.vtep)],
        );
        const { sender, retrying } = this.espLook;
        const plan = planEsp(state, sender, observation.objects, retrying);
        // What is planned otherwise because states were lost is repaired drift, and no new plan.
        return { ...this.#work(espScopePlan(plan.objects), '', observation), sender: plan.sender };
      },
    );
  }

  /** @param unprotected why {@link esp} could not be brought about: encrypted overlays are then left as they are */
  async overlays(unprotected: OutsideError | null = null): Promise<Target[]> {
    const { state, sandboxes } = this.desired;
    if (state === null) return [];
    const mtu = await this.#underlayMtuBytes();
    const change = await this.#changeFor(mtu);
    const { plan: balancing } = this.kernel.engine;
    return state.overlays.map((overlay) => {
      const scope: Scope = { kind: 'overlay', vni: overlay.vni };
      const present = (): SandboxEndpoint[] => sandboxes.filter(({ overlayId }) => overlayId === overlay.id);
      const part = (desired: PartialChange['after']): readonly KernelObject[] =>
        desired.state.overlays
          .filter(({ id }) => id === overlay.id)
          .flatMap((some) => planOverlayScope(desired, some, mtu, balancing).objects);
      const isShut = overlay.encrypted && unprotected !== null;
      return this.#target(
        scope,
        () => {
          if (change === null || change.others.has(overlay.id)) return 'look';
          const found = this.#difference(scope, part(change.before), part(change.after), present);
          return isShut && found !== 'none' ? 'look' : found;
        },
        async () => {
          if (isShut)
            throw new OutsideError(`network ${overlay.name} is encrypted: ${unprotected.message}`, true, {
              cause: unprotected,
            });
          const plan = planOverlayScope({ state, sandboxes }, overlay, mtu, balancing);
          return { ...(await this.#look(plan)), present: present() };
        },
      );
    });
  }

  /** The host's namespace; an engine may plan by the devices and addresses found there. */
  async host(): Promise<Target> {
    const mtu = await this.#underlayMtuBytes();
    const change = await this.#changeFor(mtu);
    const scope: Scope = { kind: 'host' };
    const plan = (state: NodeNetworkState | null, observed: readonly KernelObject[]): ScopePlan =>
      planHostScope(state, mtu, this.kernel.engine.plan, observed);
    const { state } = this.desired;
    return this.#target(
      scope,
      () => {
        if (change === null || change.ingressIsOther) return 'look';
        // What is planned from what is found there is in neither of both.
        const [before, after] = [change.before, change.after].map((part) => plan(part.state, []).objects);
        return this.#difference(scope, before ?? [], after ?? [], () => []);
      },
      () =>
        this.#look(plan(state, []), (observed) => ({
          plan: plan(state, observed),
          planKey: keyOf(plan(state && headOnly(state), observed).objects),
        })),
    );
  }

  /** Containers' namespaces; what is planned in one depends on the interfaces found there. */
  async sandboxes(): Promise<Target[]> {
    const mtu = await this.#underlayMtuBytes();
    const change = await this.#changeFor(mtu);
    return [...sandboxesByPath(this.desired)].map(([path, endpoints]) =>
      this.#target(
        { kind: 'sandbox', path },
        () => sandboxChange(change, path, endpoints, mtu),
        () => this.#observeSandbox(path, endpoints, mtu),
      ),
    );
  }

  /** What is left in a container's namespace of which the engine has told that it is on no network of ours any more. */
  async abandonedSandbox(path: string): Promise<ScopeWork> {
    const scope: Scope = { kind: 'sandbox', path };
    return this.#attempt(scope, async () => {
      const observation = await this.kernel.observe(scope, [], false, []);
      return this.#work(
        planSandboxScope(this.desired.state, path, [], observation.objects, unknownMtuBytes),
        '',
        observation,
      );
    });
  }

  /** Overlay namespaces that nobody wants. */
  async staleOverlays(): Promise<Vni[]> {
    const wanted = new Set(this.desired.state?.overlays.map(({ vni }) => vni));
    return (await this.kernel.overlayNamespaces()).filter((vni) => !wanted.has(vni));
  }

  async observeAll(): Promise<ScopeWork[]> {
    const works: ScopeWork[] = [];
    for (const target of [this.esp(), ...(await this.overlays()), await this.host()])
      works.push(await target.observe());
    return [...works, ...(await together(await this.sandboxes(), sandboxesAtOnce, (one) => one.observe()))];
  }

  #target(scope: Scope, change: Target['change'], observe: Target['observe']): Target {
    const name = scopeName(scope);
    this.names.add(name);
    return { scope, name, change, observe: () => this.#attempt(scope, observe) };
  }

  /** The difference of two plans of the same part: nothing that is in neither is looked at. */
  #difference(
    scope: Scope,
    before: readonly KernelObject[],
    after: readonly KernelObject[],
    present: () => readonly SandboxEndpoint[],
  ): TargetChange {
    const ops = diff(after, before, () => true);
    if (ops.length === 0) return 'none';
    if (!ops.every(isOfOneItem)) return 'look';
    return {
      ...emptyWork(scope),
      exists: true,
      complete: true,
      ops,
      stages: byStage(ops),
      present: present(),
    };
  }

  /** @param replan the plan given what is found; where it is absent that changes nothing */
  async #look(
    first: ScopePlan,
    replan?: (observed: readonly KernelObject[]) => { plan: ScopePlan; planKey: string },
  ): Promise<ScopeWork> {
    const { scope, objects } = first;
    const observation = await this.kernel.observe(
      scope,
      sysctlPaths(objects),
      this.fresh,
      chainFamilies(objects),
    );
    const { plan, planKey } = replan?.(observation.objects) ?? { plan: first, planKey: '' };
    return this.#work(plan, planKey, observation);
  }

  async #observeSandbox(
    path: string,
    endpoints: readonly SandboxEndpoint[],
    underlayMtuBytes: number,
  ): Promise<ScopeWork> {
    const scope: Scope = { kind: 'sandbox', path };
    const links = await this.kernel.observe(scope, [], this.fresh, null);
    const { state } = this.desired;
    const joined = joinedInterfaces(endpoints, links.objects, this.joined.get(path));
    if (links.exists) this.joined.set(path, joined);
    else this.joined.delete(path);
    const { objects, namesAnswered = false } = links;
    const plan = planSandboxScope(state, path, endpoints, objects, underlayMtuBytes, namesAnswered, joined);
    const sysctls = sysctlPaths(plan.objects);
    // Reading them takes a process: not where none can be.
    const planned = chainFamilies(plan.objects);
    const chains = state === null || links.namesAnswered === false || planned.length > 0 ? planned : null;
    const observation =
      sysctls.length > 0 || chains !== null
        ? await this.kernel.observe(scope, sysctls, this.fresh, chains)
        : links;
    const present = presentEndpoints(
      endpoints,
      observation.objects.filter((object): object is Link => object.kind === 'link'),
    );
    return {
      ...this.#work(plan, keyOf(plan.objects), observation),
      present,
      complete: present.length === endpoints.length,
    };
  }

  #work(plan: ScopePlan, planKey: string, observation: Observation): ScopeWork {
    const exists = observation.exists || plan.scope.kind === 'overlay';
    const ops = exists ? planOps(plan, observation.objects) : [];
    const split = byStage(ops);
    const missing = split.balance.length > 0 ? observation.balancingUnavailable : null;
    return {
      ...emptyWork(plan.scope),
      planKey,
      exists,
      complete: exists,
      ops,
      // What the kernel cannot do is reported once, by its name, rather than tried op by op.
      stages: missing ? { ...split, balance: [], unbalance: [] } : split,
      unavailable: missing ?? plan.unserved,
    };
  }

  async #attempt(scope: Scope, observe: () => Promise<ScopeWork>): Promise<ScopeWork> {
    try {
      return await observe();
    } catch (err) {
      if (!(err instanceof OutsideError)) throw err;
      return { ...emptyWork(scope), error: err };
    }
  }

  /** Another MTU is in the plans of all overlays and of the host. */
  async #changeFor(mtuBytes: number): Promise<PartialChange | null> {
    return (await this.#lastMtu) === mtuBytes ? this.#change : null;
  }

  #underlayMtuBytes(): Promise<number> {
    this.#mtu ??= (async () => {
      const vtep = this.desired.state?.vtep;
      if (vtep === undefined) return unknownMtuBytes;
      const underlay = await this.kernel.underlayMtu(vtep);
      if (underlay === null) this.errors.push(`no device of this host holds the VTEP address ${vtep}`);
      return underlay ?? unknownMtuBytes;
    })();
    return this.#mtu;
  }
}

/** Nothing to be done; as of a namespace that is not there. */
const emptyWork = (scope: Scope): ScopeWork => ({
  scope,
  name: scopeName(scope),
  planKey: null,
  exists: false,
  complete: false,
  ops: [],
  stages: { reach: [], balance: [], unbalance: [], unreach: [] },
  applied: [],
  present: [],
  unavailable: null,
  error: null,
});

/** A container's namespace is small: whenever its plan may have changed it is looked at. */
function sandboxChange(
  change: PartialChange | null,
  path: string,
  endpoints: readonly SandboxEndpoint[],
  underlayMtuBytes: number,
): TargetChange {
  if (change === null || change.sandboxPaths.has(path)) return 'look';
  if (endpoints.some(({ overlayId }) => change.others.has(overlayId))) return 'look';
  const named = endpoints.map(({ mac }): Link => ({ kind: 'link', name: mac, mac }));
  const key = ({ state }: Desired): string =>
    keyOf(planSandboxScope(state, path, endpoints, named, underlayMtuBytes).objects);
  return key(change.before) === key(change.after) ? 'none' : 'look';
}

const sysctlPaths = (objects: readonly KernelObject[]): string[] => [
  ...new Set(objects.filter((object): object is Sysctl => object.kind === 'sysctl').map(({ path }) => path)),
];

/** A digest of the objects' texts. */
function keyOf(objects: readonly KernelObject[]): string {
  const hash = createHash('sha256');
  for (const object of objects) hash.update(`${line(object)}\n`);
  return hash.digest('base64');
}
