/**
 * The text of a scrape, as prom-client writes it. Names and labels are most of a line and most of the work, and the same from scrape to
 * scrape: what stands before a value is asked of prom-client once for as long as somebody holds the labels' object.
 */
import assert from 'node:assert';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Metric } from 'prom-client';
import { Registry } from 'prom-client';
import type { MetricDefinition, MetricTable } from './definition.js';
import type { Sample, SampleBuffer } from './samples.js';

/** Text of so many lines is made in one go: a millisecond or two, several where all their labels are new. */
const linesPerTurn = 4_000;

export class Exposition {
  readonly #registry = new Registry();
  readonly #metrics: readonly ScrapedMetric[];

  constructor(table: MetricTable) {
    this.#metrics = Object.entries(table).map(([name, definition]) => new ScrapedMetric(name, definition));
    for (const metric of this.#metrics) this.#registry.registerMetric(metric as unknown as Metric<string>);
  }

  /** What the text is, as HTTP has it. */
  get contentType(): string {
    return this.#registry.contentType;
  }

  /** Metric by metric, in the table's order; what else the process does comes in between. One at a time. */
  async text(samples: SampleBuffer<MetricTable>): Promise<string> {
    let text = '';
    let lines = 0;
    for (const metric of this.#metrics) {
      const own = samples.of(metric.name);
      // A heading alone says nothing.
      if (own.length === 0) continue;
      if (lines + own.length > linesPerTurn) {
        await nextTurn();
        lines = 0;
      }
      lines += own.length;
      text +=
        metric.type === 'histogram'
          ? `${await this.#written(metric, own)}\n`
          : await this.#joined(metric, own);
    }
    return text;
  }

  /** By prom-client alone; without a line feed at the end. */
  async #written(metric: ScrapedMetric, samples: readonly Sample[]): Promise<string> {
    metric.samples = samples;
    const text = await this.#registry.getSingleMetricAsString(metric.name);
    metric.samples = [];
    return text;
  }

  async #joined(metric: ScrapedMetric, samples: readonly Sample[]): Promise<string> {
    const { heads } = metric;
    const unknown = samples.filter(({ labels }) => !heads.has(labels));
    if (unknown.length > 0) {
      const [help, type, ...lines] = (await this.#written(metric, unknown)).split('\n');
      metric.heading = `${help}\n${type}\n`;
      // A line feed within a label is written as two characters: there is a line for each sample.
      assert.equal(lines.length, unknown.length);
      for (const [index, { labels }] of unknown.entries()) heads.set(labels, headOf(lines[index] ?? ''));
    }
    let text = metric.heading;
    for (const { labels, value } of samples) text += `${heads.get(labels)}${valueText(value)}\n`;
    return text;
  }
}

/** A value has no space in it. */
const headOf = (line: string): string => line.slice(0, line.lastIndexOf(' ') + 1);

/** Go's strconv.ParseFloat reads it, by which Prometheus does. */
const valueText = (value: number): string =>
  Number.isNaN(value) || Number.isFinite(value) ? `${value}` : value > 0 ? '+Inf' : '-Inf';

/** As the registry asks for one: values with what they share of labels, whose text it keeps by the object. */
class ScrapedMetric {
  readonly type: MetricDefinition['type'];
  readonly help: string;
  readonly aggregator = 'sum';
  /** What the registry is to write. */
  samples: readonly Sample[] = [];
  /** Help and type, once they were written. */
  heading = '';
  /** What stands before the value, by the labels. */
  readonly heads = new WeakMap<Sample['labels'], string>();

  constructor(
    readonly name: string,
    { type, meaning }: MetricDefinition,
  ) {
    this.type = type;
    this.help = meaning;
  }

  get(): object {
    const { name, help, type, aggregator } = this;
    const values = this.samples.map(({ suffix, labels, le, value }) => ({
      metricName: name + suffix,
      labels: le === undefined ? {} : { le },
      sharedLabels: labels,
      value,
    }));
    return { name, help, type, aggregator, values };
  }
}
