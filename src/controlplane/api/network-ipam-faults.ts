/** What 28 finds wrong with the addresses that a network is to have: all of it at once, in its words. Pure. */
import { cidrContains, cidrsOverlap, familyOf, isIp, parseCidr } from '../../model/addresses.js';
import type { ParsedCidr } from '../../model/addresses.js';
import { formatCidr } from '../../model/addresses.js';

export interface SentIpamConfig {
  readonly subnet: string;
  readonly range: string;
  readonly gateway: string;
  readonly auxiliaryAddresses: Readonly<Record<string, string>>;
}

/** Empty: nothing is wrong. */
export function faultsOfIpam(configs: readonly SentIpamConfig[], ipv6: boolean): string[] {
  return configs.flatMap((config) => {
    const subnet = parsed(config.subnet);
    // None is chosen by the cluster.
    if (!subnet)
      return config.subnet === '' ? [] : [`invalid subnet ${config.subnet}: invalid CIDR block notation`];
    if (subnet.family === 6 && !ipv6) return [];
    const address = (of: string, text: string): string[] => {
      const fault = text === '' ? undefined : faultOfAddress(text, subnet);
      return fault === undefined ? [] : [`invalid ${of}: ${fault}`];
    };
    return [
      ...faultOfHostBits('subnet', config.subnet, subnet),
      ...faultsOfRange(config.range, subnet),
      ...address(`gateway ${config.gateway}`, config.gateway),
      ...Object.entries(config.auxiliaryAddresses).flatMap(([name, text]) =>
        address(`auxiliary address ${name}`, text),
      ),
    ];
  });
}

function parsed(text: string): ParsedCidr | undefined {
  try {
    return parseCidr(text);
  } catch {
    return undefined;
  }
}

const faultOfHostBits = (of: string, text: string, cidr: ParsedCidr): string[] =>
  cidr.address === cidr.base ? [] : [`invalid ${of} ${text}: it should be ${formatCidr(cidr)}`];

function faultsOfRange(text: string, subnet: ParsedCidr): string[] {
  if (text === '') return [];
  const range = parsed(text);
  const parent = `parent subnet ${formatCidr(subnet)}`;
  const fault = (what: string): string => `invalid ip-range ${text}: ${what}`;
  if (!range) return [fault('invalid CIDR block notation')];
  if (range.family !== subnet.family) return [fault(`parent subnet is an IPv${subnet.family} block`)];
  return [
    ...(range.prefixLength < subnet.prefixLength ? [fault(`CIDR block is bigger than its ${parent}`)] : []),
    ...faultOfHostBits('ip-range', text, range),
    ...(cidrsOverlap(text, formatCidr(subnet)) ? [] : [fault(`${parent} doesn't contain ip-range`)]),
  ];
}

function faultOfAddress(text: string, subnet: ParsedCidr): string | undefined {
  if (!isIp(text)) return 'invalid address';
  if (familyOf(text) !== subnet.family) return `parent subnet is an IPv${subnet.family} block`;
  const parent = formatCidr(subnet);
  return cidrContains(parent, text) ? undefined : `parent subnet ${parent} doesn't contain this address`;
}
