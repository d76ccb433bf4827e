/**
 * The objects that exist from the first second of a cluster: the cluster itself, its founding node and the ingress
 * network. Pure; everything is checked here, before anything is made.
 */
import type { Cidr } from '../../model/addresses.js';
import { addressAndPort, cidrsOverlap, normalizeCidr, parseCidr } from '../../model/addresses.js';
import { faultOfClusterTimes } from '../../model/cluster-times.js';
import { SkepError } from '../../model/errors.js';
import type { HostRoute } from '../../model/host-routes.js';
import { routeText } from '../../model/host-routes.js';
import type { ClusterId, NetworkId, NodeId } from '../../model/ids.js';
import type { Cluster, ClusterSpec, Network, Node, NodeDescription } from '../../model/objects.js';
import { nodeCertExpiryNsDefault } from '../ca/cluster-ca.js';
import { subnetFromPools } from '../allocator/networks.js';
import type { InitRequest } from '../api/swarm-control.js';
import { availabilityOf } from './availability.js';
import type { Availability } from './availability.js';
import type { NodeAddresses } from './node-addresses.js';

type Unwritten<T> = Omit<T, 'version' | 'createdAtMs' | 'updatedAtMs'>;

/** Swarm's defaults (semantics 4.1): heartbeat 5 s, certificates 90 days, five records of history a slot. */
export const clusterSpecDefaults: ClusterSpec = {
  name: 'default',
  labels: {},
  taskHistoryRetentionLimit: 5,
  raft: {
    snapshotInterval: 10_000,
    keepOldSnapshots: 0,
    logEntriesForSlowFollowers: 500,
    electionTick: 10,
    heartbeatTick: 1,
  },
  heartbeatPeriodNs: 5e9,
  nodeCertExpiryNs: nodeCertExpiryNsDefault,
  forceRotate: 0,
  autoLockManagers: false,
};

/** UDP port of VXLAN, IANA. */
export const vxlanPort = 4789;
const poolDefault = ['10.0.0.0/8' as Cidr];
const subnetSizeDefault = 24;
/** Docker's bound: a subnet must hold a gateway, a node and a task or two. */
const subnetSizeMax = 29;

export interface ClusterIdentity {
  readonly clusterId: ClusterId;
  readonly nodeId: NodeId;
  readonly ingressId: NetworkId;
  readonly rootCa: Cluster['rootCa'];
  readonly joinTokens: Cluster['joinTokens'];
  readonly managersLock: Cluster['managersLock'];
}

/** It may be asked for in two places. */
export const isAutolocked = ({ autoLockManagers, spec }: InitRequest): boolean =>
  autoLockManagers || spec.autoLockManagers === true;

const refuse = (message: string): never => {
  throw new SkepError('invalidArgument', message);
};

/** An init request of which everything was looked at. */
export type CheckedInitRequest = InitRequest & { readonly availability: Availability };

/** The other names that Swarm knows for its one cluster: none. */
export function requireDefaultName({ name }: InitRequest['spec']): void {
  if (name !== undefined && name !== '' && name !== 'default') refuse('swarm spec must be named "default"');
}

/** Checks what needs neither host nor network, in the daemon's order and words; it looks at the name and at addresses before. */
export function checkedInitRequest(request: InitRequest): CheckedInitRequest {
  checkPools(request);
  if (request.dataPathPort !== 0 && (request.dataPathPort < 1024 || request.dataPathPort > 49151))
    refuse(`Datapath port number is not in valid range (1024-49151) : ${request.dataPathPort}`);
  const availability = availabilityOf(request.availability);
  const { nodeCertExpiryNs = 0, heartbeatPeriodNs = 0 } = request.spec;
  const fault = faultOfClusterTimes({ nodeCertExpiryNs, heartbeatPeriodNs });
  // Swarm has made its cluster by then, and stays in it.
  if (fault !== undefined)
    refuse(`error updating cluster settings: rpc error: code = InvalidArgument desc = ${fault}`);
  return { ...request, availability };
}

function checkPools({ subnetSize, defaultAddrPool }: InitRequest): void {
  const size = subnetSize || subnetSizeDefault;
  if (size > subnetSizeMax) refuse(`subnet size is out of range: ${size}`);
  for (const pool of defaultAddrPool) {
    let parsed;
    try {
      parsed = parseCidr(pool);
    } catch {
      return refuse(`invalid base pool ${pool}: invalid CIDR address: ${pool}`);
    }
    // An IPv6 pool is refused with the same words, as Docker's are: /24 of it would be a continent.
    if (parsed.prefixLength > size || parsed.family === 6)
      refuse(`invalid CIDR: "${pool}". Subnet size is too small for pool: ${size}`);
  }
}

/** Refuses pools of which this host's own routes leave nothing for the ingress network. */
export function checkPoolsAgainst(
  request: Pick<InitRequest, 'defaultAddrPool' | 'subnetSize'>,
  routes: readonly HostRoute[],
): void {
  const pools = poolsOf(request);
  if (
    subnetFromPools(
      pools,
      true,
      routes.map(({ destination }) => destination),
    ) !== undefined
  )
    return;
  const inTheWay = routes.filter(({ destination }) =>
    pools.defaultAddrPool.some((pool) => cidrsOverlap(pool, destination)),
  );
  throw new SkepError(
    'invalidArgument',
    `default address pool ${pools.defaultAddrPool.join(', ')} overlaps the route ${inTheWay.map(routeText).join(', ')} ` +
      'of this node: no subnet is left for the ingress network - choose another pool with --default-addr-pool',
  );
}

const poolsOf = (
  request: Pick<InitRequest, 'defaultAddrPool' | 'subnetSize'>,
): Pick<Cluster, 'defaultAddrPool' | 'subnetSize'> => ({
  defaultAddrPool:
    request.defaultAddrPool.length > 0 ? request.defaultAddrPool.map(normalizeCidr) : poolDefault,
  subnetSize: request.subnetSize || subnetSizeDefault,
});

/** Zero and empty mean "not given" in an init request. */
const present = <T extends object>(given: T): Partial<T> =>
  Object.fromEntries(
    Object.entries(given).filter(([, value]) => value !== 0 && value !== '' && value !== undefined),
  ) as Partial<T>;

/** The objects to write, from a checked request. */
export function initialObjects(
  request: CheckedInitRequest,
  identity: ClusterIdentity,
  addresses: NodeAddresses,
  description: NodeDescription,
): { cluster: Unwritten<Cluster>; node: Unwritten<Node>; ingress: Unwritten<Network> } {
  const given = present(request.spec);
  const raft = { ...clusterSpecDefaults.raft, ...present(request.spec.raft ?? {}) };
  return {
    cluster: {
      id: identity.clusterId,
      spec: {
        ...{ ...clusterSpecDefaults, ...given, raft },
        name: 'default',
        autoLockManagers: isAutolocked(request),
      },
      rootCa: identity.rootCa,
      joinTokens: identity.joinTokens,
      ...(identity.managersLock && { managersLock: identity.managersLock }),
      ...poolsOf(request),
      dataPathPort: request.dataPathPort || vxlanPort,
    },
    node: {
      id: identity.nodeId,
      spec: { name: '', labels: {}, role: 'manager', availability: request.availability },
      role: 'manager',
      description,
      status: { state: 'unknown', message: '', addr: addresses.advertiseHost },
      managerStatus: {
        leader: true,
        reachability: 'reachable',
        addr: addressAndPort(addresses.advertiseHost, addresses.advertisePort),
      },
      dataPathAddr: addresses.dataPathHost,
      attachments: [],
    },
    ingress: {
      id: identity.ingressId,
      spec: {
        name: 'ingress',
        labels: {},
        driver: 'overlay',
        driverOptions: {},
        ipv6: false,
        internal: false,
        attachable: false,
        ingress: true,
        ipam: { driver: 'default', options: {}, configs: [] },
      },
      addressCursor: 0,
    },
  };
}
