/**
 * What leads from one state of a node to a later one, where they differ in endpoints, services and published ports: what is
 * said to skep-dataplane and kept on its disk of a change, so that neither grows with what stays. Pure.
 */
import assert from 'node:assert';
import { isDeepStrictEqual } from 'node:util';
import type { NetworkId, NodeId } from '../model/ids.js';
import type { Items } from '../runtime/keyed-list.js';
import { difference, KeyedList } from '../runtime/keyed-list.js';
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
 * see share-state.ts.
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

/** The item of that key. Costs a look-up in a list that knows its keys. */
export const itemAt = <T>(items: Items<T>, keyOf: (item: T) => string, key: string): T | undefined =>
  KeyedList.of(items, keyOf).get(key);

function itemsBetween<T>(
  before: Items<T>,
  after: Items<T>,
  keyOf: (item: T) => string,
): { put: readonly T[]; removed: readonly string[] } {
  const { gone, come } = difference(before, after);
  const put = new Set(come.map(keyOf));
  return { put: come, removed: gone.map(keyOf).filter((key) => !put.has(key)) };
}

const withItems = <T>(
  items: Items<T>,
  keyOf: (item: T) => string,
  put: readonly T[],
  removed: readonly string[],
): Items<T> => (put.length + removed.length === 0 ? items : KeyedList.of(items, keyOf).with(put, removed));
