/**
 * The way a service's packets take from this node, with the counters that prove it: each frontend, and behind it each
 * task, where it is, how it is reached, and what stands in the way. What stands in the way is told by the state (nobody
 * serves, a node without a tunnel's end), by the kernel (it differs from the plan on this way) and by the counters
 * (requests went out and no reply came). Pure; the `skep trace` command and its call read it.
 */
import type { BalancedFlow, ServerCounters, VirtualServerCounters } from './balancer/engine.js';
import type { Difference } from './difference.js';
import { differenceLine } from './difference.js';
import type { Ip, Mac } from '../model/addresses.js';
import { isIp, parseIp } from '../model/addresses.js';
import { SkepError } from '../model/errors.js';
import type { NodeId, ServiceId, Vni } from '../model/ids.js';
import type { BalancedFrontend } from './plan/load-balancer.js';
import { balancedPorts, balancedVips } from './plan/load-balancer.js';
import { bridgeName, hostLinkName, hostPortName, vxlanName } from './plan/names.js';
import type { Frontend, RealServer, VirtualServer } from './plan/objects.js';
import { markName } from './plan/objects.js';
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
  /** What stands in the way to this task, in words; [] when nothing does. */
  readonly stops: readonly string[];
}

/** A flow of the client that was asked for. */
export interface TraceFlow {
  readonly protocol: string;
  readonly client: Ip;
  readonly clientPort: number;
  readonly destinationPort: number;
  /** '' when its task is no longer known. */
  readonly task: string;
  readonly state: string;
  readonly expiresS: number;
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
  /** Why no packet gets beyond the frontend, in words; [] where one does. */
  readonly stops: readonly string[];
  readonly flows: readonly TraceFlow[];
}

export interface ServiceTrace {
  readonly serviceId: ServiceId;
  readonly name: string;
  readonly paths: readonly TracePath[];
  /** Addresses of the client that was asked for; [] when none was. */
  readonly clients: readonly Ip[];
}

/** What the balancer has counted, by overlay; null is the host, where published ports are. */
export type CountersByScope = ReadonlyMap<Vni | null, readonly VirtualServerCounters[]>;

/** What is known of the kernel beside the counters. */
export interface TraceFindings {
  readonly counters: CountersByScope;
  /** Flows of the client; none were read when no client was asked for. */
  readonly flows: ReadonlyMap<Vni | null, readonly BalancedFlow[]>;
  readonly differences: readonly Difference[];
  /** Paths of the namespaces of this node's containers, by their MAC on an overlay. */
  readonly sandboxes: ReadonlyMap<Mac, string | null>;
}

/** Who calls: an address in the clear, or all addresses of a task or container. */
export interface TraceClient {
  readonly addresses: readonly Ip[];
  /** The overlays it has a leg on. */
  readonly vnis: readonly Vni[];
  /** Its node; null for who is no endpoint of the cluster. */
  readonly nodeId: NodeId | null;
}

/** @throws SkepError notFound when it is neither an address nor a name of an endpoint that this node knows */
export function traceClient(state: NodeNetworkState, from: string): TraceClient {
  const wanted = from.toLowerCase();
  const legs = state.overlays.flatMap(({ vni, endpoints }) =>
    endpoints
      .filter(({ name, aliases, address }) =>
        [name, ...aliases, address].some((one) => one.toLowerCase() === wanted),
      )
      .map(({ taskId }) => ({ vni, taskId })),
  );
  const found = state.overlays.flatMap(({ vni, endpoints }) =>
    endpoints
      .filter(({ taskId }) => legs.some((leg) => leg.taskId === taskId))
      .map((endpoint) => ({ vni, endpoint })),
  );
  const [first] = found;
  if (first)
    return {
      addresses: found.map(({ endpoint }) => endpoint.address),
      vnis: found.map(({ vni }) => vni),
      nodeId: first.endpoint.nodeId,
    };
  if (!isIp(from))
    throw new SkepError(
      'notFound',
      `${from} is neither an address nor a task or container that this node knows`,
    );
  return { addresses: [parseIp(from)], vnis: [], nodeId: null };
}

/** The overlays and published ports of one service: whose counters {@link traceService} wants. */
export interface ServiceFrontends {
  readonly serviceId: ServiceId;
  readonly name: string;
  readonly frontends: readonly { readonly overlay: Overlay; readonly balanced: BalancedFrontend }[];
}

/**
 * @param wanted name or id of a service, or a published port, `8080` or `53/udp`: of a port's service then that port alone
 * @throws SkepError notFound when this node knows none such
 */
export function serviceFrontends(state: NodeNetworkState, wanted: string): ServiceFrontends {
  const named = state.overlays
    .flatMap(({ services }) => [...services])
    .find(({ id, name }) => id === wanted || name === wanted);
  const asPort = state.publishedPorts.filter(
    ({ publishedPort, protocol }) =>
      wanted === String(publishedPort) ||
      wanted === `${publishedPort}/${protocol}` ||
      wanted === `${protocol}/${publishedPort}`,
  );
  const serviceId =
    named?.id ??
    asPort[0]?.serviceId ??
    state.publishedPorts.find((port) => port.serviceId === wanted)?.serviceId;
  if (serviceId === undefined)
    throw new SkepError('notFound', `this node balances no service and no published port called ${wanted}`);
  const only: NodeNetworkState = {
    ...state,
    publishedPorts: (named || asPort.length === 0 ? state.publishedPorts : asPort).filter(
      (port) => port.serviceId === serviceId,
    ),
  };
  const services = state.overlays.flatMap((overlay) => [...overlay.services]);
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

/**
 * Joins what is planned with what was counted and found; what the kernel does not hold (yet) has counted nothing.
 * @param client null: whoever calls
 */
export function traceService(
  state: NodeNetworkState,
  { serviceId, name, frontends }: ServiceFrontends,
  findings: TraceFindings,
  client: TraceClient | null = null,
): ServiceTrace {
  return {
    serviceId,
    name,
    clients: client?.addresses ?? [],
    paths: frontends.map(({ overlay, balanced }): TracePath => {
      const { server, realServers, open } = balanced;
      const scope = overlay.ingress ? null : overlay.vni;
      const counted = findings.counters.get(scope)?.find(({ mark }) => mark === server.mark);
      return {
        frontend: frontendName(server),
        overlay: overlay.name,
        vni: overlay.vni,
        scheduler: server.scheduler,
        affinityS: server.affinityS ?? 0,
        open,
        counters: toTraceCounters(counted),
        hops: realServers.flatMap((realServer) => traceHop(state, overlay, realServer, counted, findings)),
        stops: [
          ...(client === null ? [] : outOfReach(state, overlay, client)),
          ...(open ? [] : ['no task takes new flows: callers are refused']),
          ...(counted ? [] : ['this node’s kernel does not balance it']),
          ...differencesOf(findings, scope, [
            markName(server.mark),
            ...(server.frontend.kind === 'vip' ? [server.frontend.address] : []),
            ...sharedWay,
          ]),
        ],
        flows: (findings.flows.get(scope) ?? [])
          .filter((flow) => client?.addresses.includes(flow.client) && isOf(server.frontend, flow))
          .map((flow) => toTraceFlow(overlay, realServers, flow)),
      };
    }),
  };
}

/** Why a client's calls do not come by here. */
function outOfReach(state: NodeNetworkState, overlay: Overlay, { vnis, nodeId }: TraceClient): string[] {
  if (overlay.ingress) return [];
  if (!vnis.includes(overlay.vni))
    return [`the client has no leg on ${overlay.name}: its VIPs are unknown to it`];
  return nodeId === state.nodeId ? [] : [`the client is on node ${nodeId}, where its calls are balanced`];
}

const isOf = (frontend: Frontend, flow: BalancedFlow): boolean =>
  frontend.kind === 'vip'
    ? flow.destination === frontend.address
    : flow.protocol === frontend.protocol && flow.destinationPort === frontend.port;

function toTraceFlow(overlay: Overlay, realServers: readonly RealServer[], flow: BalancedFlow): TraceFlow {
  const { protocol, client, clientPort, destinationPort, state, expiresS } = flow;
  const mac = realServers.find(({ address }) => address === flow.realServer)?.mac;
  const task = overlay.endpoints.find((endpoint) => endpoint.mac === mac)?.name ?? '';
  return { protocol, client, clientPort, destinationPort, task, state, expiresS };
}

/** What every packet of a scope goes by. */
const sharedWay = [bridgeName, vxlanName, hostPortName, hostLinkName, 'mesh', 'chain', 'jump', 'namespace'];

/**
 * What differs from the plan on a way: differences in the scope that name one of the things on it, an object of which
 * everything in the scope is one (a bridge, a chain) only by itself and not as a part of another.
 * @param vni null: the host
 */
function differencesOf({ differences }: TraceFindings, vni: Vni | null, things: readonly string[]): string[] {
  const scopes = vni === null ? ['host'] : [`overlay ${vni}`];
  return differences
    .filter(({ scope, object }) => {
      const [kind = '', name = ''] = object.split(' ');
      return (
        scopes.includes(scope) &&
        things.some((thing) =>
          sharedWay.includes(thing)
            ? kind === thing || (kind === 'link' && name === thing)
            : names(object, thing),
        )
      );
    })
    .map(differenceLine);
}

/** Whether the words of an object contain `thing` whole: an address also with its port or prefix behind it. */
const names = (object: string, thing: string): boolean =>
  object
    .split(/[ [\];]/)
    .some((word) => word === thing || word.startsWith(`${thing}/`) || word.startsWith(`${thing}:`));

function traceHop(
  state: NodeNetworkState,
  overlay: Overlay,
  { address, port, mac, method, weight }: RealServer,
  counted: VirtualServerCounters | undefined,
  findings: TraceFindings,
): TraceHop[] {
  const endpoint = overlay.endpoints.find((one) => one.mac === mac);
  if (endpoint === undefined) return [];
  const isHere = endpoint.nodeId === state.nodeId;
  const vtep = isHere ? '' : (overlay.peers.find(({ nodeId }) => nodeId === endpoint.nodeId)?.vtep ?? '');
  const counters = toTraceCounters(
    counted?.realServers.find((one) => one.address === address && one.port === port),
  );
  const sandbox = findings.sandboxes.get(endpoint.mac) ?? null;
  const things = [address, endpoint.address, endpoint.mac];
  const inside = findings.differences.filter(
    ({ scope }) => sandbox !== null && scope === `sandbox ${sandbox}`,
  );
  const unanswered = method === 'translate' && counters.packets > 0 && counters.replyPackets === 0;
  return [
    {
      task: endpoint.name,
      nodeId: endpoint.nodeId,
      address: endpoint.address,
      mac: endpoint.mac,
      alias: method === 'translate' ? `${address}:${port}` : '',
      vtep,
      weight,
      counters,
      stops: [
        ...(isHere && sandbox === null ? ['no container on this node has its address'] : []),
        ...(isHere || vtep !== ''
          ? []
          : [`node ${endpoint.nodeId} has no tunnel to here on ${overlay.name}`]),
        ...(overlay.ingress ? differencesOf(findings, null, things) : []),
        ...differencesOf(findings, overlay.vni, [...things, ...(overlay.ingress ? sharedWay : [])]),
        ...inside.map(differenceLine),
        ...(unanswered ? [`${counters.packets} packets went there and none came back`] : []),
      ],
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
