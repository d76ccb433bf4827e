/** The addresses that a request wants for an overlay: as they are sent, as they are kept, and what is refused of them. */
import {
  addressBits,
  isIp,
  cidrContains,
  normalizeCidr,
  numberToIp,
  parseCidr,
  parseIp,
} from '../../model/addresses.js';
import type { Cidr, Ip } from '../../model/addresses.js';
import { SkepError, controlApiError } from '../../model/errors.js';
import { hostPartBitsMax } from '../../model/network-laws.js';
import { faultOfNetworkOptions } from '../../model/network-options.js';
import { subnetSize } from '../../model/network-subnets.js';
import type { IpamConfig } from '../../model/objects.js';
import type { Labels } from '../../model/service-spec.js';
import { always, field, labels, list, struct, text } from './convert/codec.js';

/** `IPAM` of a request. */
export interface SentIpam {
  readonly driver: string;
  readonly options: Labels;
  readonly configs: readonly {
    readonly subnet: string;
    readonly range: string;
    readonly gateway: string;
    readonly auxiliaryAddresses: Labels;
  }[];
}

/** What of a network is looked at with its addresses. */
export interface NetworkWithIpam {
  readonly name: string;
  readonly options: Labels;
  readonly ingress: boolean;
  readonly ipam?: SentIpam;
}

export const sentIpam = struct<SentIpam>(
  'IPAM',
  {
    driver: always('Driver', text),
    options: always('Options', labels),
    configs: always(
      'Config',
      list(
        struct<SentIpam['configs'][number]>(
          'IPAMConfig',
          {
            subnet: field('Subnet', text),
            range: field('IPRange', text),
            gateway: field('Gateway', text),
            auxiliaryAddresses: field('AuxiliaryAddresses', labels),
          },
          { package: 'network' },
        ),
      ),
    ),
  },
  { package: 'network' },
);

/** One of them as it is kept. @throws SkepError for a subnet that is none, with the status that the engine's version has */
export function toIpamConfig(config: SentIpam['configs'][number], modern: boolean): IpamConfig {
  const { subnet, range, gateway } = config;
  const auxiliaryAddresses = config.auxiliaryAddresses as Readonly<Record<string, Ip>>;
  try {
    if (subnet !== '') parseCidr(subnet);
  } catch (err) {
    const reason = err instanceof Error ? err.message : String(err);
    throw new SkepError(modern ? 'invalidArgument' : 'unknown', `Invalid subnet ${subnet} : ${reason}`);
  }
  return {
    subnet: subnet as Cidr,
    ...(range === '' ? {} : { range: range as Cidr }),
    ...(gateway === '' ? {} : { gateway: gateway as Ip }),
    ...(Object.keys(auxiliaryAddresses).length === 0 ? {} : { auxiliaryAddresses }),
  };
}

/** Faults as Docker joins errors. */
export const asLines = (faults: readonly string[]): string =>
  faults.length === 1 ? faults.join() : faults.map((fault) => `* ${fault}`).join('\n');

/** Refuses in Swarm's order and words what an overlay cannot have. @param configs as {@link toIpamConfig} gives them */
export function validateIpam(sent: NetworkWithIpam, configs: readonly IpamConfig[]): void {
  const refuse = (message: string): never => {
    throw controlApiError('invalidArgument', message);
  };
  for (const { subnet, range, gateway } of configs) {
    if (subnet === '') return refuse('ipam configuration: invalid subnet ');
    if (range !== undefined) {
      let inside = false;
      try {
        inside =
          cidrContains(subnet, range.split('/')[0] ?? '') &&
          parseCidr(range).prefixLength >= parseCidr(subnet).prefixLength;
      } catch {
        refuse(`ipam configuration: invalid range ${range}`);
      }
      if (!inside) refuse(`ipam configuration: subnet ${subnet} does not contain range ${range}`);
    }
    if (gateway !== undefined) {
      if (!isIp(gateway)) refuse(`ipam configuration: invalid gateway ${gateway}`);
      if (!cidrContains(subnet, gateway))
        refuse(`ipam configuration: subnet ${subnet} does not contain gateway ${gateway}`);
    }
  }
  for (const config of configs) validateAuxiliary(sent.name, config);
  const fault = faultOfNetworkOptions(sent.options);
  if (fault !== undefined) throw new SkepError('unknown', fault);
  const driver = sent.ipam?.driver ?? '';
  if (driver !== '' && driver !== 'default') refuse(`error during lookup of plugin ${driver}`);
  if (configs.some(({ subnet }) => parseCidr(subnet).family === 6))
    throw new SkepError(
      'unimplemented',
      'IPv6 subnets are not supported on overlay networks: give IPv4 subnets only',
    );
  if (configs.length > 1) {
    if (sent.ingress) refuse('ipam configuration: an ingress network has one subnet');
    const addresses = configs.reduce((sum, { subnet }) => sum + subnetSize(normalizeCidr(subnet)), 0n);
    if (addresses > 1n << BigInt(hostPartBitsMax))
      refuse(`ipam configuration: several subnets have at most 2^${hostPartBitsMax} addresses together`);
  }
}

/**
 * Swarm drops these addresses; here they are kept as on a network of one node, and refused in libnetwork's words (recorded
 * from dockerd 20.10.24 with a bridge network).
 */
function validateAuxiliary(network: string, config: IpamConfig): void {
  const { subnet, gateway, auxiliaryAddresses = {} } = config;
  const { base, prefixLength, family } = parseCidr(subnet);
  const hostBits = addressBits(family) - prefixLength;
  if (hostBits === 0 || (family === 4 && hostBits === 1))
    throw new SkepError('unknown', 'failed to allocate gateway (): No available addresses on this pool');
  // Its own, and the broadcast address.
  const last = base + (1n << BigInt(hostBits)) - 1n;
  const taken = new Set<string>(
    [base, ...(family === 4 ? [last] : [])].map((host) => numberToIp(host, family)),
  );
  if (gateway !== undefined) {
    if (taken.has(parseIp(gateway)))
      throw new SkepError('unknown', `failed to allocate gateway (${gateway}): Address already in use`);
    taken.add(parseIp(gateway));
  }
  for (const [name, address] of Object.entries(auxiliaryAddresses)) {
    if (!isIp(address))
      throw new SkepError(
        'unknown',
        `non parsable secondary ip address (${name}:${address}) passed for network ${network}`,
      );
    if (!cidrContains(subnet, address))
      throw new SkepError(
        'permissionDenied',
        `auxiliary address: (${name}:${address}) must belong to the master pool: ${normalizeCidr(subnet)}`,
      );
    if (taken.has(parseIp(address)))
      throw new SkepError(
        'unknown',
        `failed to allocate secondary ip address (${name}:${address}): Address already in use`,
      );
    taken.add(parseIp(address));
  }
}
