/**
 * IpamDriver of the libnetwork remote protocol. It allocates nothing: addresses come from the cluster's allocator, the
 * engine hands the wanted one in, and this driver says yes if it lies in the pool. So it keeps no state, needs no
 * replay, and one pool may serve several networks (overlays may overlap).
 */
import {
  addressBits,
  cidrContains,
  formatCidr,
  normalizeCidr,
  numberToIp,
  parseCidr,
} from '../../model/addresses.js';
import type { Cidr, Ip } from '../../model/addresses.js';
import { SkepError } from '../../model/errors.js';
import { Fields, refuse } from '../parse-fields.js';
import { requestFields } from './request.js';

const localSpace = 'skep-local';
const globalSpace = 'skep-global';
/** A pool's id is its subnet, so that it means the same after a restart. */
const poolIdPrefix = 'skep/';
/** RequestAddress' option for a network's gateway: netlabel.Gateway under ipamapi.RequestAddressType. */
const addressTypeOption = 'RequestAddressType';
const gatewayType = 'com.docker.network.gateway';

/** The driver's methods by the name in the URL. Each checks its request and throws SkepError. */
export const ipamDriver: Readonly<Record<string, (request: unknown) => object>> = {
  'IpamDriver.GetCapabilities': () => ({ RequiresMACAddress: false, RequiresRequestReplay: false }),
  'IpamDriver.GetDefaultAddressSpaces': () => ({
    LocalDefaultAddressSpace: localSpace,
    GlobalDefaultAddressSpace: globalSpace,
  }),
  'IpamDriver.RequestPool': requestPool,
  'IpamDriver.ReleasePool': () => ({}),
  'IpamDriver.RequestAddress': requestAddress,
  'IpamDriver.ReleaseAddress': () => ({}),
};

function requestPool(request: unknown): object {
  const fields = requestFields(request);
  const pool = fields.optionalString('Pool');
  if (pool === undefined)
    throw new SkepError(
      'invalidArgument',
      'a network of driver skep needs the subnet of its overlay: skep chooses no subnet by itself',
    );
  const subnet = normalizeCidr(pool);
  const sub = fields.optionalString('SubPool');
  if (sub !== undefined && !containsCidr(subnet, sub)) refuse('SubPool', `${sub} is not in ${subnet}`);
  return { PoolID: `${poolIdPrefix}${subnet}`, Pool: subnet, Data: {} };
}

function requestAddress(request: unknown): object {
  const fields = requestFields(request);
  const subnet = poolSubnet(fields);
  const { prefixLength } = parseCidr(subnet);
  const wanted = fields.optionalString('Address');
  const address = wanted === undefined ? firstForGateway(fields, subnet) : fields.ip('Address');
  if (!cidrContains(subnet, address)) refuse('Address', `${address} is not in ${subnet}`);
  return { Address: `${address}/${prefixLength}`, Data: {} };
}

function poolSubnet(fields: Fields): Cidr {
  const id = fields.string('PoolID');
  if (!id.startsWith(poolIdPrefix)) refuse('PoolID', `${JSON.stringify(id)} is no pool of skep`);
  return normalizeCidr(id.slice(poolIdPrefix.length));
}

/** The engine asks for a gateway where the network was made without one; it is written down and never used. */
function firstForGateway(fields: Fields, subnet: Cidr): Ip {
  const options = fields.raw('Options');
  const type = options ? new Fields(options, 'Options').optionalString(addressTypeOption) : undefined;
  const { base, family, prefixLength } = parseCidr(subnet);
  if (type === gatewayType && prefixLength < addressBits(family)) return numberToIp(base + 1n, family);
  throw new SkepError(
    'invalidArgument',
    'skep chooses no address by itself: connect the container with the address that the cluster allocated to it',
  );
}

function containsCidr(outer: Cidr, inner: string): boolean {
  const { family, base, prefixLength } = parseCidr(inner);
  return (
    prefixLength >= parseCidr(outer).prefixLength &&
    cidrContains(outer, numberToIp(base, family)) &&
    normalizeCidr(inner) === formatCidr({ family, base, prefixLength })
  );
}
