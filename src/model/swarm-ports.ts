/**
 * Ports on which nodes talk to one another. What a service publishes, every node takes for its tasks: with one of these
 * nodes would be cut off from their managers or from each other's tasks, and hear of no way back.
 */
import { encryptedPort } from './encryption.js';
import type { Cluster, Node } from './objects.js';
import type { PortConfig } from './service-spec.js';

export interface SwarmPort {
  readonly protocol: PortConfig['protocol'];
  readonly port: number;
  /** In words for whoever asks for it. */
  readonly use: string;
}

/** TCP port on which managers' etcd talk to one another (etcd's own, IANA); only they reach it, by mutual TLS. */
export const etcdPeerPort = 2380;

/** Of any node: a worker may become a manager. */
export function swarmPorts(
  { dataPathPort }: Pick<Cluster, 'dataPathPort'>,
  nodes: readonly Pick<Node, 'managerStatus'>[],
): SwarmPort[] {
  const managers = nodes.flatMap(({ managerStatus }) => (managerStatus ? [portOf(managerStatus.addr)] : []));
  return [
    ...[...new Set(managers)].map((port) => ({ protocol: 'tcp' as const, port, use: 'managers' })),
    { protocol: 'tcp', port: etcdPeerPort, use: 'managers’ stores' },
    { protocol: 'udp', port: dataPathPort, use: 'VXLAN' },
    { protocol: 'udp', port: encryptedPort(dataPathPort), use: 'VXLAN of encrypted networks' },
  ];
}

/** Of `host:port`. */
const portOf = (address: string): number => Number(address.slice(address.lastIndexOf(':') + 1));
