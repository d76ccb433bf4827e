/** Encrypted overlay networks: how a user asks for one, and what a node's engine says of its kernel. */
import type { NodeDescription, NetworkSpec } from './objects.js';

/** Docker's: given with any value, mostly none. */
export const encryptedOption = 'encrypted';
/** On a node's engine, set by Skep itself: `true` where the kernel has ESP, `false` where it has not. */
export const espLabel = 'skep.esp';

/**
 * UDP port of encrypted overlays' VXLAN, next to that of the others: so the port alone tells which packets must be ESP, and no
 * packet needs a mark.
 */
export const encryptedPort = (dataPathPort: number): number => dataPathPort + 1;

/** Whether the network's VXLAN packets are encrypted between nodes. */
export const isEncrypted = ({ driverOptions }: Pick<NetworkSpec, 'driverOptions'>): boolean =>
  Object.hasOwn(driverOptions, encryptedOption) && driverOptions[encryptedOption] !== 'false';

/** True of a node that says that its kernel has no ESP. */
export const lacksEsp = (description: NodeDescription | undefined): boolean =>
  description?.engine.labels[espLabel] === 'false';

/** Why a node whose kernel has no ESP takes no task of that network. */
export const refusalWithoutEsp = (networkName: string): string =>
  `encrypted network ${networkName}: this node's kernel has no ESP (try: modprobe esp4)`;

/** False while a node has not said whether its kernel has ESP, such as in its first seconds. */
export const isEspKnown = (description: NodeDescription | undefined): boolean =>
  description?.engine.labels[espLabel] !== undefined;

/**
 * Why there is no encrypted ingress network, which is of every node, while these nodes, named by host name, lack ESP or have not
 * said whether they have it.
 */
export const refusalOfIngressWithoutEsp = (
  networkName: string,
  hostnames: readonly string[],
  known: boolean,
): string => {
  const nodes = `the kernel of ${hostnames.length === 1 ? 'node' : 'nodes'} ${hostnames.join(', ')}`;
  const why = known
    ? `${nodes} has no ESP (try: modprobe esp4)`
    : `it is not known yet whether ${nodes} has ESP`;
  return `encrypted ingress network ${networkName}: ${why}`;
};
