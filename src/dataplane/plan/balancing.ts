/** What a balancer engine contributes to the plans of scopes. Containers are set up alike for all engines. */
import type { Family } from '../../model/addresses.js';
import { familyOf } from '../../model/addresses.js';
import { OutsideError } from '../../model/errors.js';
import type { SandboxEndpoint } from '../sandbox.js';
import type { NodeNetworkState, Overlay } from '../state.js';
import type { KernelObject } from './objects.js';

export const engineNames = ['ipvs', 'ebpf'] as const;
export type EngineName = (typeof engineNames)[number];

/** Pure. Both planners give all that the engine wants in the scope beyond what every engine has there. */
export interface BalancerPlan {
  readonly name: EngineName;
  /** Whose packets the engine balances. Of an overlay of another family it is asked for nothing, see {@link unserved}. */
  readonly families: readonly Family[];
  /** @param sandboxes this node's endpoints on this overlay */
  planOverlay(
    state: NodeNetworkState,
    overlay: Overlay,
    sandboxes: readonly SandboxEndpoint[],
  ): readonly KernelObject[];
  /**
   * @param mtuBytes of the pair to ingress
   * @param observed what the host's namespace holds; [] before it was read
   */
  planHost(
    state: NodeNetworkState,
    ingress: Overlay,
    mtuBytes: number,
    observed: readonly KernelObject[],
  ): readonly KernelObject[];
}

/** The node's engine cannot balance packets of that family. The overlay works without. */
export class UnservedFamilyError extends OutsideError {
  override readonly name = 'UnservedFamilyError';

  constructor(
    readonly engine: EngineName,
    readonly family: Family,
    overlay: Pick<Overlay, 'name'>,
  ) {
    super(`the ${engine} engine does not balance IPv${family}, the family of network ${overlay.name}`, false);
  }
}

/** Why the engine balances nothing on the overlay (on ingress: no published port); null: it does. */
export function unserved(
  { name, families }: BalancerPlan,
  overlay: Pick<Overlay, 'name' | 'subnet'>,
): UnservedFamilyError | null {
  const family = familyOf(overlay.subnet);
  return families.includes(family) ? null : new UnservedFamilyError(name, family, overlay);
}
