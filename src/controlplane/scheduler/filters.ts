/**
 * The filter pipeline: why a node cannot take a task. Order and texts are Swarm's; only the first failing filter of each
 * node counts.
 */
import { satisfiesConstraints } from '../../model/constraint.js';
import { claimResources } from '../../model/generic-resources.js';
import { allowanceOf, faultOfAccess, hostAccess } from '../../model/host-access.js';
import type { Node, Task } from '../../model/objects.js';
import { fixedHostPorts } from './node-load.js';
import type { NodeLoad } from './node-load.js';

interface Filter {
  readonly passes: (task: Task, load: NodeLoad) => boolean;
  readonly explain: (nodes: number) => string;
}

/** Whether the node takes new tasks. */
export const isAvailable = ({ status, spec }: Node): boolean =>
  status.state === 'ready' && spec.availability === 'active';

const onNodes = (count: number): string => (count === 1 ? '1 node' : `${count} nodes`);

export const filters: readonly Filter[] = [
  {
    passes: (_, { node }) => isAvailable(node),
    explain: (count) => `${onNodes(count)} not available for new tasks`,
  },
  {
    passes: ({ spec }, load) => {
      const { nanoCpus = 0, memoryBytes = 0, genericResources = [] } = spec.resources?.reservations ?? {};
      // A node may have promised more than it has; who asks for nothing does not mind.
      if (nanoCpus === 0 && memoryBytes === 0 && genericResources.length === 0) return true;
      return (
        load.nanoCpus >= nanoCpus &&
        load.memoryBytes >= memoryBytes &&
        claimResources(load.genericResources, genericResources) !== undefined
      );
    },
    explain: (count) => `insufficient resources on ${onNodes(count)}`,
  },
  {
    passes: (task, { node }) => hasPlugins(task, node),
    explain: (count) => `missing plugin on ${onNodes(count)}`,
  },
  {
    passes: ({ spec }, { node }) => satisfiesConstraints(node, spec.placement?.constraints ?? []),
    explain: (count) => `scheduling constraints not satisfied on ${onNodes(count)}`,
  },
  {
    passes: ({ spec }, { node }) => suitsPlatforms(node, spec.placement?.platforms ?? []),
    explain: (count) => `unsupported platform on ${onNodes(count)}`,
  },
  {
    // Swarm has no such thing (docs/adr/0033).
    passes: ({ serviceLabels }, { node }) =>
      faultOfAccess(hostAccess(serviceLabels), allowanceOf(node)) === undefined,
    explain: (count) => `host access not allowed on ${onNodes(count)}`,
  },
  {
    passes: (task, load) => fixedHostPorts(task).every((port) => !load.holdsHostPort(port)),
    explain: (count) => `host-mode port already in use on ${onNodes(count)}`,
  },
  {
    passes: ({ spec, serviceId }, load) => {
      const limit = spec.placement?.maxReplicas ?? 0;
      return limit === 0 || load.activeOf(serviceId) < limit;
    },
    // Swarm's spelling; it names no number.
    explain: () => 'max replicas per node limit exceed',
  },
];

/** The first filter the node fails, or undefined if it can take the task. */
export const failingFilter = (task: Task, load: NodeLoad): Filter | undefined =>
  filters.find((filter) => !filter.passes(task, load));

/** What stood in the way, most frequent first; empty when there was no node to ask. */
export function explain(failing: readonly Filter[]): string {
  const counts = filters.map((filter) => ({
    filter,
    count: failing.filter((failed) => failed === filter).length,
  }));
  return counts
    .filter(({ count }) => count > 0)
    .sort((a, b) => b.count - a.count)
    .map(({ filter, count }) => filter.explain(count))
    .join('; ');
}

/** Volume and log plugins; the overlay driver is every node's own. A node that has not said what it has is believed. */
function hasPlugins(task: Task, node: Node): boolean {
  if (!node.description) return true;
  const { plugins } = node.description.engine;
  const has = (type: string, name: string): boolean =>
    plugins.some(
      (plugin) => plugin.type === type && (plugin.name === name || plugin.name === `${name}:latest`),
    );
  const volumes = task.spec.container.mounts.flatMap((mount) =>
    mount.type === 'volume' ? (mount.volumeOptions?.driverConfig?.name ?? []) : [],
  );
  if (!volumes.every((name) => name === '' || name === 'local' || has('Volume', name))) return false;
  const log = task.spec.logDriver?.name ?? '';
  if (log === '' || log === 'none' || !plugins.some(({ type }) => type === 'Log')) return true;
  return has('Log', log);
}

const architectures: Readonly<Record<string, string>> = { x86_64: 'amd64', aarch64: 'arm64' };
const normalArchitecture = (name: string): string => architectures[name] ?? name;

const suitsPlatforms = (
  { description }: Node,
  platforms: readonly { readonly architecture: string; readonly os: string }[],
): boolean =>
  platforms.length === 0 ||
  (description !== undefined &&
    platforms.some(
      ({ architecture, os }) =>
        (architecture === '' ||
          normalArchitecture(architecture) === normalArchitecture(description.platform.architecture)) &&
        (os === '' || os === description.platform.os),
    ));
