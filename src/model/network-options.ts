/** Driver options of overlay networks that Skep understands, by Docker's names. All others are kept and shown. */
import { mtuBytesMax, mtuBytesMin, vniClass, vniMax } from './network-laws.js';
import type { Vni } from './ids.js';
import type { Labels } from './service-spec.js';

/** VNIs that the user pins: a comma-separated list, of which the one subnet takes the first. Also how the VNI is shown. */
export const vniOptionName = 'com.docker.network.driver.overlay.vxlanid_list';
/** What the underlay carries in one packet, in bytes; 0: as much as its device. */
export const mtuOptionName = 'com.docker.network.driver.mtu';

/** The pinned VNI; undefined: none is (0 pins none either), or what is written is none (see {@link faultOfNetworkOptions}). */
export function pinnedVni(options: Labels): Vni | undefined {
  const [first = ''] = options[vniOptionName]?.split(',') ?? [];
  const vni = Number(first);
  return /^\d+$/.test(first) && vni <= vniMax && vniClass(vni) !== 0 ? (vni as Vni) : undefined;
}

/** The MTU option's value in bytes; null: the underlay device decides. */
export function mtuOption(options: Labels): number | null {
  const mtuBytes = Number(options[mtuOptionName] ?? 0);
  return mtuBytes >= mtuBytesMin && mtuBytes <= mtuBytesMax ? mtuBytes : null;
}

/** Why the options cannot be, in the words of Docker's overlay driver; undefined: they can. */
export function faultOfNetworkOptions(options: Labels): string | undefined {
  for (const text of options[vniOptionName]?.split(',') ?? []) {
    if (!/^\d+$/.test(text) || Number(text) > vniMax)
      return `invalid vxlan id value ${JSON.stringify(text)} passed`;
    if (Number(text) !== 0 && vniClass(Number(text)) === 0)
      return `vxlan id ${text} cannot be used: its low 16 bits are 0`;
  }
  const mtu = options[mtuOptionName];
  if (mtu === undefined) return undefined;
  if (!/^[+-]?\d+$/.test(mtu))
    return `failed to parse ${mtu}: strconv.Atoi: parsing ${JSON.stringify(mtu)}: invalid syntax`;
  if (Number(mtu) !== 0 && mtuOption(options) === null) return `invalid MTU value: ${Number(mtu)}`;
  return undefined;
}
