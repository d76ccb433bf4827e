/**
 * Gives a state the parts of an older one that are equal by content, so that what differs between two values is found by
 * identity (runtime/keyed-list.ts) and costs no look at what is alike. Pure; the result equals `next`.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Items } from '../runtime/keyed-list.js';
import { KeyedList } from '../runtime/keyed-list.js';
import { endpointKey, serviceKey } from './state-change.js';
import { publishedPortKey } from './state.js';
import type { NodeNetworkState, Overlay } from './state.js';

/** Cost: one comparison by content of everything; once a whole value, not once a change. */
export function shareState(held: NodeNetworkState | null, next: NodeNetworkState): NodeNetworkState {
  if (held === null || held === next) return next;
  const overlays = new Map(held.overlays.map((overlay) => [overlay.id, overlay]));
  const shared: NodeNetworkState = {
    ...next,
    overlays: shareList(
      held.overlays,
      next.overlays.map((overlay) => shareOverlay(overlays.get(overlay.id), overlay)),
    ),
    publishedPorts: shareKeyed(held.publishedPorts, next.publishedPorts, publishedPortKey),
    encryptionKeys:
      next.encryptionKeys &&
      shareItems(held.encryptionKeys ?? [], next.encryptionKeys, ({ sequence }) => String(sequence)),
  };
  return isDeepStrictEqual(held, shared) ? held : shared;
}

function shareOverlay(held: Overlay | undefined, next: Overlay): Overlay {
  if (held === undefined) return next;
  const shared: Overlay = {
    ...next,
    peers: shareItems(held.peers, next.peers, ({ nodeId }) => nodeId),
    endpoints: shareKeyed(held.endpoints, next.endpoints, endpointKey),
    services: shareKeyed(held.services, next.services, serviceKey),
  };
  return isDeepStrictEqual(held, shared) ? held : shared;
}

function shareKeyed<T>(held: Items<T>, next: Items<T>, key: (item: T) => string): Items<T> {
  const items = [...held];
  const shared = shareItems(items, [...next], key);
  return shared === items ? held : KeyedList.of(shared, key);
}

function shareItems<T>(held: readonly T[], next: readonly T[], key: (item: T) => string): readonly T[] {
  let known: ReadonlyMap<string, T> | undefined;
  const shared = next.map((item, index) => {
    // Mostly nothing has moved.
    const beside = held[index];
    if (beside !== undefined && key(beside) === key(item))
      return isDeepStrictEqual(beside, item) ? beside : item;
    known ??= new Map(held.map((one) => [key(one), one]));
    const before = known.get(key(item));
    return before !== undefined && isDeepStrictEqual(before, item) ? before : item;
  });
  return shareList(held, shared);
}

const shareList = <T>(held: readonly T[], next: readonly T[]): readonly T[] =>
  held.length === next.length && next.every((item, index) => item === held[index]) ? held : next;
