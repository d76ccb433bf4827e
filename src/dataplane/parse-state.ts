/**
 * The border of NodeNetworkState: RPC messages and the file on disk come in as `unknown` and leave as a value that
 * contradicts itself nowhere, so that a half value is never programmed. One law each: every address of an overlay
 * lies in its subnet and has one owner, every MAC has one owner, VNIs and published ports are given once.
 * Not refused, because clusters pass through it: endpoints of a node that is no peer, or of a service that is gone.
 */
import type { Cidr, Ip, Mac } from '../model/addresses.js';
import { cidrContains, cidrsOverlap, familyOf, parseCidr } from '../model/addresses.js';
import { affinitySMax, defaultScheduler, defaultWeight, schedulers, weightMax } from '../model/balancing.js';
import type { NetworkId, NodeId, ServiceId, TaskId, Vni } from '../model/ids.js';
import type { NetworkSubnet, NetworkSubnets } from '../model/network-subnets.js';
import { hostNumber, subnetsOf } from '../model/network-subnets.js';
import { Fields, refuse, Unique } from './parse-fields.js';
import {
  aliasRangePrefixLengthMax,
  hostPartBitsMax,
  ingressPrefixLengthMin,
  mtuBytesMax,
  mtuBytesMin,
  vniMax,
} from '../model/network-laws.js';
import { SecretBytes } from '../model/secret-bytes.js';
import { KeyedList } from '../runtime/keyed-list.js';
import { endpointKey, serviceKey } from './state-change.js';
import { publishedPortKey } from './state.js';
import type {
  EncryptionKey,
  Endpoint,
  NodeNetworkState,
  Overlay,
  OverlayService,
  Peer,
  PublishedPort,
  TargetPort,
} from './state.js';

const portMax = 65_535;
/** Of a cluster's key; longer than those derived from it. */
export const encryptionKeyBytes = 32;

/** Message of proto/dataplane.proto: as the value, but proto3 has no absent text or number, so a dnsrr service's VIP is '',
 * no affinity and no MTU are 0. */
export type NodeNetworkStateMessage = Omit<
  NodeNetworkState,
  'overlays' | 'publishedPorts' | 'encryptionKeys'
> & {
  readonly publishedPorts: readonly PublishedPort[];
  readonly encryptionKeys: readonly (Omit<EncryptionKey, 'key'> & { readonly key: Buffer })[];
  readonly overlays: readonly (Omit<Overlay, 'endpoints' | 'services' | 'underlayMtuBytes'> & {
    readonly underlayMtuBytes: number;
    readonly endpoints: readonly Endpoint[];
    readonly services: readonly ServiceMessage[];
  })[];
};
type ServiceMessage = Omit<OverlayService, 'vip' | 'affinityS'> & {
  readonly vip: Ip | '';
  readonly affinityS: number;
};

/** Checks and reads a message or a file's content; throws SkepError `invalidArgument` that names the field. */
export function parseNodeNetworkState(value: unknown): NodeNetworkState {
  const fields = new Fields(value, '', [
    'revision',
    'nodeId',
    'vtep',
    'dataPathPort',
    'aliasRange',
    'overlays',
    'publishedPorts',
    'encryptionKeys',
  ]);
  const nodeId = fields.id('nodeId') as NodeId;
  const vtep = fields.ip('vtep');
  const ids = new Unique<NetworkId>();
  const vnis = new Unique<Vni>();
  const ingress = new Unique<'ingress'>();
  const overlays = fields.list('overlays', (item, path) => {
    const overlay = parseOverlay(item, path, nodeId, vtep);
    ids.take(overlay.id, `${path}.id`);
    vnis.take(overlay.vni, `${path}.vni`);
    if (overlay.ingress) ingress.take('ingress', `${path}.ingress`);
    return overlay;
  });
  const ports = new Unique<string>();
  const publishedPorts = fields.list('publishedPorts', (item, path) => {
    const port = parsePublishedPort(item, path);
    ports.take(`${port.publishedPort}/${port.protocol}`, `${path}.publishedPort`);
    return port;
  });
  return {
    revision: fields.integer('revision', 1, Number.MAX_SAFE_INTEGER),
    nodeId,
    vtep,
    dataPathPort: fields.integer('dataPathPort', 1, portMax),
    aliasRange: parseAliasRange(fields, overlays),
    overlays,
    publishedPorts: KeyedList.of(publishedPorts, publishedPortKey),
    encryptionKeys: parseEncryptionKeys(fields),
  };
}

/** The reverse of {@link parseNodeNetworkState} for gRPC. */
export const toStateMessage = (state: NodeNetworkState): NodeNetworkStateMessage => ({
  ...state,
  overlays: state.overlays.map((overlay) => ({
    ...overlay,
    underlayMtuBytes: overlay.underlayMtuBytes ?? 0,
    endpoints: [...overlay.endpoints],
    services: overlay.services.map(toServiceMessage),
  })),
  publishedPorts: [...state.publishedPorts],
  encryptionKeys: (state.encryptionKeys ?? []).map((item) => ({ ...item, key: item.key.reveal() })),
});

export const toServiceMessage = (service: OverlayService): ServiceMessage => ({
  ...service,
  vip: service.vip ?? '',
  affinityS: service.affinityS ?? 0,
});

/** Null where there are none to be had, in a file. */
function parseEncryptionKeys(fields: Fields): EncryptionKey[] | null {
  if (fields.raw('encryptionKeys') === undefined) return null;
  const sequences = new Unique<number>();
  const senders = new Unique<boolean>();
  return fields.list('encryptionKeys', (item, path) => {
    const read = new Fields(item, path, ['sequence', 'sends', 'key']);
    const sequence = read.integer('sequence', 1, 2 ** 32 - 1);
    sequences.take(sequence, `${path}.sequence`);
    const sends = read.boolean('sends');
    if (sends) senders.take(sends, `${path}.sends`);
    return { sequence, sends, key: new SecretBytes(read.octets('key', encryptionKeyBytes)) };
  });
}

function parseAliasRange(fields: Fields, overlays: readonly Overlay[]): Cidr {
  const range = fields.cidr('aliasRange');
  const { family, prefixLength } = parseCidr(range);
  const longest = aliasRangePrefixLengthMax(family);
  if (prefixLength > longest)
    refuse('aliasRange', `expected an IPv${family} range of /${longest} or larger, got ${range}`);
  const ingress = overlays.find((overlay) => overlay.ingress);
  if (ingress && parseCidr(ingress.subnet).family !== family)
    refuse('aliasRange', `${range} is of another family than ingress, ${ingress.subnet}`);
  return range;
}

/** Who holds which address and MAC of one overlay. */
export interface Owners {
  readonly network: NetworkSubnets;
  readonly addresses: Unique<Ip>;
  readonly macs: Unique<Mac>;
}

function parseOverlay(value: unknown, path: string, nodeId: NodeId, vtep: Ip): Overlay {
  const fields = new Fields(value, path, [
    'id',
    'name',
    'vni',
    'subnet',
    'gateway',
    'furtherSubnets',
    'ingress',
    'internal',
    'own',
    'peers',
    'endpoints',
    'services',
    'underlayMtuBytes',
    'encrypted',
  ]);
  const network = parseSubnets(fields);
  const { subnet, furtherSubnets = [] } = network;
  const ingress = fields.boolean('ingress');
  const { family, prefixLength } = parseCidr(subnet);
  const shortest = ingressPrefixLengthMin(family);
  if (ingress && prefixLength < shortest)
    refuse(
      fields.at('subnet'),
      `ingress needs an IPv${family} subnet of /${shortest} or smaller, got ${subnet}`,
    );

  if (ingress && furtherSubnets.length > 0)
    refuse(fields.at('furtherSubnets'), 'aliases name hosts of one subnet: ingress has no further ones');

  const owners: Owners = { network, addresses: new Unique(), macs: new Unique() };
  const own = takeAddressAndMac(fields.object('own', ['address', 'mac']), owners);
  // Nobody but this node may answer at a gateway's address.
  for (const { gateway } of subnetsOf(network))
    if (own.address !== gateway) owners.addresses.take(gateway, fields.at('gateway'));

  const peerIds = new Unique<NodeId>();
  peerIds.take(nodeId, 'nodeId');
  const taskIds = new Unique<TaskId>();
  const serviceIds = new Unique<ServiceId>();
  return {
    id: fields.id('id') as NetworkId,
    name: fields.name('name'),
    vni: fields.integer('vni', 1, vniMax) as Vni,
    ...network,
    ingress,
    internal: fields.boolean('internal'),
    encrypted: fields.optionalBoolean('encrypted') ?? false,
    own,
    peers: fields.list('peers', (item, itemPath) => {
      const peer = parsePeer(item, itemPath, owners);
      peerIds.take(peer.nodeId, `${itemPath}.nodeId`);
      if (peer.vtep === vtep) refuse(`${itemPath}.vtep`, `${vtep} is this node's own`);
      return peer;
    }),
    endpoints: KeyedList.of(
      fields.list('endpoints', (item, itemPath) => {
        const endpoint = parseEndpoint(item, itemPath, owners);
        taskIds.take(endpoint.taskId, `${itemPath}.taskId`);
        return endpoint;
      }),
      endpointKey,
    ),
    services: KeyedList.of(
      fields.list('services', (item, itemPath) => {
        const service = parseService(item, itemPath, owners);
        serviceIds.take(service.id, `${itemPath}.id`);
        return service;
      }),
      serviceKey,
    ),
    // Absent in files written before there was the option.
    underlayMtuBytes: fields.optionalInteger('underlayMtuBytes', mtuBytesMin, mtuBytesMax) ?? null,
  };
}

/** Of one family, and none overlaps another. */
function parseSubnets(fields: Fields): NetworkSubnets {
  const one = (from: Fields): NetworkSubnet => {
    const subnet = from.cidr('subnet');
    return { subnet, gateway: inSubnets({ subnet }, from.ip('gateway'), from.at('gateway')) };
  };
  const first = one(fields);
  // Absent in files written before there could be any.
  const furtherSubnets = fields.optionalList('furtherSubnets', (item, path) =>
    one(new Fields(item, path, ['subnet', 'gateway'])),
  );
  for (const [index, { subnet }] of furtherSubnets.entries())
    for (const other of [first, ...furtherSubnets.slice(0, index)]) {
      if (familyOf(other.subnet) !== familyOf(subnet))
        refuse(fields.at('furtherSubnets'), `${subnet} is of another family than ${other.subnet}`);
      if (cidrsOverlap(other.subnet, subnet))
        refuse(fields.at('furtherSubnets'), `${subnet} overlaps ${other.subnet}`);
    }
  return { ...first, ...(furtherSubnets.length > 0 && { furtherSubnets }) };
}

function inSubnets(
  { subnet, furtherSubnets = [] }: Omit<NetworkSubnets, 'gateway'>,
  address: Ip,
  path: string,
): Ip {
  const subnets = [subnet, ...furtherSubnets.map((further) => further.subnet)];
  if (!subnets.some((each) => cidrContains(each, address)))
    refuse(path, `${address} is not in ${subnets.join(' or ')}`);
  return address;
}

function takeAddressAndMac(fields: Fields, owners: Owners): { address: Ip; mac: Mac } {
  const address = inSubnets(owners.network, fields.ip('address'), fields.at('address'));
  const mac = fields.mac('mac');
  owners.addresses.take(address, fields.at('address'));
  owners.macs.take(mac, fields.at('mac'));
  return { address, mac };
}

function parsePeer(value: unknown, path: string, owners: Owners): Peer {
  const fields = new Fields(value, path, ['nodeId', 'vtep', 'address', 'mac', 'espEpoch']);
  return {
    nodeId: fields.id('nodeId') as NodeId,
    vtep: fields.ip('vtep'),
    espEpoch: fields.optionalInteger('espEpoch', 1, 2 ** 32 - 1) ?? 0,
    ...takeAddressAndMac(fields, owners),
  };
}

export function parseEndpoint(value: unknown, path: string, owners: Owners): Endpoint {
  const fields = new Fields(value, path, [
    'taskId',
    'serviceId',
    'nodeId',
    'address',
    'mac',
    'name',
    'serving',
    'weight',
    'aliases',
    'nameservers',
    'targetPorts',
  ]);
  // Absent in files written before ports could differ.
  const ports = new Unique<string>();
  const targetPorts = fields.optionalList('targetPorts', (item, itemPath) => {
    const port = parseTargetPort(item, itemPath);
    ports.take(publishedPortKey(port), `${itemPath}.publishedPort`);
    return port;
  });
  return {
    taskId: fields.id('taskId') as TaskId,
    // Empty for a container that belongs to no service (`docker run` on an attachable network).
    serviceId: (fields.optionalString('serviceId') === undefined ? '' : fields.id('serviceId')) as ServiceId,
    nodeId: fields.id('nodeId') as NodeId,
    ...takeAddressAndMac(fields, owners),
    name: fields.name('name'),
    serving: fields.boolean('serving'),
    weight: fields.optionalInteger('weight', 1, weightMax) ?? defaultWeight,
    // Absent in files written before containers could be attached.
    aliases: fields.raw('aliases') === undefined ? [] : parseNames(fields, 'aliases'),
    nameservers:
      fields.raw('nameservers') === undefined
        ? []
        : fields.list('nameservers', (item, itemPath) => new Fields({ item }, itemPath).ip('item')),
    ...(targetPorts.length > 0 && { targetPorts }),
  };
}

function parseTargetPort(value: unknown, path: string): TargetPort {
  const fields = new Fields(value, path, ['protocol', 'publishedPort', 'targetPort']);
  return {
    protocol: fields.oneOf('protocol', ['tcp', 'udp', 'sctp']),
    publishedPort: fields.integer('publishedPort', 1, portMax),
    targetPort: fields.integer('targetPort', 0, portMax),
  };
}

const parseNames = (fields: Fields, key: string): string[] =>
  fields.list(key, (item, itemPath) => new Fields({ item }, itemPath).name('item'));

export function parseService(value: unknown, path: string, owners: Owners): OverlayService {
  const fields = new Fields(value, path, ['id', 'name', 'aliases', 'vip', 'scheduler', 'affinityS']);
  const service = {
    id: fields.id('id') as ServiceId,
    name: fields.name('name'),
    aliases: parseNames(fields, 'aliases'),
    // Absent in files written before there was a choice.
    scheduler:
      fields.optionalString('scheduler') === undefined
        ? defaultScheduler
        : fields.oneOf('scheduler', schedulers),
    affinityS: fields.optionalInteger('affinityS', 1, affinitySMax) ?? null,
  };
  if (fields.optionalString('vip') === undefined) return service;
  const vip = inSubnets(owners.network, fields.ip('vip'), fields.at('vip'));
  if ((hostNumber(owners.network, vip) ?? 0n) >> BigInt(hostPartBitsMax) !== 0n)
    refuse(
      fields.at('vip'),
      `${vip} is beyond the first 2^${hostPartBitsMax} addresses of ${owners.network.subnet}`,
    );
  owners.addresses.take(vip, fields.at('vip'));
  return { ...service, vip };
}

export function parsePublishedPort(value: unknown, path: string): PublishedPort {
  const fields = new Fields(value, path, [
    'serviceId',
    'protocol',
    'publishedPort',
    'targetPort',
    'interfaces',
    'cidrs',
  ]);
  // Absent in files written before there were limits.
  const interfaces = fields.optionalList('interfaces', (item, at) =>
    new Fields({ [at]: item }, '').interfaceName(at),
  );
  const cidrs = fields.optionalList('cidrs', (item, at) => new Fields({ [at]: item }, '').cidr(at));
  return {
    serviceId: fields.id('serviceId') as ServiceId,
    protocol: fields.oneOf('protocol', ['tcp', 'udp', 'sctp']),
    publishedPort: fields.integer('publishedPort', 1, portMax),
    targetPort: fields.integer('targetPort', 1, portMax),
    ...(interfaces.length > 0 && { interfaces }),
    ...(cidrs.length > 0 && { cidrs }),
  };
}
