/** A node's network that changes step by step, drawn from a seed: what users, nodes and the engine do to it. */
import assert from 'node:assert';
import type { Cidr, Ip, Mac } from '../../../../src/model/addresses.js';
import { schedulers } from '../../../../src/model/balancing.js';
import type { ServiceId, TaskId } from '../../../../src/model/ids.js';
import type { Desired } from '../../../../src/dataplane/plan/node.js';
import { KeyedList } from '../../../../src/runtime/keyed-list.js';
import type { SandboxEndpoint } from '../../../../src/dataplane/sandbox.js';
import type {
  Endpoint,
  NodeNetworkState,
  Overlay,
  OverlayService,
  PublishedPort,
} from '../../../../src/dataplane/state.js';
import { publishedPortKey } from '../../../../src/dataplane/state.js';
import { endpointKey, serviceKey } from '../../../../src/dataplane/state-change.js';
import type { TaskOf } from './network-state.js';
import { ingressId, sandboxOf, stateOf } from './network-state.js';

export interface Joined extends Desired {
  readonly state: NodeNetworkState;
}

/** Numbers in [0, 1) from a seed (mulberry32). */
export function random(from: number): () => number {
  let state = from;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const serviceNames = ['api', 'db', 'web', 'www', ''] as const;

/**
 * The next value: one to three things have changed, items that have not are the same.
 * @param ofDaemon with what skep-dataplane itself adds to what it is told: nodes fall silent, and are heard again
 */
export function changed({ state, sandboxes }: Joined, next: () => number, ofDaemon = false): Joined {
  const below = (limit: number): number => Math.floor(next() * limit);
  const pick = <T>(items: readonly T[]): T => items[below(items.length)] as T;
  let desired: Joined = { state: { ...state, revision: state.revision + 1 }, sandboxes };
  const setOverlay = (change: (overlay: Overlay) => Overlay): void => {
    const { id } = pick(desired.state.overlays);
    const overlays = desired.state.overlays.map((one) => (one.id === id ? change(one) : one));
    desired = { ...desired, state: { ...desired.state, overlays } };
  };
  const setPorts = (publishedPorts: readonly PublishedPort[]): void => {
    const ports = KeyedList.of(publishedPorts, publishedPortKey);
    desired = { ...desired, state: { ...desired.state, publishedPorts: ports } };
  };
  const steps: readonly (() => void)[] = [
    () =>
      setOverlay((overlay) => withEndpoint(overlay, below(20) + 3, pick(serviceNames), 1 + below(3), next)),
    () =>
      setOverlay((overlay) => withEndpoint(overlay, below(20) + 3, pick(serviceNames), 1 + below(3), next)),
    () =>
      setOverlay((overlay) => ({
        ...overlay,
        endpoints: KeyedList.of(
          overlay.endpoints.filter((one) => one !== pick([...overlay.endpoints])),
          endpointKey,
        ),
      })),
    () => setOverlay((overlay) => withService(overlay, pick(['api', 'db', 'web', 'www']), next)),
    () =>
      setOverlay((overlay) => ({
        ...overlay,
        services: KeyedList.of(
          overlay.services.filter((one) => one !== pick([...overlay.services])),
          serviceKey,
        ),
      })),
    () => {
      const publishedPort = 8080 + below(4);
      const others = desired.state.publishedPorts.filter((one) => one.publishedPort !== publishedPort);
      const serviceId = pick(['api', 'web']) as ServiceId;
      const protocol = pick(['tcp', 'udp'] as const);
      const limits =
        next() < 0.15 ? pick([{ interfaces: ['eth0'] }, { cidrs: ['172.17.0.0/16' as Cidr] }]) : {};
      const port = { serviceId, protocol, publishedPort, targetPort: 80, ...limits };
      setPorts(next() < 0.3 ? others : [...others, port]);
    },
    () => setSandbox(),
    () => setSandbox(),
    // Rarely: what everything hangs on.
    () => {
      if (next() < 0.3)
        setOverlay((overlay) => ({ ...overlay, peers: overlay.peers.filter(() => next() < 0.5) }));
    },
    () => {
      if (next() < 0.1) desired = { ...desired, state: { ...desired.state, dataPathPort: 4789 + below(2) } };
    },
    () => {
      if (next() > 0.2) return;
      const [first, ...rest] = desired.state.overlays;
      desired = {
        ...desired,
        state: { ...desired.state, overlays: rest.length > 0 ? rest : [first as Overlay] },
      };
    },
    ...(ofDaemon ? [(): void => setSilence(), (): void => setSilence()] : []),
  ];
  const setSilence = (): void => {
    const nodeId = `node${2 + below(2)}`;
    const isSilent = next() < 0.5;
    setOverlay((overlay) => withSilence(overlay, nodeId, isSilent));
  };
  const setSandbox = (): void => {
    const sandbox = sandboxOf(pick(desired.state.overlays).id, below(20) + 3);
    const others = desired.sandboxes.filter(({ endpointId }) => endpointId !== sandbox.endpointId);
    const keys = [null, '/run/netns/one', '/run/netns/two'];
    const come: SandboxEndpoint[] = next() < 0.4 ? [] : [{ ...sandbox, sandboxKey: pick(keys) }];
    desired = { ...desired, sandboxes: [...others, ...come] };
  };
  for (let count = 1 + below(3); count > 0; count--) pick(steps)();
  return desired;
}

/** Equal to the state and the same in nothing. */
export const copyOf = (state: NodeNetworkState): NodeNetworkState => ({
  ...structuredClone({ ...state, overlays: [], publishedPorts: [] }),
  overlays: state.overlays.map((overlay) => ({
    ...structuredClone({ ...overlay, endpoints: [], services: [] }),
    endpoints: KeyedList.of(structuredClone([...overlay.endpoints]), endpointKey),
    services: KeyedList.of(structuredClone([...overlay.services]), serviceKey),
  })),
  publishedPorts: KeyedList.of(structuredClone([...state.publishedPorts]), publishedPortKey),
});

/** Where a walk begins: `mynet`, ingress and nobody there. */
export const emptyNetwork = (): Joined => ({
  state: copyOf(stateOf(1, { ingress: true, vips: {} })),
  sandboxes: [],
});

/** A task's endpoint on `mynet`. */
export function endpointOf(task: TaskOf): Endpoint {
  const [endpoint] = stateOf(1, { tasks: [task] }).overlays[0]?.endpoints ?? [];
  assert(endpoint);
  return endpoint;
}

function withEndpoint(
  overlay: Overlay,
  part: number,
  service: string,
  node: number,
  next: () => number,
): Overlay {
  const taskId = `task${String(part).padStart(3, '0')}` as TaskId;
  const known = overlay.endpoints.find((one) => one.taskId === taskId);
  const { address, mac } = sandboxOf(overlay.id, part);
  const endpoint: Endpoint = {
    ...endpointOf({ part, node, service, serving: next() < 0.7, weight: 1 + Math.floor(next() * 3) }),
    ...(next() < 0.2 && {
      targetPorts: [{ protocol: 'tcp', publishedPort: 8080, targetPort: next() < 0.5 ? 0 : 88 }],
    }),
    ...(known && { serviceId: known.serviceId, nodeId: known.nodeId }),
    taskId,
    address,
    mac: (next() < 0.1 ? mac.replace(/^02/, '06') : mac) as Mac,
  };
  return { ...overlay, endpoints: KeyedList.of(overlay.endpoints, endpointKey).with([endpoint], []) };
}

function withSilence(overlay: Overlay, nodeId: string, isSilent: boolean): Overlay {
  const told = overlay.endpoints
    .filter((one) => one.nodeId === nodeId && (one.silent === true) !== isSilent)
    .map(({ silent: _silent, ...one }): Endpoint => (isSilent ? { ...one, silent: true } : one));
  return { ...overlay, endpoints: KeyedList.of(overlay.endpoints, endpointKey).with(told, []) };
}

function withService(overlay: Overlay, name: string, next: () => number): Overlay {
  const part = { api: 200, db: 201, web: 202, www: 203 }[name] ?? 204;
  const service: OverlayService = {
    id: name as ServiceId,
    name,
    aliases: [],
    ...(next() < 0.8 ? { vip: `10.0.${overlay.id === ingressId ? 0 : 1}.${part}` as Ip } : {}),
    scheduler: schedulers[Math.floor(next() * schedulers.length)] ?? 'rr',
    affinityS: next() < 0.3 ? 60 : null,
  };
  return { ...overlay, services: KeyedList.of(overlay.services, serviceKey).with([service], []) };
}
