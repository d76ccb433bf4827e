/** What a scrape says of the node's daemon: figures to series. */
import { expect, test } from 'vitest';
import {
  putEncryption,
  putNames,
  putPeers,
  putProgramming,
} from '../../../../src/dataplane/metrics/node-collectors.js';
import type { ReconcilerFigures } from '../../../../src/dataplane/reconcile/figures.js';
import type { dataplaneMetrics } from '../../../../src/metrics/dataplane-table.js';
import type { Samples } from '../../../../src/metrics/samples.js';
import { SampleBuffer } from '../../../../src/metrics/samples.js';
import { Histogram } from '../../../../src/runtime/histogram.js';
import { stateOf } from '../plan/network-state.js';

const { values } = new Histogram([1]);
const figures: ReconcilerFigures = {
  programmedRevision: 40,
  behindMs: 1500,
  driftRepairs: 2,
  operations: 90,
  passes: values,
  failures: new Map([['host', 3]]),
  scopes: [{ kind: 'overlay', state: 'pending', count: 1 }],
};

/** `name{values of labels} value`, histograms by their count. */
function linesOf(put: (into: Samples<typeof dataplaneMetrics>) => void): string[] {
  const lines: string[] = [];
  const line = (name: string, labels: object, value: number): void =>
    void lines.push(`${[name, ...Object.values<string>({ ...labels })].join(' ')} ${value}`);
  put({
    put: line,
    putHistogram: (name, labels, { counts }) =>
      line(
        name,
        labels,
        counts.reduce((a, b) => a + b),
      ),
  });
  return lines;
}

test.each<[name: string, revision: number | null, behind: string[]]>([
  ['a newer state', 42, ['skep_dataplane_state_revision 42', 'skep_dataplane_behind_revisions 2']],
  [
    'the state that is programmed',
    40,
    ['skep_dataplane_state_revision 40', 'skep_dataplane_behind_revisions 0'],
  ],
  ['a state of another cluster', 7, ['skep_dataplane_state_revision 7', 'skep_dataplane_behind_revisions 0']],
  ['no state', null, ['skep_dataplane_state_revision 0', 'skep_dataplane_behind_revisions 0']],
])('how far the kernel is behind %s', (_, revision, behind) => {
  const state = revision === null ? null : stateOf(1, { revision, ingress: true, ports: { 80: 80, 81: 80 } });
  const lines = linesOf((into) => putProgramming(into, state, figures));
  expect(lines).toEqual([
    behind[0],
    'skep_dataplane_programmed_revision 40',
    behind[1],
    'skep_dataplane_behind_seconds 1.5',
    `skep_dataplane_published_ports ${revision === null ? 0 : 2}`,
    'skep_dataplane_drift_repairs_total 2',
    'skep_dataplane_operations_total 90',
    'skep_dataplane_pass_seconds 0',
    'skep_dataplane_scope_failures_total host 3',
    'skep_dataplane_scopes overlay pending 1',
  ]);
});

test('what names were asked for, who answers, and which keys there are', () => {
  const lines = linesOf((into) => {
    putNames(into, {
      queries: [{ type: 'A', outcome: 'answered', count: 5 }],
      dropped: 1,
      seconds: { state: values, resolvers: values },
      listeners: { open: 3, closed: 1 },
    });
    putPeers(into, { asked: 8, heard: 7, fallen: 1, peers: { heard: 2, silent: 1, unjudged: 0 } });
    putEncryption(into, stateOf(1, { keys: [4, 5], sends: 5 }));
  });
  expect(lines).toEqual([
    'skep_dns_queries_total A answered 5',
    'skep_dns_dropped_messages_total 1',
    'skep_dns_answer_seconds state 0',
    'skep_dns_answer_seconds resolvers 0',
    'skep_dns_listeners open 3',
    'skep_dns_listeners closed 1',
    'skep_peers heard 2',
    'skep_peers silent 1',
    'skep_peers unjudged 0',
    'skep_peer_probes_total 8',
    'skep_peer_answers_total 7',
    'skep_peer_silences_total 1',
    'skep_esp_keys 2',
    'skep_esp_key_sequence 5',
  ]);
});

test('a buffer is filled as the collectors fill it', () => {
  const buffer = new SampleBuffer<typeof dataplaneMetrics>(Infinity);
  putEncryption(buffer, null);
  expect(buffer.of('skep_esp_keys')).toEqual([{ suffix: '', labels: {}, value: 0 }]);
});
