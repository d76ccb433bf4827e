/**
 * The tables against Prometheus' conventions for names (https://prometheus.io/docs/practices/naming/, what promtool check metrics says),
 * and against our own: a prefix, words that end in a full stop, labels that bound the number of series.
 */
import { expect, test } from 'vitest';
import { controlplaneMetrics } from '../../../src/metrics/controlplane-table.js';
import { dataplaneMetrics } from '../../../src/metrics/dataplane-table.js';
import type { MetricDefinition, MetricTable } from '../../../src/metrics/definition.js';
import { collectionMetrics } from '../../../src/metrics/own-table.js';

/** Units that are not to be in a name: the base unit is. */
const otherUnits =
  /_(ms|milliseconds|us|microseconds|minutes|hours|kb|kib|mb|mib|gb|kilobytes|megabytes|percent)(_|$)/;
/** Behind names of their own accord: a histogram makes them. */
const reserved = /_(bucket|sum|count)$/;
const types = /_(counter|gauge|histogram|summary)(_|$)/;

/** What is wrong with a metric, in words. */
function faults(name: string, { type, labels, unit, meaning }: MetricDefinition): string[] {
  const isTotal = name.endsWith('_total');
  const rules: [isBroken: boolean, rule: string][] = [
    [!/^skep_[a-z][a-z0-9]*(_[a-z0-9]+)*$/.test(name), 'skep_, then words of small letters'],
    [type === 'counter' && !isTotal, 'counters end in _total'],
    [type !== 'counter' && isTotal, 'only counters end in _total'],
    [reserved.test(name), 'that ending is a histogram’s own'],
    [types.test(name), 'the type is not in the name'],
    [otherUnits.test(name), 'base units only'],
    [unit === 'seconds' && !/_seconds(_total)?$/.test(name), 'ends in its unit, seconds'],
    [unit === 'bytes' && !/_bytes(_total)?$/.test(name), 'ends in its unit, bytes'],
    [/_seconds(_|$)/.test(name) && unit !== 'seconds', 'says seconds and is none'],
    [/_bytes(_|$)/.test(name) && unit !== 'bytes', 'says bytes and is none'],
    [/_timestamp/.test(name) && !name.endsWith('_timestamp_seconds'), 'moments are _timestamp_seconds'],
    [name.endsWith('_info') && type !== 'gauge', 'information is a gauge that is 1'],
    [type === 'histogram' && unit !== 'seconds', 'what is spread here are times'],
    [labels.some((label) => !/^[a-z][a-z0-9_]*$/.test(label)), 'labels are words of small letters'],
    [labels.some((label) => ['le', 'quantile', 'job', 'instance'].includes(label)), 'labels of others'],
    [/_(by|per)_/.test(name), 'what it is told apart by are labels'],
    [new Set(labels).size !== labels.length, 'labels are different'],
    [labels.some((label) => /client|address|port$/.test(label)), 'no label for callers'],
    [!/^\S.*\.$/.test(meaning) || meaning.includes('\n'), 'a meaning is sentences in one line'],
    [unit === '', 'has a unit'],
  ];
  return rules.filter(([isBroken]) => isBroken).map(([, rule]) => rule);
}

const tables: Readonly<Record<string, MetricTable>> = {
  dataplaneMetrics,
  controlplaneMetrics,
  collectionMetrics,
};

test.each(Object.entries(tables))('%s keep to the conventions', (_, table) => {
  const found = Object.entries(table).flatMap(([name, definition]) =>
    faults(name, definition).map((fault) => `${name}: ${fault}`),
  );
  expect(found).toEqual([]);
});

test('a name means the same in every daemon', () => {
  for (const [name, definition] of Object.entries<MetricDefinition>(dataplaneMetrics))
    if (name in controlplaneMetrics)
      expect(controlplaneMetrics[name as keyof typeof controlplaneMetrics]).toEqual(definition);
});

test.each<[name: string, definition: Partial<MetricDefinition>, fault: string]>([
  ['requests_total', { type: 'counter' }, 'skep_, then words of small letters'],
  ['skep_requests', { type: 'counter' }, 'counters end in _total'],
  ['skep_nodes_total', {}, 'only counters end in _total'],
  ['skep_lag_ms', {}, 'base units only'],
  ['skep_lag', { unit: 'seconds' }, 'ends in its unit, seconds'],
  ['skep_size', { unit: 'bytes' }, 'ends in its unit, bytes'],
  ['skep_request_count', {}, 'that ending is a histogram’s own'],
  ['skep_flows', { labels: ['client'] }, 'no label for callers'],
])('%s is refused', (name, definition, fault) => {
  const plain: MetricDefinition = { type: 'gauge', labels: [], unit: 'things', meaning: 'Some things.' };
  expect(faults(name, { ...plain, ...definition })).toContain(fault);
});
