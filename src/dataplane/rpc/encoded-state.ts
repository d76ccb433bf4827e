/**
 * A whole state as the octets of its message, endpoints some hundreds at a time. As one value to be encoded, a hundred thousand of them
 * took ten times as much memory for a moment as they are octets, which a daemon keeps for long after. Pure.
 */
import { toStateMessage } from '../parse-state.js';
import type { Endpoint, NodeNetworkState, Overlay } from '../state.js';

/** What one call encodes. */
const endpointsAtATime = 256;
/** NodeNetworkState.overlays, with a length. */
const overlaysTag = 0x32;

/** @param encode octets of a message of NodeNetworkState, or of some of its fields */
export function encodeState(state: NodeNetworkState, encode: (message: object) => Buffer): Buffer {
  const { overlays, ...head } = toStateMessage({
    ...state,
    overlays: state.overlays.map((overlay) => ({ ...overlay, endpoints: [] })),
  });
  const pieces = [encode(head)];
  for (const [index, message] of overlays.entries()) {
    const fields = [bodyOf(encode({ overlays: [message] }))];
    for (const endpoints of groupsOf(state.overlays[index]))
      fields.push(bodyOf(encode({ overlays: [{ endpoints }] })));
    const bytes = fields.reduce((sum, { length }) => sum + length, 0);
    pieces.push(Buffer.from([overlaysTag, ...varint(bytes)]), ...fields);
  }
  return Buffer.concat(pieces);
}

function* groupsOf(overlay: Overlay | undefined): Generator<readonly Endpoint[], void> {
  const all = [...(overlay?.endpoints ?? [])];
  for (let i = 0; i < all.length; i += endpointsAtATime) yield all.slice(i, i + endpointsAtATime);
}

/** Of a message that is one overlay: what is behind tag and length. */
function bodyOf(message: Buffer): Buffer {
  let at = 1;
  while ((message[at] ?? 0) >= 0x80) at += 1;
  return message.subarray(at + 1);
}

/** Seven bits an octet, the lowest first; all octets but the last have their highest bit set. */
function varint(value: number): number[] {
  const octets: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) octets.push((rest % 0x80) | 0x80);
  return [...octets, rest];
}
