/** This host as it describes itself to the managers. Pure. */
import { withBalancer, withEngineLabel } from '../../model/balancing.js';
import { espLabel } from '../../model/encryption.js';
import { genericResourcesMax } from '../../model/generic-resources.js';
import type { GenericResource } from '../../model/generic-resources.js';
import { allowLabel, formatAllowance, nothingAllowed } from '../../model/host-access.js';
import type { HostAllowance } from '../../model/host-access.js';
import type { HostRoute } from '../../model/host-routes.js';
import type { EngineInfo, EngineResource } from '../dockerd/client.js';
import type { WireNodeDescription } from '../rpc/messages.js';

/** What this host's dataplane says of it. */
export interface DataplaneFacts {
  /** Name of the balancer engine. */
  readonly balancer: string;
  /** Whether the kernel can encrypt networks. */
  readonly esp: boolean;
  /** Of the keys that this node sends with. */
  readonly espEpoch: number;
}

/**
 * From the engine's `/info`. Labels, plugins and kinds of resources are ordered, so that equal hosts give equal values.
 * @param routes see host-routes.ts
 * @param facts of the dataplane, which the engine's labels then tell; undefined: not known
 * @param allowance told in the same way, where it is any
 */
export function describeNode(
  info: EngineInfo,
  routes: readonly HostRoute[],
  facts?: DataplaneFacts,
  allowance: HostAllowance = nothingAllowed,
): Omit<WireNodeDescription, 'tlsInfo'> {
  const allowed = formatAllowance(allowance);
  const own = (info.Labels ?? []).filter((label) => splitLabel(label)[0] !== allowLabel);
  const labels = withEngineLabel(
    withBalancer(own, facts?.balancer),
    allowLabel,
    allowed === '' ? undefined : allowed,
  );
  const plugins = (['Authorization', 'Log', 'Network', 'Volume'] as const).flatMap((type) => {
    const names = new Set(info.Plugins?.[type] ?? []);
    // Swarm's too: overlays are every node's own, whatever its engine has.
    if (type === 'Network') names.add('overlay');
    return [...names].sort().map((name) => ({ type, name }));
  });
  return {
    hostname: info.Name,
    architecture: info.Architecture,
    os: info.OSType,
    nanoCpus: info.NCPU * 1e9,
    memoryBytes: info.MemTotal,
    engineVersion: info.ServerVersion,
    engineLabels: Object.fromEntries(
      withEngineLabel(labels, espLabel, facts && String(facts.esp))
        .map(splitLabel)
        .sort(),
    ),
    plugins,
    // The engine keeps the names of a kind as they were given, and tells the kinds in any order.
    genericResources: (info.GenericResources ?? [])
      .flatMap(toResource)
      .sort((a, b) => (a.kind === b.kind ? 0 : a.kind < b.kind ? -1 : 1))
      .slice(0, genericResourcesMax),
    routes,
    espEpoch: facts?.espEpoch ?? 0,
  };
}

function toResource({
  NamedResourceSpec: named,
  DiscreteResourceSpec: counted,
}: EngineResource): GenericResource[] {
  if (named) return [{ kind: named.Kind ?? '', name: named.Value ?? '' }];
  return counted ? [{ kind: counted.Kind ?? '', count: counted.Value ?? 0 }] : [];
}

/** `key=value`; a label without a value is empty. */
function splitLabel(label: string): [string, string] {
  const at = label.indexOf('=');
  return at < 0 ? [label, ''] : [label.slice(0, at), label.slice(at + 1)];
}
