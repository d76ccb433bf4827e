/** Has skep-dataplane take all of ours out of this host's kernel, and waits until its own look there finds nothing. */
import { differenceLine } from '../dataplane/difference.js';
import type { DataplaneClient } from '../dataplane/rpc/client.js';
import { OutsideError, SkepError } from '../model/errors.js';
import type { Clock } from '../runtime/clock.js';

export interface EmptyKernelOptions {
  readonly dataplane: Pick<DataplaneClient, 'clearState' | 'verify' | 'status'>;
  /** Whether the ebpf engine has anything pinned: no look of the daemon's shows that. */
  readonly hasPins: () => boolean;
  readonly clock: Pick<Clock, 'nowMs' | 'sleep'>;
  /** For all of it; a host with thousands of endpoints takes seconds. */
  readonly deadlineMs?: number;
}

const deadlineMsDefault = 60_000;
const pollMs = 200;

/** Rejects with OutsideError, which says what is left, when the deadline has passed. */
export async function emptyKernel(options: EmptyKernelOptions): Promise<void> {
  const { dataplane, hasPins, clock, deadlineMs = deadlineMsDefault } = options;
  const endMs = clock.nowMs() + deadlineMs;
  let isCleared = false;
  for (;;) {
    let left: string;
    try {
      if (!isCleared) await dataplane.clearState();
      isCleared = true;
      left = await leftBehind(dataplane, hasPins);
    } catch (err) {
      // The daemon may be starting, or know no better yet.
      if (!(err instanceof OutsideError) && !(err instanceof SkepError)) throw err;
      left = err.message;
    }
    if (left === '') return;
    if (clock.nowMs() >= endMs) throw new OutsideError(`not within ${deadlineMs / 1000} s: ${left}`, true);
    await clock.sleep(pollMs);
  }
}

/** '' for nothing. */
async function leftBehind(
  dataplane: EmptyKernelOptions['dataplane'],
  hasPins: () => boolean,
): Promise<string> {
  const { equal, differences } = await dataplane.verify();
  if (!equal) return differences.map(differenceLine).join('; ') || 'the kernel differs';
  const { lastError } = await dataplane.status();
  if (lastError !== '') return lastError;
  return hasPins() ? 'maps of the ebpf engine are still pinned' : '';
}
