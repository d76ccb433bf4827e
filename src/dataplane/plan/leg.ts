/** A container's leg on an overlay, found in its namespace. */
import type { ServiceId } from '../../model/ids.js';
import type { SandboxEndpoint } from '../sandbox.js';
import type { Overlay } from '../state.js';

/** A sandbox endpoint whose interface is there. */
export interface Leg {
  readonly overlay: Overlay;
  readonly endpoint: SandboxEndpoint;
  /** The interface's name, which the engine chose. */
  readonly device: string;
}

/** The service whose task the container is; undefined for a container of none. */
export const serviceOf = ({ overlay, endpoint }: Leg): ServiceId | undefined =>
  overlay.endpoints.find(({ address, mac }) => address === endpoint.address && mac === endpoint.mac)
    ?.serviceId;
