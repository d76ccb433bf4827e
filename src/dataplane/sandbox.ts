/** A container's leg on an overlay as the engine told us of it through the libnetwork driver. Kept on disk. */
import type { Ip, Mac } from '../model/addresses.js';
import type { NetworkId } from '../model/ids.js';

export interface SandboxEndpoint {
  /** The engine's endpoint id, 64 hex characters. */
  readonly endpointId: string;
  readonly overlayId: NetworkId;
  readonly address: Ip;
  readonly mac: Mac;
  /** The engine's path of the network namespace, set by Join. It exists only once the container is being started. */
  readonly sandboxKey: string | null;
}

/** Names of the veth pair of an endpoint: the port in the overlay's namespace, and the end the engine moves away. */
export const portName = (endpointId: string): string => `skp${endpointId.slice(0, 10)}`;
export const containerEndName = (endpointId: string): string => `skc${endpointId.slice(0, 10)}`;
