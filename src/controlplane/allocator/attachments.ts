/**
 * The legs of tasks and nodes: a task's address on each network of its service, a node's own address on ingress and on
 * every overlay that has a task of it there.
 */
import type { NetworkId } from '../../model/ids.js';
import type { NetworkAttachment, Node, NodeAttachment, Service, Task } from '../../model/objects.js';
import type { NodeNetworkAttachment } from '../../model/objects.js';
import { swarmNetworksOf } from '../../model/service-laws.js';
import type { Draft } from '../plan.js';
import type { View } from '../store/store.js';
import type { KnownNetworks } from './endpoints.js';
import { overlaysOfService, prefixLengthOf } from './endpoints.js';
import type { Holdings } from './holdings.js';
import { hangOnNodes, holdsAddresses } from './held-addresses.js';
import { macOf } from './mac.js';

/** The message of Swarm's allocator in a task's status. */
export const pendingMessage = 'pending task scheduling';

/** Gives the task its addresses and hands it to the scheduler; leaves it `new` while an address cannot be had. */
export function allocateTask(
  draft: Draft,
  holdings: Holdings,
  service: Service,
  task: Task,
  known: KnownNetworks,
): void {
  const networks = overlaysOfService(service, known);
  if (networks === undefined || !draft.fits(1 + networks.length)) return;
  const addresses = holdings.takeAddresses(networks);
  if (!addresses) return;
  const asked = swarmNetworksOf(service.spec);
  const aliases = new Map(asked.map((config) => [config.target, config.aliases]));
  const nodeNetworks = asked.flatMap((config): NodeNetworkAttachment[] => {
    const network = known.ofNodes.get(config.target as NetworkId);
    return network ? [{ networkId: network.id, spec: network.spec, aliases: config.aliases }] : [];
  });
  const attachments = networks.map((networkId, index): NetworkAttachment => ({
    networkId,
    address: addresses[index] as NetworkAttachment['address'],
    prefixLength: prefixLengthOf(draft.get('network', networkId), addresses[index]),
    mac: macOf(task.id, networkId),
    aliases: aliases.get(networkId) ?? [],
  }));
  draft.update('task', {
    ...task,
    networks: attachments,
    ...(nodeNetworks.length > 0 && { nodeNetworks }),
    ...(service.endpoint && {
      endpoint: { ports: service.endpoint.ports, virtualIps: service.endpoint.virtualIps },
    }),
    status: {
      state: 'pending',
      message: pendingMessage,
      timestampMs: draft.nowMs,
      appliedAtMs: draft.nowMs,
    },
  });
}

/** Brings a node's own addresses in line with the tasks on it. */
export function attachNode(
  draft: Draft,
  holdings: Holdings,
  node: Node,
  ingress: NetworkId | undefined,
): void {
  const wanted = new Set<NetworkId>(ingress === undefined ? [] : [ingress]);
  for (const networkId of networksOf(draft.view, draft.view.tasksOnNode(node.id))) wanted.add(networkId);
  const kept = node.attachments.filter(({ networkId }) => wanted.has(networkId));
  const missing = [...wanted].filter((id) => !kept.some(({ networkId }) => networkId === id));
  if (missing.length === 0 && kept.length === node.attachments.length) return;
  if (!draft.fits(1 + missing.length)) return;
  // One by one: an exhausted network must not keep the node off the others.
  const fresh = missing.flatMap((networkId): NodeAttachment[] => {
    const [address] = holdings.takeAddresses([networkId]) ?? [];
    return address === undefined ? [] : [{ networkId, address, mac: macOf(node.id, networkId) }];
  });
  if (fresh.length === 0 && kept.length === node.attachments.length) return;
  draft.update('node', { ...node, attachments: [...kept, ...fresh] });
  holdings.release(node.attachments.filter((leg) => !kept.includes(leg)));
}

const networksKnown = new WeakMap<readonly Task[], ReadonlySet<NetworkId>>();

/** That these tasks hold addresses of. Found once for a list, which never changes, unless it hangs on more than that. */
function networksOf(view: View, tasks: readonly Task[]): ReadonlySet<NetworkId> {
  const known = networksKnown.get(tasks);
  if (known) return known;
  const networks = new Set(
    tasks.flatMap((task) => (holdsAddresses(view, task) ? task.networks.map((leg) => leg.networkId) : [])),
  );
  if (!hangOnNodes(tasks)) networksKnown.set(tasks, networks);
  return networks;
}
