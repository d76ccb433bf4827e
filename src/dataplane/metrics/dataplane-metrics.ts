/** The metrics of skep-dataplane: every collector, each with where it reads. */
import { dataplaneMetrics } from '../../metrics/dataplane-table.js';
import type { DataplaneMetrics } from '../../metrics/dataplane-table.js';
import { processCollector } from '../../metrics/process-collector.js';
import { Metrics } from '../../metrics/registry.js';
import type { Clock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';
import type { NameFigures } from '../dns/query-counts.js';
import type { LivenessFigures } from '../liveness/prober.js';
import type { ReconcilerFigures } from '../reconcile/figures.js';
import type { NodeNetworkState } from '../state.js';
import type { BalancerCollectorOptions } from './balancer-collector.js';
import { balancerCollector } from './balancer-collector.js';
import { putEncryption, putNames, putPeers, putProgramming } from './node-collectors.js';

export interface DataplaneSources extends BalancerCollectorOptions {
  /** As the agent handed it over; null: this node is in no cluster. */
  readonly state: () => NodeNetworkState | null;
  readonly programming: () => ReconcilerFigures;
  readonly names: () => Promise<NameFigures>;
  readonly liveness: () => LivenessFigures;
}

export function dataplaneMetricsOf(
  sources: DataplaneSources,
  { clock, log }: { readonly clock: Clock; readonly log: Log },
): Metrics<DataplaneMetrics> {
  const { state, programming, names, liveness } = sources;
  const metrics = new Metrics({ table: dataplaneMetrics, clock, log });
  metrics.collect('balancer', balancerCollector(sources));
  metrics.collect('programming', (into) => putProgramming(into, state(), programming()));
  metrics.collect('names', async (into) => putNames(into, await names()));
  metrics.collect('peers', (into) => putPeers(into, liveness()));
  metrics.collect('encryption', (into) => putEncryption(into, state()));
  metrics.collect('process', processCollector('skep-dataplane'));
  return metrics;
}
