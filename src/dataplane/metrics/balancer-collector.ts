/** What this node has balanced, by service: the kernel's counters joined with the state. */
import type { Vni } from '../../model/ids.js';
import { OutsideError } from '../../model/errors.js';
import type { DataplaneMetrics } from '../../metrics/dataplane-table.js';
import type { Samples } from '../../metrics/samples.js';
import { together } from '../../runtime/together.js';
import type { EngineName } from '../plan/balancing.js';
import { balancedPorts, balancedVips } from '../plan/load-balancer.js';
import { addressAndPort } from '../../model/addresses.js';
import type { NodeNetworkState } from '../state.js';
import type { CounterReader, ReadServer } from './counter-reader.js';
import type { FrontendLabels, Labelled } from './frontends.js';
import { labelledFrontends, serverKey } from './frontends.js';

export interface BalancerCollectorOptions {
  /** As it is planned from, the silent marked; null: this node is in no cluster. */
  readonly state: () => NodeNetworkState | null;
  readonly engine: () => EngineName;
  readonly reader: Pick<CounterReader, 'read' | 'keep'>;
  /** Also a series for each task of each frontend. */
  readonly perEndpoint: boolean;
}

/** Scopes that are read at the same time. */
const scopesAtOnce = 8;

/** What is made of a state once. */
interface Known {
  readonly of: NodeNetworkState;
  readonly labelled: Labelled;
  readonly endpoints: readonly { readonly labels: EndpointsLabels; readonly count: number }[];
  /** By {@link scopeServerKey}, then by address and port; empty unless wanted. */
  readonly tasks: ReadonlyMap<string, ReadonlyMap<string, EndpointLabels>>;
}

const knownOf = (state: NodeNetworkState, perEndpoint: boolean): Known => {
  const labelled = labelledFrontends(state);
  return {
    of: state,
    labelled,
    endpoints: labelled.endpoints.flatMap(({ service, network, ...counts }) =>
      Object.entries(counts).flatMap(([state, count]) =>
        count > 0 || state === 'serving' ? [{ labels: { service, network, state }, count }] : [],
      ),
    ),
    tasks: perEndpoint ? endpointLabels(state, labelled) : new Map(),
  };
};

type EndpointsLabels = Readonly<Record<'service' | 'network' | 'state', string>>;

type EndpointLabels = FrontendLabels & { readonly task: string; readonly node: string };

export function balancerCollector({
  state,
  engine,
  reader,
  perEndpoint,
}: BalancerCollectorOptions): (into: Samples<DataplaneMetrics>) => Promise<void> {
  let known: Known | null = null;
  return async (into) => {
    into.put('skep_balancer_info', { engine: engine() }, 1);
    const now = state();
    if (now === null) {
      known = null;
      reader.keep(new Set());
      return;
    }
    if (known?.of !== now) known = knownOf(now, perEndpoint);
    const { labelled, endpoints, tasks } = known;
    const { scopes } = labelled;
    for (const { labels, count } of endpoints) into.put('skep_endpoints', labels, count);
    reader.keep(new Set(scopes.map(({ vni }) => vni)));
    let unread = 0;
    await together(scopes, scopesAtOnce, async ({ vni, frontends }) => {
      // What is no longer wanted is being removed: nobody must open its namespace again.
      if (state() !== now && !hasScope(state(), vni)) return;
      let servers: readonly ReadServer[];
      try {
        servers = await reader.read(vni);
      } catch (err) {
        // An overlay's namespace comes a moment after the state: it has counted nothing.
        if (!(err instanceof OutsideError)) throw err;
        unread += 1;
        return;
      }
      for (const server of servers) {
        const frontend = frontends.get(serverKey(server.family, server.mark));
        // Somebody's of whom the state knows nothing (any more).
        if (frontend) putServer(into, frontend.labels, frontend.countsReplies, server);
        putEndpoints(into, tasks.get(scopeServerKey(vni, server)), server);
      }
    });
    into.put('skep_balancer_unread_namespaces', {}, unread);
  };
}

const hasScope = (state: NodeNetworkState | null, vni: Vni | null): boolean =>
  state?.overlays.some((overlay) => (vni === null ? overlay.ingress : overlay.vni === vni)) ?? false;

function putServer(
  into: Samples<DataplaneMetrics>,
  labels: FrontendLabels,
  countsReplies: boolean,
  server: ReadServer,
): void {
  into.put('skep_balancer_connections_total', labels, Number(server.connections));
  into.put('skep_balancer_packets_total', labels, Number(server.packets));
  into.put('skep_balancer_bytes_total', labels, Number(server.bytes));
  if (countsReplies) {
    into.put('skep_balancer_reply_packets_total', labels, Number(server.replyPackets));
    into.put('skep_balancer_reply_bytes_total', labels, Number(server.replyBytes));
  }
  for (const [reason, count] of Object.entries(server.drops))
    into.put('skep_balancer_dropped_packets_total', { ...labels, reason }, Number(count));
  if (server.activeFlows !== null) into.put('skep_balancer_active_flows', labels, server.activeFlows);
}

function putEndpoints(
  into: Samples<DataplaneMetrics>,
  tasks: ReadonlyMap<string, EndpointLabels> | undefined,
  { realServers }: ReadServer,
): void {
  for (const { address, port, connections, packets, bytes, activeFlows } of realServers) {
    const labels = tasks?.get(addressAndPort(address, port));
    if (!labels) continue;
    into.put('skep_balancer_endpoint_connections_total', labels, Number(connections));
    into.put('skep_balancer_endpoint_packets_total', labels, Number(packets));
    into.put('skep_balancer_endpoint_bytes_total', labels, Number(bytes));
    into.put('skep_balancer_endpoint_active_flows', labels, activeFlows);
  }
}

const scopeServerKey = (vni: Vni | null, { family, mark }: Pick<ReadServer, 'family' | 'mark'>): string =>
  `${vni} ${serverKey(family, mark)}`;

/** Looks at every endpoint. */
function endpointLabels(state: NodeNetworkState, { scopes }: Labelled): Known['tasks'] {
  const found = new Map<string, ReadonlyMap<string, EndpointLabels>>();
  for (const overlay of state.overlays) {
    const vni = overlay.ingress ? null : overlay.vni;
    const labels = scopes.find((scope) => scope.vni === vni)?.frontends;
    const byMac = new Map(overlay.endpoints.map((endpoint) => [endpoint.mac, endpoint]));
    const balanced = overlay.ingress ? balancedPorts(state, overlay) : balancedVips(overlay);
    for (const { server, realServers } of balanced) {
      const frontend = labels?.get(serverKey(server.family, server.mark))?.labels;
      if (!frontend) continue;
      const tasks = realServers.flatMap(({ address, port, mac }): [string, EndpointLabels][] => {
        const endpoint = mac && byMac.get(mac);
        return endpoint
          ? [[addressAndPort(address, port), { ...frontend, task: endpoint.name, node: endpoint.nodeId }]]
          : [];
      });
      found.set(scopeServerKey(vni, server), new Map(tasks));
    }
  }
  return found;
}
