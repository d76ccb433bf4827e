/**
 * IPsec states and policies of ours in one namespace, and the rules that guard beside them, as plan objects. States and policies
 * are known by their reqid or priority, rules by their chains: strangers' are neither shown nor replaced.
 */
import type { Family } from '../../model/addresses.js';
import { Netfilter } from '../netlink/netfilter.js';
import { isErrno } from '../netlink/netlink-error.js';
import { Xfrm } from '../netlink/xfrm.js';
import type { Op } from '../plan/diff.js';
import { applyToImage, opLine } from '../plan/diff.js';
import { espPolicyPriority, isEspGuard, isOurReqid } from '../plan/names.js';
import type { Chain, EspPolicy, EspState, Jump, KernelObject } from '../plan/objects.js';
import { identity, line } from '../plan/objects.js';
import { Firewall } from './iptables.js';
import type { Quiet } from './kernel.js';
import { KernelError, toKernelError } from './kernel-error.js';

type Guard = Chain | Jump;
type GuardOp = Op & { readonly object: Guard };

export class EspObjects implements Disposable {
  #xfrm: Xfrm | null = null;
  #netfilter: Netfilter | null = null;
  readonly #firewall: Firewall;
  /** As last read and since written; null: they must be read. */
  #guard: readonly Guard[] | null = null;

  /** @param netns path of the namespace, null for this process's own */
  constructor(private readonly netns: string | null) {
    this.#firewall = new Firewall(netns, () => (this.#netfilter ??= new Netfilter(netns)));
  }

  [Symbol.dispose](): void {
    this.#xfrm?.[Symbol.dispose]();
    this.#xfrm = null;
    this.#netfilter?.[Symbol.dispose]();
    this.#netfilter = null;
    this.#guard = null;
  }

  /**
   * No states and policies where the kernel has no XFRM at all. Rejects with KernelError.
   * @param fresh true: rules are read, which takes a process, rather than taken to be as last read and written
   * @param chains families whose rules are looked at
   */
  async observe(fresh: boolean, chains: readonly Family[]): Promise<KernelObject[]> {
    try {
      if (fresh || !this.#firewall.covers(chains)) this.#guard = null;
      return [...(await this.#observeXfrm()), ...(this.#guard ??= await this.#readGuard(chains))];
    } catch (err) {
      throw toKernelError('observe ESP', err);
    }
  }

  /** See Firewall.watch. */
  watchRules(onChange: () => void): Disposable {
    return this.#firewall.watch(onChange);
  }

  /** See Kernel.refresh: of rules, as states and policies notify by themselves. Where there are none of ours, nothing is read. */
  async refresh(quiet: Quiet): Promise<boolean> {
    const held = this.#guard;
    if (held === null || held.length === 0) return false;
    try {
      if (!(await this.#firewall.mayHaveChanged(quiet))) return false;
      this.#guard = await this.#readGuard();
      const text = (guard: readonly Guard[]): string => guard.map(line).sort().join('\n');
      return text(held) !== text(this.#guard);
    } catch (err) {
      throw toKernelError('look for silent changes of ESP', err);
    }
  }

  /** Rejects with KernelError at the first op that fails. */
  async apply(ops: readonly Op[]): Promise<void> {
    const ofGuard = ops.filter((op): op is GuardOp => isGuard(op.object));
    const others = ops.filter(({ object }) => !isGuard(object));
    // First what shuts, and last what no longer need be shut (see plan/diff.ts).
    const isRemoval = ofGuard.some(({ op }) => op === 'delete');
    if (!isRemoval) await this.#applyGuard(ofGuard);
    for (const op of others) {
      try {
        await this.#applyOne(op);
      } catch (err) {
        throw toKernelError(opLine(op), err);
      }
    }
    if (isRemoval) await this.#applyGuard(ofGuard);
  }

  async #observeXfrm(): Promise<KernelObject[]> {
    try {
      const xfrm = this.#open();
      const [states, policies] = [await xfrm.states(), await xfrm.policies()];
      return [
        ...states
          .filter(({ reqid }) => isOurReqid(reqid))
          .map((state): EspState => ({ kind: 'espState', ...state })),
        ...policies.filter(isOurs).map((policy): EspPolicy => ({ kind: 'espPolicy', ...policy })),
      ];
    } catch (err) {
      if (isErrno(err, 'EPROTONOSUPPORT', 'EOPNOTSUPP')) return [];
      throw err;
    }
  }

  async #readGuard(chains: readonly Family[] = []): Promise<Guard[]> {
    return (await this.#firewall.observe(chains)).filter(isGuard);
  }

  async #applyGuard(ops: readonly GuardOp[]): Promise<void> {
    const [first] = ops;
    if (first === undefined) return;
    const held = this.#guard;
    this.#guard = null;
    try {
      await this.#firewall.apply(ops);
    } catch (err) {
      throw toKernelError(opLine(first), err);
    }
    if (held) this.#guard = applyToImage(held, ops).filter(isGuard);
  }

  async #applyOne({ op, object, ...rest }: Op): Promise<void> {
    const xfrm = this.#open();
    if (object.kind === 'espPolicy') {
      if (op === 'add') return xfrm.addPolicy(object);
      return op === 'delete' ? alreadyGone(xfrm.removePolicy(object)) : xfrm.replacePolicy(object);
    }
    if (object.kind !== 'espState') throw new KernelError(`put ${identity(object)} here`, 'EINVAL');
    if (op === 'delete') return alreadyGone(xfrm.removeState(object));
    const { keyAndSalt, ...state } = object;
    if (!keyAndSalt) throw new KernelError(`make ${identity(object)} without a key`, 'EINVAL');
    if ('was' in rest) await alreadyGone(xfrm.removeState(object));
    await xfrm.addState({ ...state, keyAndSalt });
  }

  #open(): Xfrm {
    return (this.#xfrm ??= new Xfrm(this.netns));
  }
}

const isGuard = (object: KernelObject): object is Guard =>
  (object.kind === 'chain' && isEspGuard(object.name)) ||
  (object.kind === 'jump' && isEspGuard(object.target));

const isOurs = ({ priority, action }: Omit<EspPolicy, 'kind'>): boolean =>
  action.kind === 'block' ? priority === espPolicyPriority : isOurReqid(action.reqid);

async function alreadyGone(removal: Promise<void>): Promise<void> {
  try {
    await removal;
  } catch (err) {
    if (!isErrno(err, 'ESRCH', 'ENOENT')) throw err;
  }
}
