/**
 * Gathers what `skep trace` is told (trace.ts joins it): counters and flows of the balancer, what of the kernel differs from the
 * plan, and what the host knows of the caller. Changes nothing. Takes a second where calls wait for an answer: only who
 * still waits then has waited for longer than a call takes.
 */
import type { Family, Ip } from '../model/addresses.js';
import { familyOf } from '../model/addresses.js';
import type { Vni } from '../model/ids.js';
import { subnetAround } from '../model/network-subnets.js';
import type { Clock } from '../runtime/clock.js';
import type { BalancedFlow, VirtualServerCounters } from './balancer/engine.js';
import type { Difference } from './difference.js';
import type { SandboxEndpoint } from './sandbox.js';
import type { NodeNetworkState } from './state.js';
import type { HostDevice, ServiceFrontends, ServiceTrace, TraceCaller } from './trace.js';
import { isFlowOf, serviceFrontends, traceClient, traceService } from './trace.js';

/** What the host's namespace tells of callers. Methods reject with OutsideError. */
export interface HostReader {
  devices(): Promise<readonly HostDevice[]>;
  /** The device by which the address is reached, `lo` for the host's own; null: there is no way to it. */
  deviceTo(address: Ip): Promise<string | null>;
  /** Addresses in a container's namespace, loopback's aside; [] when it is gone. */
  addressesIn(path: string): Promise<readonly Ip[]>;
  /** Rules and policies of others that have dropped packets of these families, with their counts, in words. */
  foreignDrops(families: readonly Family[]): Promise<readonly string[]>;
}

export interface TraceSources {
  readonly state: NodeNetworkState;
  readonly endpoints: readonly SandboxEndpoint[];
  /** What of the kernel differs from the plan. */
  verify(): Promise<readonly Difference[]>;
  /** @param vni null: the host, where published ports are */
  counters(vni: Vni | null): Promise<readonly VirtualServerCounters[]>;
  /** At most `limit` of the scope's flows. */
  flows(vni: Vni | null, limit: number): Promise<readonly BalancedFlow[]>;
  readonly host: HostReader;
  readonly clock: Pick<Clock, 'sleep'>;
}

/** Flows that are looked through for those of a service. */
const flowsMax = 100_000;
/** A call that waits for longer than this waits in vain. */
const waitMs = 1_000;

/**
 * @param service name or id, or a published port
 * @param from null: whoever calls
 * @throws SkepError notFound when this node knows no such service or client
 */
export async function trace(
  sources: TraceSources,
  service: string,
  from: string | null,
  signal: AbortSignal,
): Promise<ServiceTrace> {
  const { state, endpoints, host } = sources;
  const wanted = serviceFrontends(state, service);
  const caller = from === null ? null : await findCaller(sources, from);
  const scopes = new Set(wanted.frontends.map(({ overlay }) => (overlay.ingress ? null : overlay.vni)));
  const readAll = async <T>(read: (vni: Vni | null) => Promise<T>): Promise<Map<Vni | null, T>> =>
    new Map(await Promise.all([...scopes].map(async (vni) => [vni, await read(vni)] as const)));
  const readFlows = (): Promise<Map<Vni | null, readonly BalancedFlow[]>> =>
    readAll((vni) => sources.flows(vni, flowsMax));
  const flows = await readFlows();
  const traced = traceService(
    state,
    wanted,
    {
      counters: await readAll((vni) => sources.counters(vni)),
      flows,
      waiting: await stillWaiting(wanted, flows, readFlows, () => sources.clock.sleep(waitMs, signal)),
      differences: await sources.verify(),
      sandboxes: new Map(endpoints.map(({ mac, sandboxKey }) => [mac, sandboxKey])),
      devices: await host.devices(),
    },
    caller,
  );
  // Who drops packets is of interest where some got lost, or never came. Flows that are ending are of calls before.
  const isLost =
    (caller !== null && traced.paths.every((path) => path.flows.every((flow) => flow.state === 'closing'))) ||
    traced.paths.some(({ hops }) => hops.some(({ isAnswered }) => !isAnswered));
  if (!isLost) return traced;
  const families = new Set(wanted.frontends.map(({ overlay }) => familyOf(overlay.subnet)));
  return { ...traced, foreignDrops: await host.foreignDrops([...families]) };
}

/** By scope, the flows of these frontends that wait for an answer and did so a moment ago. */
async function stillWaiting(
  { frontends }: ServiceFrontends,
  flows: ReadonlyMap<Vni | null, readonly BalancedFlow[]>,
  readAgain: () => Promise<ReadonlyMap<Vni | null, readonly BalancedFlow[]>>,
  pause: () => Promise<void>,
): Promise<ReadonlyMap<Vni | null, readonly BalancedFlow[]>> {
  const isWaiting = (vni: Vni | null, flow: BalancedFlow): boolean =>
    flow.state === 'opening' &&
    frontends.some(
      ({ overlay, balanced }) =>
        (overlay.ingress ? null : overlay.vni) === vni && isFlowOf(balanced.server.frontend, flow),
    );
  const key = ({ protocol, client, clientPort, destination, destinationPort }: BalancedFlow): string =>
    `${protocol} ${client}:${clientPort} ${destination}:${destinationPort}`;
  const before = new Map(
    [...flows].map(([vni, all]) => [vni, new Set(all.filter((flow) => isWaiting(vni, flow)).map(key))]),
  );
  if ([...before.values()].every(({ size }) => size === 0)) return new Map();
  await pause();
  return new Map(
    [...(await readAgain())].map(([vni, all]) => [
      vni,
      all.filter((flow) => isWaiting(vni, flow) && before.get(vni)?.has(key(flow))),
    ]),
  );
}

/** Who calls, with what the host knows of him. */
async function findCaller({ state, endpoints, host }: TraceSources, from: string): Promise<TraceCaller> {
  const client = traceClient(state, from);
  const hostAddresses = client.nodeId === null ? client.addresses : await outsideAddresses();
  const [first] = hostAddresses;
  const device = first === undefined ? null : await host.deviceTo(first);
  return { ...client, hostAddresses, device };

  /** Those by which a container of this node leaves its overlays. */
  async function outsideAddresses(): Promise<readonly Ip[]> {
    const path = endpoints.find(
      ({ address, sandboxKey }) => sandboxKey && client.addresses.includes(address),
    );
    if (client.nodeId !== state.nodeId || !path?.sandboxKey) return [];
    return (await host.addressesIn(path.sandboxKey)).filter(
      (address) => !state.overlays.some((overlay) => subnetAround(overlay, address)),
    );
  }
}
