/**
 * What leads from one state of a node to a later one, where they differ in endpoints, services and published ports: what is
 * said to skep-dataplane and kept on its disk of a change, so that neither grows with what stays. Pure.
 */
import assert from 'node:assert';
import { isDeepStrictEqual } from 'node:util';
import type { NetworkId, NodeId } from '../model/ids.js';
import { difference } from './share-state.js';
import type { Endpoint, NodeNetworkState, Overlay, OverlayService, PublishedPort } from './state.js';
import { publishedPortKey } from './state.js';

export interface StateChange {
  readonly nodeId: NodeId;
  /** Of the state that it changes. */
  readonly baseRevision: number;
  /** Of the state that it makes. */
  readonly revision: number;
  readonly overlays: readonly OverlayChange[];
  readonly publishedPorts: readonly PublishedPort[];
  /** By {@link publishedPortKey}. */
  readonly removedPorts: readonly string[];
}

/** Of an overlay that is in both states; what is given replaces what has the same id. */
export interface OverlayChange {
  readonly id: NetworkId;
  readonly endpoints: readonly Endpoint[];
  /** Ids of their tasks. */
  readonly removedEndpoints: readonly string[];
  readonly services: readonly OverlayService[];
  readonly removedServices: readonly string[];
}

export const endpointKey = ({ taskId }: Endpoint): string => taskId;
export const serviceKey = ({ id }: OverlayService): string => id;

/**
 * What leads from `before` to `after`; null when they differ in more than a change can say. What is alike is found by identity:
 * see {@link shareState}.
 */
export function changeBetween(before: NodeNetworkState, after: NodeNetworkState): StateChange | null {
  if (!isDeepStrictEqual(headOfState(before), headOfState(after))) return null;
  if (before.overlays.length !== after.overlays.length) return null;
  const overlays: OverlayChange[] = [];
  for (const [index, overlay] of after.overlays.entries()) {
    const was = before.overlays[index];
    if (was === overlay) continue;
    if (was === undefined || !isDeepStrictEqual(withoutItems(was), withoutItems(overlay))) return null;
    const endpoints = itemsBetween(was.endpoints, overlay.endpoints, endpointKey);
    const services = itemsBetween(was.services, overlay.services, serviceKey);
    overlays.push({
      id: overlay.id,
      endpoints: endpoints.put,
      removedEndpoints: endpoints.removed,
      services: services.put,
      removedServices: services.removed,
    });
  }
  const ports = itemsBetween(before.publishedPorts, after.publishedPorts, publishedPortKey);
  return {
    nodeId: after.nodeId,
    baseRevision: before.revision,
    revision: after.revision,
    overlays,
    publishedPorts: ports.put,
    removedPorts: ports.removed,
  };
}

/** The state that a change of `state` makes; what is not changed is the same. The overlays named in it must be there. */
export function applyStateChange(state: NodeNetworkState, change: StateChange): NodeNetworkState {
  const changes = new Map(change.overlays.map((one) => [one.id, one]));
  const overlays = state.overlays.map((overlay) => {
    const one = changes.get(overlay.id);
    if (one === undefined) return overlay;
    changes.delete(overlay.id);
    return {
      ...overlay,
      endpoints: withItems(overlay.endpoints, endpointKey, one.endpoints, one.removedEndpoints),
      services: withItems(overlay.services, serviceKey, one.services, one.removedServices),
    };
  });
  assert(changes.size === 0, 'a change is of overlays that are there');
  const { publishedPorts, removedPorts, revision } = change;
  return {
    ...state,
    revision,
    overlays,
    publishedPorts: withItems(state.publishedPorts, publishedPortKey, publishedPorts, removedPorts),
  };
}

/** True when nothing but the revision may be another. */
export const isEmpty = ({ overlays, publishedPorts, removedPorts }: StateChange): boolean =>
  overlays.length + publishedPorts.length + removedPorts.length === 0;

/** The state's own fields: what everything of a node hangs on. */
export const headOfState = (state: NodeNetworkState): NodeNetworkState => ({
  ...state,
  revision: 0,
  overlays: [],
  publishedPorts: [],
});

/** An overlay as such, with its peers. */
export const withoutItems = (overlay: Overlay): Overlay => ({ ...overlay, endpoints: [], services: [] });

/** The item of that key in a list that is ordered by it. */
export function itemAt<T>(items: readonly T[], keyOf: (item: T) => string, key: string): T | undefined {
  const item = items[placeOf(items, keyOf, key)];
  return item !== undefined && keyOf(item) === key ? item : undefined;
}

/** The list ordered by key, itself if it is so already. */
export function inOrder<T>(items: readonly T[], keyOf: (item: T) => string): readonly T[] {
  for (let i = 1; i < items.length; i++)
    if (keyOf(items[i - 1] as T) > keyOf(items[i] as T))
      return [...items].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  return items;
}

function itemsBetween<T>(
  before: readonly T[],
  after: readonly T[],
  keyOf: (item: T) => string,
): { put: readonly T[]; removed: readonly string[] } {
  const { gone, come } = difference(before, after);
  const put = new Set(come.map(keyOf));
  return { put: come, removed: gone.map(keyOf).filter((key) => !put.has(key)) };
}

function withItems<T>(
  items: readonly T[],
  keyOf: (item: T) => string,
  put: readonly T[],
  removed: readonly string[],
): readonly T[] {
  if (put.length === 0 && removed.length === 0) return items;
  const changed = [...items];
  for (const item of put) {
    const key = keyOf(item);
    const place = placeOf(changed, keyOf, key);
    const there = changed[place];
    changed.splice(place, there !== undefined && keyOf(there) === key ? 1 : 0, item);
  }
  for (const key of removed) {
    const place = placeOf(changed, keyOf, key);
    const there = changed[place];
    if (there !== undefined && keyOf(there) === key) changed.splice(place, 1);
  }
  return changed;
}

/** Of the first item whose key is not less. */
function placeOf<T>(items: readonly T[], keyOf: (item: T) => string, key: string): number {
  let [from, to] = [0, items.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    if (keyOf(items[middle] as T) < key) from = middle + 1;
    else to = middle;
  }
  return from;
}
