/**
 * IPsec states and policies of ours in one namespace, as plan objects. Known by their reqid or priority: strangers' are
 * neither shown nor replaced.
 */
import { isErrno } from '../netlink/netlink-error.js';
import { Xfrm } from '../netlink/xfrm.js';
import type { Op } from '../plan/diff.js';
import { opLine } from '../plan/diff.js';
import { espPolicyPriority, isOurReqid } from '../plan/names.js';
import type { EspPolicy, EspState, KernelObject } from '../plan/objects.js';
import { identity } from '../plan/objects.js';
import { KernelError, toKernelError } from './kernel-error.js';

export class EspObjects implements Disposable {
  #xfrm: Xfrm | null = null;

  /** @param netns path of the namespace, null for this process's own */
  constructor(private readonly netns: string | null) {}

  [Symbol.dispose](): void {
    this.#xfrm?.[Symbol.dispose]();
    this.#xfrm = null;
  }

  /** Nothing where the kernel has no XFRM at all. Rejects with KernelError. */
  async observe(): Promise<KernelObject[]> {
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
      throw toKernelError('observe ESP', err);
    }
  }

  /** Rejects with KernelError at the first op that fails. */
  async apply(ops: readonly Op[]): Promise<void> {
    for (const op of ops) {
      try {
        await this.#applyOne(op);
      } catch (err) {
        throw toKernelError(opLine(op), err);
      }
    }
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

const isOurs = ({ priority, action }: Omit<EspPolicy, 'kind'>): boolean =>
  action.kind === 'block' ? priority === espPolicyPriority : isOurReqid(action.reqid);

async function alreadyGone(removal: Promise<void>): Promise<void> {
  try {
    await removal;
  } catch (err) {
    if (!isErrno(err, 'ESRCH', 'ENOENT')) throw err;
  }
}
