/**
 * The way a service's packets take from this node, with the counters that prove it: each frontend, and behind it each
 * task, where it is, how it is reached, and what stands in the way. What stands in the way is told by the state (nobody
 * serves, a node without a tunnel's end), by the kernel (it differs from the plan on this way) and by the counters
 * (requests went out and no reply came). Pure; the `skep trace` command and its call read it.
 */
import type { BalancedFlow, ServerCounters, VirtualServerCounters } from './balancer/engine.js';
import type { Difference } from './difference.js';
import { differenceLine } from './difference.js';
import type { Cidr, Ip, Mac } from '../model/addresses.js';
import { addressAndPort, cidrContains, isIp, overlapsLoopback, parseIp } from '../model/addresses.js';
import { SkepError } from '../model/errors.js';
import type { NodeId, ServiceId, Vni } from '../model/ids.js';
import type { PublishLimits } from '../model/publishing.js';
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
  /** 0: it takes no new flow, as it drains or its node is silent. */
  readonly weight: number;
  readonly counters: TraceCounters;
  /** What stands in the way to this task, in words; [] when nothing does. */
  readonly stops: readonly string[];
  /** False: packets went there and no answer is seen to come back. */
  readonly isAnswered: boolean;
  /** Its node does not answer this one. */
  readonly isSilent: boolean;
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
  /** Where a published port listens; empty lists for one that listens everywhere, and for a VIP. */
  readonly limits: PublishLimits;
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
  /** Where packets got lost or never came: rules of others in the host that have dropped some, with their counts. */
  readonly foreignDrops: readonly string[];
}

/** What the balancer has counted, by overlay; null is the host, where published ports are. */
export type CountersByScope = ReadonlyMap<Vni | null, readonly VirtualServerCounters[]>;

/** A device of the host's namespace with its addresses, those of the link alone aside. */
export interface HostDevice {
  readonly name: string;
  readonly addresses: readonly Ip[];
}

/** What is known of the kernel beside the counters. */
export interface TraceFindings {
  readonly counters: CountersByScope;
  readonly flows: ReadonlyMap<Vni | null, readonly BalancedFlow[]>;
  /** Flows that have waited for an answer for longer than a call takes. */
  readonly waiting: ReadonlyMap<Vni | null, readonly BalancedFlow[]>;
  readonly differences: readonly Difference[];
  /** Paths of the namespaces of this node's containers, by their MAC on an overlay. */
  readonly sandboxes: ReadonlyMap<Mac, string | null>;
  /** Of the host's namespace. */
  readonly devices: readonly HostDevice[];
}

/** Who calls: an address in the clear, or all addresses of a task or container. */
export interface TraceClient {
  readonly addresses: readonly Ip[];
  /** The overlays it has a leg on. */
  readonly vnis: readonly Vni[];
  /** Its node; null for who is no endpoint of the cluster. */
  readonly nodeId: NodeId | null;
}

/** A client with what the host knows of it. */
export interface TraceCaller extends TraceClient {
  /** Addresses by which it calls published ports of this node; [] for who calls those of another. */
  readonly hostAddresses: readonly Ip[];
  /** The device of the host that its calls come in by; null: not known, or none. */
  readonly device: string | null;
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
  const isPort = named === undefined && asPort.length > 0;
  const only: NodeNetworkState = {
    ...state,
    publishedPorts: (isPort ? asPort : state.publishedPorts).filter((port) => port.serviceId === serviceId),
  };
  const services = state.overlays.flatMap((overlay) => [...overlay.services]);
  return {
    serviceId,
    name: services.find(({ id }) => id === serviceId)?.name ?? serviceId,
    frontends: state.overlays.flatMap((overlay) =>
      (overlay.ingress
        ? balancedPorts(only, overlay, true)
        : balancedVips(
            { ...overlay, services: overlay.services.filter(({ id }) => id === serviceId && !isPort) },
            true,
          )
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
  client: TraceCaller | null = null,
): ServiceTrace {
  return {
    serviceId,
    name,
    clients: client?.addresses ?? [],
    foreignDrops: [],
    paths: frontends.map(({ overlay, balanced }): TracePath => {
      const { server, realServers, open, limits } = balanced;
      const scope = overlay.ingress ? null : overlay.vni;
      const counted = findings.counters
        .get(scope)
        ?.find(({ family, mark }) => family === server.family && mark === server.mark);
      const isClients = ({ client: address }: BalancedFlow): boolean =>
        client !== null && (overlay.ingress ? client.hostAddresses : client.addresses).includes(address);
      return {
        frontend: frontendName(server),
        overlay: overlay.name,
        vni: overlay.vni,
        scheduler: server.scheduler,
        affinityS: server.affinityS ?? 0,
        limits,
        open,
        counters: toTraceCounters(counted),
        hops: realServers.flatMap((realServer) =>
          traceHop(state, overlay, server, realServer, counted, findings),
        ),
        stops: [
          ...(overlay.ingress ? [] : vipOutOfReach(state, overlay, client)),
          ...(overlay.ingress ? portOutOfReach(state, limits, findings, client) : []),
          ...(open ? [] : ['no task takes new flows: callers are refused']),
          // What no task is behind is not programmed.
          ...(counted || realServers.length === 0 ? [] : ['this node’s kernel does not balance it']),
          ...differencesOf(findings, scope, [
            markName(server.mark),
            ...(server.frontend.kind === 'vip' ? [server.frontend.address] : []),
            ...sharedWay,
          ]),
        ],
        flows: (findings.flows.get(scope) ?? [])
          .filter((flow) => isClients(flow) && isFlowOf(server.frontend, flow))
          .map((flow) => toTraceFlow(overlay, realServers, flow)),
      };
    }),
  };
}

/** Why a client's calls of a VIP do not come by here. */
function vipOutOfReach(
  state: NodeNetworkState,
  overlay: Overlay,
  client: TraceCaller | null,
): readonly string[] {
  if (client === null) return [];
  if (!client.vnis.includes(overlay.vni))
    return [`the client has no leg on ${overlay.name}: its VIPs are unknown to it`];
  return client.nodeId === state.nodeId
    ? []
    : [`the client is on node ${client.nodeId}, where its calls are balanced`];
}

/** Why a published port takes no calls on this node, or none of the client's. */
function portOutOfReach(
  { nodeId }: NodeNetworkState,
  { interfaces, cidrs }: PublishLimits,
  { devices }: TraceFindings,
  client: TraceCaller | null,
): readonly string[] {
  const names = devices.map(({ name }) => name);
  const held = devices.flatMap(({ addresses }) => addresses);
  const nowhere = ' on this node: the port listens nowhere here';
  if (interfaces.length > 0 && !interfaces.some((name) => names.includes(name)))
    return [`there is no ${interfaces.join(' or ')}${nowhere}`];
  // Calls of the loopback network are taken or not as a whole.
  const isHeld = (cidr: Cidr): boolean =>
    overlapsLoopback(cidr) || held.some((address) => cidrContains(cidr, address));
  if (cidrs.length > 0 && !cidrs.some(isHeld)) return [`no address in ${cidrs.join(' or ')}${nowhere}`];
  if (client?.nodeId === nodeId && client.hostAddresses.length === 0)
    return ['the client is on overlays alone and reaches no address of this node'];
  if (client === null || client.device === null || interfaces.length === 0) return [];
  return interfaces.includes(client.device)
    ? []
    : [
        `the client’s calls come in by ${client.device}, and the port listens on ${interfaces.join(', ')} only`,
      ];
}

/** Whether the flow is of those who called there. */
export const isFlowOf = (frontend: Frontend, flow: BalancedFlow): boolean =>
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
  { frontend }: BalancedFrontend['server'],
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
  const neverAnswered = method === 'translate' && counters.packets > 0 && counters.replyPackets === 0;
  const waiting = (findings.waiting.get(overlay.ingress ? null : overlay.vni) ?? []).filter(
    (flow) =>
      flow.realServer === address &&
      isFlowOf(frontend, flow) &&
      // Answers to a VIP's callers are not seen; that TCP's have come is, by what the client then says.
      (method === 'translate' || flow.protocol === 'tcp'),
  );
  return [
    {
      task: endpoint.name,
      nodeId: endpoint.nodeId,
      address: endpoint.address,
      mac: endpoint.mac,
      alias: method === 'translate' ? addressAndPort(address, port) : '',
      vtep,
      weight,
      counters,
      stops: [
        ...(isHere && sandbox === null ? ['no container on this node has its address'] : []),
        ...(isHere || vtep !== ''
          ? []
          : [`node ${endpoint.nodeId} has no tunnel to here on ${overlay.name}`]),
        ...(endpoint.silent ? [silentNode(endpoint.nodeId, weight)] : []),
        ...(overlay.ingress ? differencesOf(findings, null, things) : []),
        ...differencesOf(findings, overlay.vni, [...things, ...(overlay.ingress ? sharedWay : [])]),
        ...inside.map(differenceLine),
        ...(neverAnswered ? [`${counters.packets} packets went there and none came back`] : []),
        ...(waiting.length > 0 ? [`calls that wait there for an answer: ${waiting.length}`] : []),
      ],
      isAnswered: !neverAnswered && waiting.length === 0,
      isSilent: endpoint.silent === true,
    },
  ];
}

const silentNode = (nodeId: NodeId, weight: number): string =>
  `node ${nodeId} does not answer this one${weight > 0 ? '; new flows still go there, as nobody else takes them' : ''}`;

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
