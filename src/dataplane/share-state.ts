/**
 * Gives a state the parts of an older one that are equal by content, so that what differs between two values is found by
 * identity ({@link difference}) and costs no look at what is alike. Pure; the result equals `next`.
 */
import { isDeepStrictEqual } from 'node:util';
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
    publishedPorts: shareItems(held.publishedPorts, next.publishedPorts, publishedPortKey),
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
    endpoints: shareItems(held.endpoints, next.endpoints, ({ taskId }) => taskId),
    services: shareItems(held.services, next.services, ({ id }) => id),
  };
  return isDeepStrictEqual(held, shared) ? held : shared;
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

/** What one list has and the other has not, by identity. */
export interface Difference<T> {
  readonly gone: readonly T[];
  readonly come: readonly T[];
}

/** Cost: a look at each item's identity, and a set of what lies between the first and the last that differ. */
export function difference<T>(before: readonly T[], after: readonly T[]): Difference<T> {
  if (before === after) return { gone: [], come: [] };
  let first = 0;
  while (first < before.length && first < after.length && before[first] === after[first]) first += 1;
  let [beforeEnd, afterEnd] = [before.length, after.length];
  while (beforeEnd > first && afterEnd > first && before[beforeEnd - 1] === after[afterEnd - 1]) {
    beforeEnd -= 1;
    afterEnd -= 1;
  }
  const gone = new Set(before.slice(first, beforeEnd));
  const come = after.slice(first, afterEnd).filter((item) => !gone.delete(item));
  return { gone: [...gone], come };
}
