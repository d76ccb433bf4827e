/** Operations that the kernel is asked for at once: it takes them in their order, and waiting for each would cost more than they do. */
import type { Op } from '../plan/diff.js';
import { opLine } from '../plan/diff.js';
import { toKernelError } from './kernel-error.js';

/** Bounds what waits for one socket. */
const togetherMax = 256;

/**
 * Rejects with KernelError for the first that fails; of those behind it up to {@link togetherMax} have been asked for, too.
 * @param apply asks the kernel before it gives up its turn
 */
export async function applyTogether<O extends Op>(
  ops: readonly O[],
  apply: (op: O) => Promise<void>,
): Promise<void> {
  for (let first = 0; first < ops.length; first += togetherMax) {
    const together = ops.slice(first, first + togetherMax);
    const results = await Promise.allSettled(together.map(apply));
    for (const [index, result] of results.entries()) {
      const op = together[index];
      if (op && result.status === 'rejected') throw toKernelError(opLine(op), result.reason);
    }
  }
}
