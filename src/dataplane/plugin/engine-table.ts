/**
 * Compares the engine table with what the engine says it has, and mends the table. Needed when a call never reached us
 * (the daemon was down while a container stopped: the engine forgets the endpoint all the same) and when endpoints.json
 * was lost. A call may be under way while the engine is asked, so a difference counts only if two looks in a row saw it.
 */
import type { EngineEndpoint, EngineNetwork, EngineTable } from '../state-file.js';

/** All of driver `skep` that the engine knows at one moment. */
export interface EngineView {
  readonly networks: readonly EngineNetwork[];
  /** Endpoints of running containers. */
  readonly endpoints: readonly EngineEndpoint[];
  /** Endpoint ids that exist without a sandbox yet. */
  readonly unjoined: readonly string[];
}

export interface TableRepair {
  /** The table to keep from now on; the same object if nothing changes. */
  readonly table: EngineTable;
  /** Differences seen once; give them to the next look. */
  readonly suspects: ReadonlySet<string>;
}

/** One look. A table that is not whole believes the engine at once and is whole afterwards. */
export function repairTable(
  table: EngineTable,
  view: EngineView,
  suspects: ReadonlySet<string>,
): TableRepair {
  const seenNow = new Set<string>();
  /** Whether the difference is to be acted on now. */
  const confirmed = (difference: string): boolean => {
    if (!table.whole || suspects.has(difference)) return true;
    seenNow.add(difference);
    return false;
  };

  const engineNetworks = new Set(view.networks.map((one) => one.engineNetworkId));
  const engineEndpoints = new Set([...view.endpoints.map((one) => one.endpointId), ...view.unjoined]);
  const heldNetworks = new Set(table.networks.map((one) => one.engineNetworkId));
  const heldEndpoints = new Set(table.endpoints.map((one) => one.endpointId));

  const next: EngineTable = {
    ...table,
    whole: true,
    networks: [
      ...table.networks.filter(
        ({ engineNetworkId }) =>
          engineNetworks.has(engineNetworkId) || !confirmed(`-network ${engineNetworkId}`),
      ),
      ...view.networks.filter(
        ({ engineNetworkId }) =>
          !heldNetworks.has(engineNetworkId) && confirmed(`+network ${engineNetworkId}`),
      ),
    ],
    endpoints: [
      ...table.endpoints.filter(
        ({ endpointId }) => engineEndpoints.has(endpointId) || !confirmed(`-endpoint ${endpointId}`),
      ),
      ...view.endpoints.filter(
        ({ endpointId }) => !heldEndpoints.has(endpointId) && confirmed(`+endpoint ${endpointId}`),
      ),
    ],
  };
  return { table: sameTable(table, next) ? table : next, suspects: seenNow };
}

const sameTable = (a: EngineTable, b: EngineTable): boolean =>
  a.whole === b.whole &&
  a.networks.length === b.networks.length &&
  a.endpoints.length === b.endpoints.length &&
  a.networks.every((one, index) => one === b.networks[index]) &&
  a.endpoints.every((one, index) => one === b.endpoints[index]);
