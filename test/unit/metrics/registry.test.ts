/** Collections: what a scrape says, what a failure costs, what several at once cost, and how large one can become. */
import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import type { MetricTable } from '../../../src/metrics/definition.js';
import { Metrics } from '../../../src/metrics/registry.js';
import type { Collector, MetricsOptions } from '../../../src/metrics/registry.js';
import { systemClock } from '../../../src/runtime/clock.js';
import { Histogram } from '../../../src/runtime/histogram.js';

const table = {
  skep_calls_total: { type: 'counter', labels: ['service'], unit: 'calls', meaning: 'Calls.' },
  skep_tasks: { type: 'gauge', labels: [], unit: 'tasks', meaning: 'Tasks.' },
  skep_call_seconds: { type: 'histogram', labels: ['service'], unit: 'seconds', meaning: 'How long.' },
} as const satisfies MetricTable;
type Table = typeof table;

function metricsOf(
  collectors: Record<string, Collector<Table>>,
  options: Partial<MetricsOptions<Table>> = {},
): Metrics<Table> {
  const metrics = new Metrics({ table, clock: systemClock, log: pino({ level: 'silent' }), ...options });
  for (const [name, collector] of Object.entries(collectors)) metrics.collect(name, collector);
  return metrics;
}
/** What does not hang on how long it took. */
const linesOf = (text: string): string[] =>
  text
    .split('\n')
    .filter(
      (line) => line !== '' && !line.startsWith('#') && !line.startsWith('skep_metrics_collection_seconds'),
    );
const own = (collectors: Record<string, number>, leftOut = 0): string[] => [
  ...Object.entries(collectors).map(
    ([name, count]) => `skep_metrics_collection_failures_total{collector="${name}"} ${count}`,
  ),
  `skep_metrics_left_out_series ${leftOut}`,
];

describe('metrics', () => {
  test('are text as Prometheus has it, with help and type', async () => {
    const metrics = metricsOf({
      calls: (into) => {
        into.put('skep_calls_total', { service: 'web' }, 3);
        into.put('skep_calls_total', { service: 'a "b\\c\nd' }, 1);
        into.put('skep_tasks', {}, 2);
      },
    });
    const text = await metrics.text();
    expect(text).toContain('# HELP skep_calls_total Calls.\n# TYPE skep_calls_total counter\n');
    expect(linesOf(text)).toEqual([
      'skep_calls_total{service="web"} 3',
      'skep_calls_total{service="a \\"b\\\\c\\nd"} 1',
      'skep_tasks 2',
      ...own({ calls: 0 }),
    ]);
    expect(text.endsWith('\n') && !text.endsWith('\n\n')).toBe(true);
    expect(metrics.contentType).toBe('text/plain; version=0.0.4; charset=utf-8');
  });

  test('histograms are cumulated, each value in the bucket that ends with it', async () => {
    const histogram = new Histogram([0.1, 1]);
    for (const value of [0.05, 0.1, 0.5, 7]) histogram.observe(value);
    const metrics = metricsOf({
      one: (into) => into.putHistogram('skep_call_seconds', { service: 'web' }, histogram.values),
    });
    expect(linesOf(await metrics.text()).slice(0, 5)).toEqual([
      'skep_call_seconds_bucket{le="0.1",service="web"} 2',
      'skep_call_seconds_bucket{le="1",service="web"} 3',
      'skep_call_seconds_bucket{le="+Inf",service="web"} 4',
      'skep_call_seconds_sum{service="web"} 7.65',
      'skep_call_seconds_count{service="web"} 4',
    ]);
  });

  test('what is gone has no series in the next scrape', async () => {
    let services = ['web', 'api'];
    const metrics = metricsOf({
      calls: (into) => services.forEach((service) => into.put('skep_calls_total', { service }, 1)),
    });
    expect(await metrics.text()).toContain('service="api"');
    services = ['web'];
    const text = await metrics.text();
    expect([text.includes('service="web"'), text.includes('service="api"')]).toEqual([true, false]);
    services = [];
    expect(await metrics.text()).not.toContain('skep_calls_total');
  });

  test.each<[name: string, collector: Collector<Table>]>([
    [
      'that throws half way',
      (into) => {
        into.put('skep_tasks', {}, 1);
        throw new Error('no more');
      },
    ],
    ['that rejects', () => Promise.reject(new Error('gone'))],
    ['that never ends', () => new Promise(() => undefined)],
  ])('a collector %s costs its own metrics alone, and is counted', async (_, broken) => {
    const metrics = metricsOf(
      { broken, calls: (into) => into.put('skep_calls_total', { service: 'web' }, 1) },
      { collectMsMax: 30 },
    );
    for (const failures of [1, 2])
      expect(linesOf(await metrics.text())).toEqual([
        'skep_calls_total{service="web"} 1',
        ...own({ broken: failures, calls: 0 }),
      ]);
  });

  test('scrapes at the same time share one collection, the next has its own', async () => {
    let collections = 0;
    let finish = (): void => undefined;
    const metrics = metricsOf({
      slow: async (into) => {
        collections += 1;
        await new Promise<void>((resolve) => (finish = resolve));
        into.put('skep_tasks', {}, collections);
      },
    });
    const together = [metrics.text(), metrics.text(), metrics.text()];
    finish();
    const texts = await Promise.all(together);
    expect([collections, new Set(texts).size]).toEqual([1, 1]);
    const next = metrics.text();
    finish();
    expect(await next).toContain('skep_tasks 2');
  });

  test('a scrape is no longer than it may be, and says what is left out', async () => {
    const histogram = new Histogram([1, 2, 3]);
    const metrics = metricsOf(
      {
        calls: (into) => {
          for (let number = 0; number < 100; number++)
            into.put('skep_calls_total', { service: `s${number}` }, 1);
          into.putHistogram('skep_call_seconds', { service: 'web' }, histogram.values);
        },
      },
      { seriesMax: 40 },
    );
    const lines = linesOf(await metrics.text());
    expect(lines.filter((line) => line.startsWith('skep_calls_total')).length).toBe(40);
    expect(lines.at(-1)).toBe('skep_metrics_left_out_series 66');
  });
});
