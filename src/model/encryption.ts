/** Encrypted overlay networks: how a user asks for one, and what a node's engine says of its kernel. */
import type { NodeDescription, NetworkSpec } from './objects.js';

/** Docker's: given with any value, mostly none. */
export const encryptedOption = 'encrypted';
/** On a node's engine, set by Skep itself: `true` where the kernel has ESP, `false` where it has not. */
export const espLabel = 'skep.esp';

/** Whether the network's VXLAN packets are encrypted between nodes. */
export const isEncrypted = ({ driverOptions }: Pick<NetworkSpec, 'driverOptions'>): boolean =>
  Object.hasOwn(driverOptions, encryptedOption) && driverOptions[encryptedOption] !== 'false';

/** True of a node that says that its kernel has no ESP. */
export const lacksEsp = (description: NodeDescription | undefined): boolean =>
  description?.engine.labels[espLabel] === 'false';

/** Why a node whose kernel has no ESP takes no task of that network. */
export const refusalWithoutEsp = (networkName: string): string =>
  `encrypted network ${networkName}: this node's kernel has no ESP (try: modprobe esp4)`;

/** Why there is no encrypted ingress network while the kernels of these nodes, named by host name, have no ESP: it is of every node. */
export const refusalOfIngressWithoutEsp = (networkName: string, hostnames: readonly string[]): string =>
  `encrypted ingress network ${networkName}: the kernel of ${hostnames.length === 1 ? 'node' : 'nodes'} ${hostnames.join(', ')} has no ESP (try: modprobe esp4)`;
