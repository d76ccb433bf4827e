/** What a balancer engine contributes to the plans of scopes. Containers are set up alike for all engines. */
import type { SandboxEndpoint } from '../sandbox.js';
import type { NodeNetworkState, Overlay } from '../state.js';
import type { KernelObject } from './objects.js';

export const engineNames = ['ipvs', 'ebpf'] as const;
export type EngineName = (typeof engineNames)[number];

/** Pure. Both give all that the engine wants in the scope beyond what every engine has there. */
export interface BalancerPlan {
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
