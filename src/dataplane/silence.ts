/**
 * What the silence of nodes means to a state: endpoints on nodes that give no sign of life (liveness/) take no new flows, as those
 * that drain, for as long as somebody else takes them. Where nobody else is left they all stay: a verdict that is wrong, or a node
 * that is cut off itself, leaves no service with nobody. Pure; told of by the state that is planned from, never by the one that
 * the agent hands over, nor on disk.
 */
import type { NetworkId, NodeId } from '../model/ids.js';
import type { Items } from '../runtime/keyed-list.js';
import { difference, KeyedList } from '../runtime/keyed-list.js';
import { endpointKey } from './state-change.js';
import type { Endpoint, NodeNetworkState, Overlay } from './state.js';

/** Of the endpoints behind one name or frontend those that take new flows. */
export function takersOf(endpoints: readonly Endpoint[]): readonly Endpoint[] {
  const serving = endpoints.filter(({ serving }) => serving);
  const heard = serving.filter(({ silent }) => silent !== true);
  return heard.length > 0 ? heard : serving;
}

/** An overlay as it was marked last. */
interface Marked {
  readonly of: Overlay;
  readonly silent: ReadonlySet<NodeId>;
  readonly overlay: Overlay;
}

/**
 * Marks the endpoints of silent nodes, state after state: what is alike in two of them is the same object in the results. Costs
 * what differs between the states; once a change of the silence a look at every endpoint.
 */
export class SilenceMarks {
  readonly #overlays = new Map<NetworkId, Marked>();
  readonly #endpoints = new WeakMap<Endpoint, Endpoint>();
  #last: { readonly of: NodeNetworkState; readonly marked: NodeNetworkState } | null = null;

  /** The state with the endpoints of those nodes marked; the state itself while nobody is silent. */
  mark(state: NodeNetworkState | null, silent: ReadonlySet<NodeId>): NodeNetworkState | null {
    if (state === null || silent.size === 0) {
      this.#overlays.clear();
      this.#last = null;
      return state;
    }
    const overlays = state.overlays.map((overlay) => this.#overlay(overlay, silent));
    const last = this.#last;
    if (last?.of === state && overlays.every((overlay, index) => overlay === last.marked.overlays[index]))
      return last.marked;
    const ids = new Set(state.overlays.map(({ id }) => id));
    for (const id of this.#overlays.keys()) if (!ids.has(id)) this.#overlays.delete(id);
    const marked = { ...state, overlays };
    this.#last = { of: state, marked };
    return marked;
  }

  #overlay(overlay: Overlay, silent: ReadonlySet<NodeId>): Overlay {
    const held = this.#overlays.get(overlay.id);
    if (held?.of === overlay && held.silent === silent) return held.overlay;
    const endpoints =
      held?.silent === silent
        ? this.#follow(held, overlay.endpoints, silent)
        : this.#withMarks(overlay.endpoints, silent);
    const marked = { ...overlay, endpoints };
    this.#overlays.set(overlay.id, { of: overlay, silent, overlay: marked });
    return marked;
  }

  /** What has changed since, over what is marked already. */
  #follow({ of, overlay }: Marked, endpoints: Items<Endpoint>, silent: ReadonlySet<NodeId>): Items<Endpoint> {
    const { gone, come } = difference(of.endpoints, endpoints);
    const keys = new Set(come.map(endpointKey));
    const removed = gone.map(endpointKey).filter((key) => !keys.has(key));
    const put = come.map((endpoint) => (silent.has(endpoint.nodeId) ? this.#marked(endpoint) : endpoint));
    return KeyedList.of(overlay.endpoints, endpointKey).with(put, removed);
  }

  #withMarks(endpoints: Items<Endpoint>, silent: ReadonlySet<NodeId>): Items<Endpoint> {
    const marks = endpoints.filter(({ nodeId }) => silent.has(nodeId)).map((one) => this.#marked(one));
    return marks.length === 0 ? endpoints : KeyedList.of(endpoints, endpointKey).with(marks, []);
  }

  #marked(endpoint: Endpoint): Endpoint {
    const known = this.#endpoints.get(endpoint);
    if (known) return known;
    const marked: Endpoint = { ...endpoint, silent: true };
    this.#endpoints.set(endpoint, marked);
    return marked;
  }
}
