/** How large a packet an overlay carries. */
import { familyOf } from '../../model/addresses.js';
import type { Family } from '../../model/addresses.js';
import type { NodeNetworkState, Overlay } from '../state.js';
import { espMtuBytes } from './esp.js';

/** Outer Ethernet 14, IP 20 or 40, UDP 8, VXLAN 8. */
export const vxlanOverheadBytes = (family: Family): number => 14 + (family === 4 ? 20 : 40) + 8 + 8;

/**
 * The MTU of every device of the overlay, inside containers too. The option names the underlay's MTU, as in Swarm, and not
 * the overlay's own.
 * @param underlayMtuBytes of the device that holds the VTEP
 */
export const overlayMtuBytes = (
  state: Pick<NodeNetworkState, 'vtep'>,
  overlay: Pick<Overlay, 'underlayMtuBytes' | 'encrypted'>,
  underlayMtuBytes: number,
): number => {
  const mtuBytes = (overlay.underlayMtuBytes ?? underlayMtuBytes) - vxlanOverheadBytes(familyOf(state.vtep));
  return overlay.encrypted ? espMtuBytes(mtuBytes) : mtuBytes;
};
