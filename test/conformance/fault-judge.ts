/** Looks at what is broken, as a stranger, again and again: when was it repaired? */
import { setTimeout as sleep } from 'node:timers/promises';
import { KernelError } from '../../src/dataplane/kernel/kernel-error.js';
import type { LinuxKernel } from '../../src/dataplane/kernel/linux-kernel.js';
import type { Desired, Scope, ScopePlan } from '../../src/dataplane/plan/node.js';
import {
  planHostScope,
  planOverlayScope,
  planSandboxScope,
  sandboxesByPath,
  scopeName,
} from '../../src/dataplane/plan/node.js';
import type { KernelObject } from '../../src/dataplane/plan/objects.js';
import { joinedInterfaces } from '../../src/dataplane/plan/sandbox.js';
import type { Fault } from './fault-kinds.js';
import type { FaultNode } from './fault-node.js';
import type { Pending, Verdict } from './fault-verdict.js';
import { Verdicts } from './fault-verdict.js';

/** How often somebody looks whether the kernel has told of a change, and what it tells nothing of is asked for. */
const askMs = 60;
const askAllMs = 250;
/** Longest time between two looks, should neither have told. */
const lookGapMsMax = 1_000;

/** What is heard of a scope. */
interface Watch {
  changed: boolean;
  lookedMs: number;
  /** Null: there is no such namespace. */
  heard: Disposable | null;
}

const keyOf = ({ node, plan }: Pick<Pending, 'node' | 'plan'>): string =>
  `${node.number} ${scopeName(plan.scope)}`;

export class FaultJudge implements AsyncDisposable {
  readonly #pending = new Set<Pending>();
  readonly #verdicts: Verdicts;
  #on = true;
  readonly #watches = new Map<string, Watch>();
  readonly #looking: Promise<void>;

  /**
   * @param kernelOf a stranger's view of a node
   * @param slowness see FaultReport
   */
  constructor(
    private readonly kernelOf: (node: FaultNode) => LinuxKernel,
    private readonly slowness: number,
  ) {
    this.#verdicts = new Verdicts(slowness);
    this.#looking = this.#look();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#pending.clear();
    await this.end();
    for (const { heard } of this.#watches.values()) heard?.[Symbol.dispose]();
  }

  get pending(): number {
    return this.#pending.size;
  }

  isPending(node: FaultNode, { id }: Fault): boolean {
    return [...this.#pending].some((one) => one.node === node && one.fault.id === id);
  }

  add(pending: Pending): void {
    this.#pending.add(pending);
    const key = keyOf(pending);
    const watch = this.#watches.get(key);
    if (watch) watch.changed = true;
  }

  /** Keeps nothing open in a namespace that is about to go: as long as somebody does, it lives on. */
  leave(node: FaultNode, plan: ScopePlan): void {
    const key = keyOf({ node, plan });
    this.#watches.get(key)?.heard?.[Symbol.dispose]();
    this.#watches.delete(key);
    this.kernelOf(node).forget(plan.scope);
  }

  /** Resolves when nothing is broken any more, or was for too long. */
  async end(): Promise<Verdict> {
    this.#on = false;
    await this.#looking;
    return this.#verdicts;
  }

  /** Where nothing changes nothing is read, so that looking takes no processor from those who repair. */
  async #look(): Promise<void> {
    let allDueMs = 0;
    while (this.#on || this.#pending.size > 0) {
      const all = Date.now() >= allDueMs;
      if (all) allDueMs = Date.now() + this.slowness * askAllMs;
      for (const [key, together] of this.#byScope()) {
        const watch = this.#watch(key, together);
        if (all && (await this.#hasChanged(together))) watch.changed = true;
        if (!watch.changed && Date.now() - watch.lookedMs < this.slowness * lookGapMsMax) continue;
        watch.changed = false;
        await this.#lookAt(together);
        watch.lookedMs = Date.now();
      }
      await sleep(this.slowness * askMs);
    }
  }

  /** From the first fault in a scope on the kernel is listened to there. */
  #watch(key: string, [first]: readonly Pending[]): Watch {
    const known = this.#watches.get(key);
    if (known?.heard) return known;
    const watch: Watch = { changed: true, lookedMs: 0, heard: null };
    this.#watches.set(key, watch);
    if (first)
      watch.heard = this.kernelOf(first.node).watch(first.plan.scope, () => {
        watch.changed = true;
      });
    return watch;
  }

  async #hasChanged([first]: readonly Pending[]): Promise<boolean> {
    if (!first) return false;
    try {
      return await this.kernelOf(first.node).refresh(first.plan.scope, 'all');
    } catch (err) {
      if (err instanceof KernelError) return true;
      throw err;
    }
  }

  /** One look at a scope tells of all that is broken there. */
  #byScope(): ReadonlyMap<string, readonly Pending[]> {
    const found = new Map<string, Pending[]>();
    for (const one of this.#pending) {
      const key = keyOf(one);
      found.set(key, [...(found.get(key) ?? []), one]);
    }
    return found;
  }

  async #lookAt(together: readonly Pending[]): Promise<void> {
    const [first] = together;
    if (first === undefined) return;
    const objects = await this.#observe(first);
    for (const one of together) {
      const ms = Date.now() - one.atMs;
      const repaired = objects !== null && one.fault.isRepaired(objects);
      if (!repaired && ms < this.#verdicts.givenUpMs(one)) continue;
      this.#pending.delete(one);
      this.#verdicts.settle(one, ms, repaired);
    }
  }

  /** Null: what is looked at goes, or comes, at this very moment. */
  async #observe({ node, plan }: Pending): Promise<readonly KernelObject[] | null> {
    try {
      return await observe(this.kernelOf(node), plan);
    } catch (err) {
      if (err instanceof KernelError) return null;
      throw err;
    }
  }
}

/** What a node should hold, scope by scope, once it does. */
export async function plansOf(
  kernel: LinuxKernel,
  { state, sandboxes }: Desired,
): Promise<readonly ScopePlan[]> {
  if (state === null) throw new Error('the node was programmed');
  const underlayMtuBytes = 1500;
  const { plan } = kernel.engine;
  const all = async (scope: Scope): Promise<readonly KernelObject[]> =>
    (await kernel.observe(scope, [], true, [4])).objects;
  const plans: ScopePlan[] = [planHostScope(state, underlayMtuBytes, plan, await all({ kind: 'host' }))];
  for (const overlay of state.overlays)
    plans.push(planOverlayScope({ state, sandboxes }, overlay, underlayMtuBytes, plan));
  for (const [path, endpoints] of sandboxesByPath({ state, sandboxes })) {
    const observed = await all({ kind: 'sandbox', path });
    const joined = joinedInterfaces(endpoints, observed, new Map());
    plans.push(planSandboxScope(state, path, endpoints, observed, underlayMtuBytes, false, joined));
  }
  // What is there for the first time is read whole.
  for (const one of plans) await observe(kernel, one, true);
  return plans;
}

async function observe(
  kernel: LinuxKernel,
  plan: ScopePlan,
  fresh = false,
): Promise<readonly KernelObject[]> {
  const paths = plan.objects.flatMap((one) => (one.kind === 'sysctl' ? [one.path] : []));
  const chains = plan.objects.some(({ kind }) => kind === 'chain') ? ([4] as const) : null;
  return (await kernel.observe(plan.scope, [...new Set(paths)], fresh, chains)).objects;
}
