/**
 * Networks of a node's own drivers (macvlan, ipvlan, bridge…) with the scope of the swarm. The swarm has their names and what they
 * are to be; each node's engine makes its own when a task comes that is on it, and gives the addresses. So the swarm knows of no
 * address there, and a service has no VIP.
 */
/** Whether the network is each node's own; else it is an overlay. */
export const isNodeNetwork = ({ spec }: { readonly spec: { readonly driver: string } }): boolean =>
  spec.driver !== 'overlay' && spec.driver !== '';

/** On what a node's engine has made: the network whose settings it was given. */
export const configNetworkLabel = 'skep.network.config';
