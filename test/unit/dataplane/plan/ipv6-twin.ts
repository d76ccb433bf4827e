/**
 * The IPv6 twin of values that were written with IPv4's addresses: each address becomes one of the same host part, each network one of
 * as many addresses, so that twins are planned alike but for what the families themselves have differently.
 */
import { KeyedList } from '../../../../src/runtime/keyed-list.js';
import type { Cidr, Ip } from '../../../../src/model/addresses.js';
import {
  cidrContains,
  formatCidr,
  ipToNumber,
  loopbackNetworks,
  numberToIp,
  parseCidr,
} from '../../../../src/model/addresses.js';
import { defaultAliasRanges } from '../../../../src/model/network-laws.js';
import { endpointKey, serviceKey } from '../../../../src/dataplane/state-change.js';
import type { NodeNetworkState, PublishedPort } from '../../../../src/dataplane/state.js';
import { publishedPortKey } from '../../../../src/dataplane/state.js';
import type { KernelObject } from '../../../../src/dataplane/plan/objects.js';
import { engineResolver, mirrorAddresses, nameAddress } from '../../../../src/dataplane/plan/names.js';
import type { SandboxEndpoint } from '../../../../src/dataplane/sandbox.js';

/** What has no twin by arithmetic. */
const named = new Map<string, string>([
  ['0.0.0.0/0', '::/0'],
  ['0.0.0.0/1', '::/1'],
  ['128.0.0.0/1', '8000::/1'],
  [loopbackNetworks[4], loopbackNetworks[6]],
  [mirrorAddresses[4], mirrorAddresses[6]],
  // IPv4's whatever the container's overlays have.
  [engineResolver, engineResolver],
  [nameAddress, nameAddress],
]);

function twinOfIp(text: string): Ip {
  const known = named.get(text);
  if (known !== undefined) return known as Ip;
  const value = ipToNumber(text);
  const base = cidrContains(defaultAliasRanges[4], text)
    ? parseCidr(defaultAliasRanges[6]).base - parseCidr(defaultAliasRanges[4]).base
    : ipToNumber('fd00::');
  return numberToIp(base + value, 6);
}

function twinOfCidr(text: string): Cidr {
  const known = named.get(text);
  if (known !== undefined) return known as Cidr;
  const { base, prefixLength } = parseCidr(text);
  return formatCidr({
    family: 6,
    base: ipToNumber(twinOfIp(numberToIp(base, 4))),
    prefixLength: 96 + prefixLength,
  });
}

const ipv4 = /(?<![\w.])\d+\.\d+\.\d+\.\d+(\/\d+)?(?![\w.])/g;

/** Names of sets that are of one family. */
const addressSets = /\bskep-(vip|sctp|addresses|loopback|if-)/g;

/** A text with all addresses in it replaced, and what is named by their family. */
export const twinOfText = (text: string): string =>
  text
    .replace(ipv4, (found) => (found.includes('/') ? twinOfCidr(found) : twinOfIp(found)))
    .replace(addressSets, 'skep-v6-$1');

/** Any plain value. */
function twinOf(value: unknown): unknown {
  if (typeof value === 'string') return twinOfText(value);
  if (Array.isArray(value)) return value.map(twinOf);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, twinOf(one)]));
}

export const twinOfState = (state: NodeNetworkState): NodeNetworkState => ({
  ...(twinOf({ ...state, overlays: [], publishedPorts: [], encryptionKeys: null }) as NodeNetworkState),
  encryptionKeys: state.encryptionKeys,
  overlays: state.overlays.map((overlay) => ({
    ...(twinOf({ ...overlay, endpoints: [], services: [] }) as typeof overlay),
    endpoints: KeyedList.of(twinOf([...overlay.endpoints]) as never, endpointKey),
    services: KeyedList.of(twinOf([...overlay.services]) as never, serviceKey),
  })),
  publishedPorts: KeyedList.of(twinOf([...state.publishedPorts]) as PublishedPort[], publishedPortKey),
});

export const twinOfSandboxes = (sandboxes: readonly SandboxEndpoint[]): SandboxEndpoint[] =>
  twinOf([...sandboxes]) as SandboxEndpoint[];

/** Of what a namespace holds, or is to hold. */
export function twinOfObject(object: KernelObject): KernelObject {
  const twin = twinOf(object) as KernelObject;
  if ('family' in twin && twin.family === 4) return { ...twin, family: 6 };
  // Addresses' host parts are as long as before.
  return twin.kind === 'address' ? { ...twin, prefixLength: 96 + twin.prefixLength } : twin;
}
