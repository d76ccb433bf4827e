/**
 * The metrics of one daemon: a table, collectors that read the values when somebody asks, and the text of a scrape. Nothing is kept
 * from scrape to scrape: a service that is gone has no series in the next one, and what counts does so where it happens, in plain numbers.
 *
 * Must stay true: a collector that fails or is late costs its own metrics alone, and is counted; scrapes that come together share one
 * collection; there is an upper bound to the lines of a scrape.
 */
import type { Clock } from '../runtime/clock.js';
import type { Log } from '../runtime/log.js';
import type { MetricTable } from './definition.js';
import { Exposition } from './exposition.js';
import { collectionMetrics } from './own-table.js';
import type { Samples } from './samples.js';
import { SampleBuffer } from './samples.js';

/** Reads what it knows into a scrape. What it has put counts only if it succeeds. */
export type Collector<Table extends MetricTable> = (into: Samples<Table>) => void | Promise<void>;

export interface MetricsOptions<Table extends MetricTable> {
  readonly table: Table;
  readonly clock: Pick<Clock, 'steadyMs' | 'sleep'>;
  readonly log: Log;
  /** Lines of a scrape, at most. */
  readonly seriesMax?: number;
  /** Longest that a collector is waited for. */
  readonly collectMsMax?: number;
}

/** A thousand services on two networks each, with all that there is of one, are half of it; Prometheus reads as many in some ten milliseconds. */
const seriesMaxDefault = 50_000;
/** Half of Prometheus' own limit for a scrape (scrape_timeout, 10 s). */
const collectMsMaxDefault = 5_000;

export class Metrics<Table extends MetricTable> {
  readonly #collectors = new Map<string, Collector<Table>>();
  readonly #failures = new Map<string, number>();
  /** Those that failed last time, so that a failure is told once. */
  readonly #failing = new Set<string>();
  readonly #exposition: Exposition;
  readonly #options: Required<MetricsOptions<Table>>;
  #collecting: Promise<string> | null = null;

  constructor(options: MetricsOptions<Table>) {
    this.#options = { seriesMax: seriesMaxDefault, collectMsMax: collectMsMaxDefault, ...options };
    this.#exposition = new Exposition({ ...options.table, ...collectionMetrics });
  }

  /** What a scrape's text is, as HTTP has it. */
  get contentType(): string {
    return this.#exposition.contentType;
  }

  /** @param name of the collector, by which its failures are counted */
  collect(name: string, collector: Collector<Table>): void {
    this.#collectors.set(name, collector);
  }

  /** The text of a scrape; whoever asks while one is being made gets that. Rejects with a bug only. */
  text(): Promise<string> {
    this.#collecting ??= this.#collect().finally(() => (this.#collecting = null));
    return this.#collecting;
  }

  async #collect(): Promise<string> {
    const { clock, seriesMax } = this.#options;
    const begunMs = clock.steadyMs();
    const samples = new SampleBuffer<MetricTable>(seriesMax);
    const buffers = await Promise.all(
      Array.from(this.#collectors, ([name, collector]) => this.#run(name, collector)),
    );
    for (const buffer of buffers) if (buffer) samples.putAll(buffer);
    // What says that something is missing is never left out itself.
    const whole = new SampleBuffer<MetricTable>(Infinity);
    for (const [collector, count] of this.#failures)
      whole.put('skep_metrics_collection_failures_total', { collector }, count);
    whole.put('skep_metrics_left_out_series', {}, samples.leftOut);
    whole.put('skep_metrics_collection_seconds', {}, (clock.steadyMs() - begunMs) / 1000);
    whole.putAll(samples);
    return this.#exposition.text(whole);
  }

  async #run(name: string, collector: Collector<Table>): Promise<SampleBuffer<MetricTable> | null> {
    const { clock, log, seriesMax, collectMsMax } = this.#options;
    const buffer = new SampleBuffer<Table>(seriesMax);
    const over = new AbortController();
    if (!this.#failures.has(name)) this.#failures.set(name, 0);
    try {
      await Promise.race([
        collector(buffer),
        clock.sleep(collectMsMax, over.signal).then(() => {
          throw new Error(`not done within ${collectMsMax} ms`);
        }),
      ]);
      this.#failing.delete(name);
      return buffer;
    } catch (err) {
      this.#failures.set(name, (this.#failures.get(name) ?? 0) + 1);
      if (!this.#failing.has(name)) log.warn({ collector: name, err }, 'these metrics cannot be collected');
      this.#failing.add(name);
      return null;
    } finally {
      over.abort();
    }
  }
}
