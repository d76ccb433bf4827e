/** The text of a scrape: what is kept from one to the next shows in none. */
import type { Metric } from 'prom-client';
import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import type { MetricTable } from '../../../src/metrics/definition.js';
import { Exposition } from '../../../src/metrics/exposition.js';
import { SampleBuffer } from '../../../src/metrics/samples.js';

const table = {
  skep_calls_total: { type: 'counter', labels: ['service'], unit: 'calls', meaning: 'Calls \\ of\nall.' },
  skep_tasks: { type: 'gauge', labels: ['state', 'service'], unit: 'tasks', meaning: 'Tasks.' },
} as const satisfies MetricTable;

type Line = readonly [metric: keyof typeof table, labels: Readonly<Record<string, string>>, value: number];

const textOf = (exposition: Exposition, lines: readonly Line[]): Promise<string> => {
  const samples = new SampleBuffer<MetricTable>(Infinity);
  for (const line of lines) samples.put(...line);
  return exposition.text(samples);
};

/** prom-client's own, every line anew. */
async function textByRegistry(lines: readonly Line[]): Promise<string> {
  const registry = new Registry();
  for (const [name, { type, meaning: help }] of Object.entries(table)) {
    const values = lines
      .filter(([metric]) => metric === name)
      .map(([, labels, value]) => ({ labels: { ...labels }, value }));
    const get = (): object => ({ ...{ name, type, help, aggregator: 'sum' }, values });
    if (values.length > 0) registry.registerMetric({ name, get } as unknown as Metric<string>);
  }
  return (await registry.metrics()).replaceAll('\n\n', '\n');
}

const web = { service: 'web' };
const odd = { service: 'a "b" \\c\nd 7' };
const running = { state: 'running', service: 'web' };

test('each scrape is what prom-client would write of it, whatever was in the one before', async () => {
  const exposition = new Exposition(table);
  const scrapes: readonly (readonly Line[])[] = [
    [
      ['skep_calls_total', web, 3],
      ['skep_calls_total', odd, 1.5e-7],
      ['skep_tasks', running, 2],
    ],
    // Other values, another order, labels of one metric on the other, and some that are new beside some that are known.
    [
      ['skep_calls_total', odd, 2 ** 53],
      ['skep_calls_total', { service: 'api' }, 0],
      ['skep_calls_total', web, 4],
      ['skep_tasks', web, -1],
    ],
    [],
    // The same labels, as another object.
    [
      ['skep_calls_total', { ...web }, 5],
      ['skep_tasks', running, Infinity],
      ['skep_tasks', odd, -Infinity],
      ['skep_tasks', {}, 0.1],
    ],
  ];
  for (const lines of scrapes) {
    const expected = lines.length === 0 ? '' : await textByRegistry(lines);
    expect(await textOf(exposition, lines)).toBe(expected);
    expect(await textOf(exposition, lines)).toBe(expected);
  }
});

test('a value that is none is one for Prometheus, too', async () => {
  expect(await textOf(new Exposition(table), [['skep_tasks', {}, NaN]])).toMatch(/^skep_tasks NaN$/m);
});
