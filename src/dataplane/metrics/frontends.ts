/**
 * Whose a virtual server of the kernel is: frontends by scope and mark, with the labels of their metrics, and how many endpoints each
 * service has. Made of a state once, for as long as that stands: a scrape each second must not look at every endpoint of a cluster. Pure.
 */
import type { Family } from '../../model/addresses.js';
import { familyOf } from '../../model/addresses.js';
import type { ServiceId, Vni } from '../../model/ids.js';
import type { Endpoint, NodeNetworkState, Overlay } from '../state.js';
import { publishedPortKey, publishedPortMark, vipMark } from '../state.js';

export interface FrontendLabels {
  readonly service: string;
  readonly network: string;
  /** `tcp/8080`, or the VIP. */
  readonly frontend: string;
  // As all labels.
  readonly [label: string]: string;
}

export interface LabelledFrontend {
  readonly labels: FrontendLabels;
  /** Replies pass the balancer. */
  readonly countsReplies: boolean;
}

/** Endpoints of one service on one network. */
export interface EndpointCounts {
  readonly service: string;
  readonly network: string;
  readonly serving: number;
  readonly draining: number;
  readonly silent: number;
}

/** One namespace with virtual servers; vni null is the host, where published ports are. */
export interface LabelledScope {
  readonly vni: Vni | null;
  /** By {@link serverKey}. */
  readonly frontends: ReadonlyMap<string, LabelledFrontend>;
}

export interface Labelled {
  readonly scopes: readonly LabelledScope[];
  readonly endpoints: readonly EndpointCounts[];
}

export const serverKey = (family: Family, mark: number): string => `${family} ${mark}`;

/** Scopes in which nothing can be programmed, as no service has a task there, are left out. @param state with the silent marked */
export function labelledFrontends(state: NodeNetworkState): Labelled {
  const scopes: LabelledScope[] = [];
  const endpoints: EndpointCounts[] = [];
  for (const overlay of state.overlays) {
    const counts = countEndpoints(overlay);
    const names = namesOf(state, overlay);
    const nameOf = (id: ServiceId): string => names.get(id) ?? id;
    for (const [id, of] of counts)
      // Containers of users are of no service.
      if (names.has(id)) endpoints.push({ service: nameOf(id), network: overlay.name, ...of });
    const frontends = overlay.ingress ? ports(state, overlay, nameOf) : vips(overlay, counts);
    if (frontends.size > 0 && counts.size > 0)
      scopes.push({ vni: overlay.ingress ? null : overlay.vni, frontends });
  }
  return { scopes, endpoints };
}

const ports = (
  state: NodeNetworkState,
  { name: network, subnet }: Overlay,
  nameOf: (id: ServiceId) => string,
): Map<string, LabelledFrontend> =>
  new Map(
    state.publishedPorts.map((port) => [
      serverKey(familyOf(subnet), publishedPortMark(port.protocol, port.publishedPort)),
      {
        labels: { service: nameOf(port.serviceId), network, frontend: publishedPortKey(port) },
        countsReplies: true,
      },
    ]),
  );

const vips = (overlay: Overlay, counts: ReadonlyMap<ServiceId, unknown>): Map<string, LabelledFrontend> =>
  new Map(
    overlay.services.flatMap(({ id, name, vip }): [string, LabelledFrontend][] =>
      // What no task is behind is not programmed.
      vip === undefined || !counts.has(id)
        ? []
        : [
            [
              serverKey(familyOf(vip), vipMark(overlay, vip)),
              { labels: { service: name, network: overlay.name, frontend: vip }, countsReplies: false },
            ],
          ],
    ),
  );

/** A state kept from before services on ingress were told of names none of them: their other networks do. */
function namesOf({ overlays }: NodeNetworkState, overlay: Overlay): ReadonlyMap<ServiceId, string> {
  const among = overlay.ingress ? [...overlays.filter((one) => one !== overlay), overlay] : [overlay];
  return new Map(among.flatMap(({ services }) => services.map(({ id, name }) => [id, name] as const)));
}

type Counts = { -readonly [state in 'serving' | 'draining' | 'silent']: number };

function countEndpoints({ endpoints }: Overlay): ReadonlyMap<ServiceId, Counts> {
  const counts = new Map<ServiceId, Counts>();
  for (const endpoint of endpoints) {
    let of = counts.get(endpoint.serviceId);
    if (!of) counts.set(endpoint.serviceId, (of = { serving: 0, draining: 0, silent: 0 }));
    of[stateOf(endpoint)] += 1;
  }
  return counts;
}

const stateOf = ({ serving, silent }: Endpoint): keyof Counts => {
  if (silent === true) return 'silent';
  return serving ? 'serving' : 'draining';
};
