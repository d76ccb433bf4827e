/** Where the engine's API has the address that an endpoint is to have: under a name for each family. */
import { familyOf } from '../../model/addresses.js';

export interface IpamConfig {
  readonly IPv4Address?: string;
  readonly IPv6Address?: string;
}

export const ipamMember = (address: string): keyof IpamConfig =>
  familyOf(address) === 4 ? 'IPv4Address' : 'IPv6Address';

export const ipamConfigOf = (address: string): IpamConfig => ({ [ipamMember(address)]: address });

/** '' where none is asked for. */
export const ipamAddress = (config: IpamConfig | null | undefined): string =>
  (config?.IPv4Address ?? '') || (config?.IPv6Address ?? '');
