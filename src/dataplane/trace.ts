/**
 * The way a service's packets take from this node, with the counters that prove it: each frontend, and behind it each
 * task, where it is and how it is reached. Pure; the `skep trace` command and its call read it.
 */
import type { ServerCounters, VirtualServerCounters } from './balancer/engine.js';
import type { Ip, Mac } from '../model/addresses.js';
import { SkepError } from '../model/errors.js';
import type { NodeId, ServiceId, Vni } from '../model/ids.js';
import type { BalancedFrontend } from './plan/load-balancer.js';
import { balancedPorts, balancedVips } from './plan/load-balancer.js';
import type { Frontend, RealServer, VirtualServer } from './plan/objects.js';
import type { NodeNetworkState, Overlay } from './state.js';

/** As {@link ServerCounters}, in numbers that JSON has. */
export interface TraceCounters {
  readonly connections: number;
  readonly packets: number;
  readonly bytes: number;
  readonly replyPackets: number;
  readonly replyBytes: number;
  readonly drops: Readonly<Record<string, number>>;
  readonly activeFlows: number;
}

/** One task behind a frontend. */
export interface TraceHop {
  /** `<service>.<slot>.<task>`. */
  readonly task: string;
  readonly nodeId: NodeId;
  /** The task's address on the overlay. */
  readonly address: Ip;
  readonly mac: Mac;
  /** What a published port's destination becomes on this node; '' for a VIP, where it stays. */
  readonly alias: string;
  /** Where the tunnel to the task's node ends; '' on that node itself. */
  readonly vtep: string;
  /** 0: it drains. */
  readonly weight: number;
  readonly counters: TraceCounters;
}

/** One address that the service is called by. */
export interface TracePath {
  /** `tcp/8080`, or the VIP. */
  readonly frontend: string;
  readonly overlay: string;
  readonly vni: Vni;
  readonly scheduler: string;
  /** Seconds that a client stays with its task; 0: it need not. */
  readonly affinityS: number;
  /** False: nobody takes new flows, callers are refused. */
  readonly open: boolean;
  readonly counters: TraceCounters;
  readonly hops: readonly TraceHop[];
}

export interface ServiceTrace {
  readonly serviceId: ServiceId;
  readonly name: string;
  readonly paths: readonly TracePath[];
}

/** What the balancer has counted, by overlay; null is the host, where published ports are. */
export type CountersByScope = ReadonlyMap<Vni | null, readonly VirtualServerCounters[]>;

/** The overlays and published ports of one service: whose counters {@link traceService} wants. */
export interface ServiceFrontends {
  readonly serviceId: ServiceId;
  readonly name: string;
  readonly frontends: readonly { readonly overlay: Overlay; readonly balanced: BalancedFrontend }[];
}

/**
 * @param wanted name or id of a service, or a published port's number
 * @throws SkepError notFound when this node knows none such
 */
export function serviceFrontends(state: NodeNetworkState, wanted: string): ServiceFrontends {
  const named = state.overlays
    .flatMap(({ services }) => services)
    .find(({ id, name }) => id === wanted || name === wanted);
  const serviceId =
    named?.id ??
    state.publishedPorts.find((port) => String(port.publishedPort) === wanted || port.serviceId === wanted)
      ?.serviceId;
  if (serviceId === undefined)
    throw new SkepError('notFound', `this node balances no service and no published port called ${wanted}`);
  const only: NodeNetworkState = {
    ...state,
    publishedPorts: state.publishedPorts.filter((port) => port.serviceId === serviceId),
  };
  const services = state.overlays.flatMap((overlay) => overlay.services);
  return {
    serviceId,
    name: services.find(({ id }) => id === serviceId)?.name ?? serviceId,
    frontends: state.overlays.flatMap((overlay) =>
      (overlay.ingress
        ? balancedPorts(only, overlay)
        : balancedVips({ ...overlay, services: overlay.services.filter(({ id }) => id === serviceId) })
      ).map((balanced) => ({ overlay, balanced })),
    ),
  };
}

/** Joins what is planned with what was counted; what the kernel does not hold (yet) has counted nothing. */
export function traceService(
  state: NodeNetworkState,
  { serviceId, name, frontends }: ServiceFrontends,
  counters: CountersByScope,
): ServiceTrace {
  return {
    serviceId,
    name,
    paths: frontends.map(({ overlay, balanced: { server, realServers, open } }): TracePath => {
      const counted = counters
        .get(overlay.ingress ? null : overlay.vni)
        ?.find(({ mark }) => mark === server.mark);
      return {
        frontend: frontendName(server),
        overlay: overlay.name,
        vni: overlay.vni,
        scheduler: server.scheduler,
        affinityS: server.affinityS ?? 0,
        open,
        counters: toTraceCounters(counted),
        hops: realServers.flatMap((realServer) => traceHop(state, overlay, realServer, counted)),
      };
    }),
  };
}

function traceHop(
  state: NodeNetworkState,
  overlay: Overlay,
  { address, port, mac, method, weight }: RealServer,
  counted: VirtualServerCounters | undefined,
): TraceHop[] {
  const endpoint = overlay.endpoints.find((one) => one.mac === mac);
  if (endpoint === undefined) return [];
  const vtep =
    endpoint.nodeId === state.nodeId
      ? ''
      : (overlay.peers.find(({ nodeId }) => nodeId === endpoint.nodeId)?.vtep ?? '');
  const counters = counted?.realServers.find((one) => one.address === address && one.port === port);
  return [
    {
      task: endpoint.name,
      nodeId: endpoint.nodeId,
      address: endpoint.address,
      mac: endpoint.mac,
      alias: method === 'translate' ? `${address}:${port}` : '',
      vtep,
      weight,
      counters: toTraceCounters(counters),
    },
  ];
}

export const frontendName = ({ frontend }: VirtualServer & { readonly frontend: Frontend }): string =>
  frontend.kind === 'port' ? `${frontend.protocol}/${frontend.port}` : frontend.address;

const toTraceCounters = (counters: ServerCounters | undefined): TraceCounters => ({
  connections: Number(counters?.connections ?? 0),
  packets: Number(counters?.packets ?? 0),
  bytes: Number(counters?.bytes ?? 0),
  replyPackets: Number(counters?.replyPackets ?? 0),
  replyBytes: Number(counters?.replyBytes ?? 0),
  drops: Object.fromEntries(
    Object.entries(counters?.drops ?? {}).map(([reason, count]) => [reason, Number(count)]),
  ),
  activeFlows: counters?.activeFlows ?? 0,
});
