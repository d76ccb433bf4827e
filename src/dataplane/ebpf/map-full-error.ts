/** What is asked for does not fit into a map. Nothing of the run that asked for it was done. */
import { KernelError } from '../kernel/kernel-error.js';

export class MapFullError extends KernelError {
  override readonly name = 'MapFullError';

  constructor(
    readonly map: string,
    readonly entriesMax: number,
    /** True: enough was freed a moment ago and may be used again in some seconds, so the same will work then. */
    readonly passing: boolean,
  ) {
    super(`find room in map ${map}`, passing ? 'EAGAIN' : 'ENOSPC', { text: `it has ${entriesMax} entries` });
  }
}
