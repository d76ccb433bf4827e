/** Collectors of what this node's daemon holds and does, each of one part of it. */
import type { DataplaneMetrics } from '../../metrics/dataplane-table.js';
import type { Samples } from '../../metrics/samples.js';
import type { NameFigures } from '../dns/query-counts.js';
import type { LivenessFigures } from '../liveness/prober.js';
import type { ReconcilerFigures } from '../reconcile/figures.js';
import type { NodeNetworkState } from '../state.js';

type Into = Samples<DataplaneMetrics>;

/** How far the kernel is behind. @param state null: this node is in no cluster, and nothing is behind */
export function putProgramming(into: Into, state: NodeNetworkState | null, figures: ReconcilerFigures): void {
  const { programmedRevision } = figures;
  const revision = state?.revision ?? 0;
  into.put('skep_dataplane_state_revision', {}, revision);
  into.put('skep_dataplane_programmed_revision', {}, programmedRevision);
  // Of another cluster, whose revisions were higher, something may be programmed still.
  into.put('skep_dataplane_behind_revisions', {}, Math.max(0, revision - programmedRevision));
  into.put('skep_dataplane_behind_seconds', {}, figures.behindMs / 1000);
  into.put('skep_dataplane_published_ports', {}, state?.publishedPorts.length ?? 0);
  into.put('skep_dataplane_drift_repairs_total', {}, figures.driftRepairs);
  into.put('skep_dataplane_operations_total', {}, figures.operations);
  into.putHistogram('skep_dataplane_pass_seconds', {}, figures.passes);
  for (const [scope, count] of figures.failures)
    into.put('skep_dataplane_scope_failures_total', { scope }, count);
  for (const { kind, state: is, count } of figures.scopes)
    into.put('skep_dataplane_scopes', { scope: kind, state: is }, count);
}

export function putNames(into: Into, { queries, dropped, seconds, listeners }: NameFigures): void {
  for (const { type, outcome, count } of queries)
    into.put('skep_dns_queries_total', { type, outcome }, count);
  into.put('skep_dns_dropped_messages_total', {}, dropped);
  for (const [source, values] of Object.entries(seconds))
    into.putHistogram('skep_dns_answer_seconds', { source }, values);
  for (const [state, count] of Object.entries(listeners)) into.put('skep_dns_listeners', { state }, count);
}

export function putPeers(into: Into, { asked, heard, fallen, peers }: LivenessFigures): void {
  for (const [state, count] of Object.entries(peers)) into.put('skep_peers', { state }, count);
  into.put('skep_peer_probes_total', {}, asked);
  into.put('skep_peer_answers_total', {}, heard);
  into.put('skep_peer_silences_total', {}, fallen);
}

export function putEncryption(into: Into, state: NodeNetworkState | null): void {
  const keys = state?.encryptionKeys ?? [];
  into.put('skep_esp_keys', {}, keys.length);
  into.put('skep_esp_key_sequence', {}, keys.find(({ sends }) => sends)?.sequence ?? 0);
}
