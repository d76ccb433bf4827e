/** The metrics of skepd: every collector, each with where it reads. */
import { controlplaneMetrics } from '../../metrics/controlplane-table.js';
import type { ControlplaneMetrics } from '../../metrics/controlplane-table.js';
import { processCollector } from '../../metrics/process-collector.js';
import { Metrics } from '../../metrics/registry.js';
import type { Samples } from '../../metrics/samples.js';
import type { Clock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';
import { validityOf } from '../ca/certificates.js';
import type { NodeIdentity } from '../ca/node-identity.js';
import type { ServingManager } from '../node/manager.js';
import { putCluster, putDispatcher } from './cluster-collector.js';
import type { ControlplaneCounts } from './counts.js';

/** What is read of this node's manager. */
export type ManagerSource = Pick<ServingManager, 'dispatcher' | 'leaderlessMs' | 'storeState'> & {
  readonly store: Pick<ServingManager['store'], 'view'>;
};

export interface ControlplaneSources {
  readonly counts: Pick<ControlplaneCounts, 'put'>;
  /** Undefined: this node is no manager, or its manager does not serve. */
  readonly manager: () => ManagerSource | undefined;
  /** Undefined: this node is in no cluster, or locked. */
  readonly identity: () => Pick<NodeIdentity, 'certPem'> | undefined;
}

export function controlplaneMetricsOf(
  { counts, manager, identity }: ControlplaneSources,
  { clock, log }: { readonly clock: Clock; readonly log: Log },
): Metrics<ControlplaneMetrics> {
  const metrics = new Metrics({ table: controlplaneMetrics, clock, log });
  metrics.collect('counts', (into) => counts.put(into));
  metrics.collect('cluster', (into) => {
    const now = manager();
    const dispatcher = now?.dispatcher();
    if (!now || !dispatcher) return;
    const view = now.store.view();
    putCluster(into, view);
    putDispatcher(into, dispatcher, view.revision);
  });
  metrics.collect('manager', (into) => {
    const now = manager();
    if (now) putManager(into, now);
  });
  metrics.collect('certificates', (into) => putCertificates(into, identity(), manager()));
  metrics.collect('process', processCollector('skepd'));
  return metrics;
}

function putManager(into: Samples<ControlplaneMetrics>, manager: ManagerSource): void {
  into.put('skep_leader', {}, manager.dispatcher() ? 1 : 0);
  into.put('skep_leaderless_seconds', {}, manager.leaderlessMs() / 1000);
  into.put('skep_store_revision', {}, manager.store.view().revision);
  const state = manager.storeState();
  if (!state) return;
  into.put('skep_etcd_database_bytes', {}, state.databaseBytes);
  into.put('skep_etcd_used_bytes', {}, state.usedBytes);
  into.put('skep_etcd_quota_bytes', {}, state.quotaBytes);
  // Of a disk that could not be asked nothing is known.
  if (Number.isFinite(state.diskFreeBytes)) into.put('skep_etcd_disk_free_bytes', {}, state.diskFreeBytes);
  into.put('skep_etcd_alarm', { alarm: 'full' }, state.isFull ? 1 : 0);
  into.put('skep_etcd_alarm', { alarm: 'corrupt' }, state.isCorrupt ? 1 : 0);
}

function putCertificates(
  into: Samples<ControlplaneMetrics>,
  identity: Pick<NodeIdentity, 'certPem'> | undefined,
  manager: ManagerSource | undefined,
): void {
  const name = 'skep_certificate_expiry_timestamp_seconds';
  if (identity) into.put(name, { certificate: 'node' }, validityOf(identity.certPem).notAfterMs / 1000);
  const [cluster] = manager?.store.view().list('cluster') ?? [];
  if (cluster) into.put(name, { certificate: 'root' }, validityOf(cluster.rootCa.certPem).notAfterMs / 1000);
}
