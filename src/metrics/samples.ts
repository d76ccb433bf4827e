/** The values of one scrape, by metric. Bounded: what exceeds the bound is left out, and counted. */
import type { HistogramValues } from '../runtime/histogram.js';
import type { LabelsOf, MetricTable } from './definition.js';

/** One line of a scrape. */
export interface Sample {
  /** Behind the metric's name: `_bucket`, `_sum` or `_count` of a histogram. */
  readonly suffix: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Upper end of a histogram's bucket. */
  readonly le?: string;
  readonly value: number;
}

/** Where collectors put what they have found. Labels that several values share are best given as one object: they are written once. */
export interface Samples<Table extends MetricTable> {
  put<Name extends keyof Table & string>(name: Name, labels: LabelsOf<Table[Name]>, value: number): void;
  putHistogram<Name extends keyof Table & string>(
    name: Name,
    labels: LabelsOf<Table[Name]>,
    values: HistogramValues,
  ): void;
}

export class SampleBuffer<Table extends MetricTable> implements Samples<Table> {
  readonly #byMetric = new Map<string, Sample[]>();
  #size = 0;
  #leftOut = 0;

  /** @param sizeMax lines that are kept */
  constructor(private readonly sizeMax: number) {}

  get size(): number {
    return this.#size;
  }

  get leftOut(): number {
    return this.#leftOut;
  }

  of(name: string): readonly Sample[] {
    return this.#byMetric.get(name) ?? [];
  }

  put(name: string, labels: Readonly<Record<string, string>>, value: number): void {
    if (this.#hasRoom(1)) this.#add(name, { suffix: '', labels, value });
  }

  putHistogram(
    name: string,
    labels: Readonly<Record<string, string>>,
    { bounds, counts, sum }: HistogramValues,
  ): void {
    // A part of a histogram is none.
    if (!this.#hasRoom(counts.length + 2)) return;
    let count = 0;
    for (const [index, more] of counts.entries()) {
      count += more;
      const le = bounds[index] === undefined ? '+Inf' : String(bounds[index]);
      this.#add(name, { suffix: '_bucket', labels, le, value: count });
    }
    this.#add(name, { suffix: '_sum', labels, value: sum });
    this.#add(name, { suffix: '_count', labels, value: count });
  }

  /** Takes over another one, metric by metric, as far as there is room. */
  putAll(other: SampleBuffer<Table>): void {
    this.#leftOut += other.leftOut;
    for (const [name, samples] of other.#byMetric)
      if (this.#hasRoom(samples.length)) {
        const own = this.#byMetric.get(name);
        this.#size += samples.length;
        this.#byMetric.set(name, own ? own.concat(samples) : samples);
      }
  }

  #hasRoom(count: number): boolean {
    if (this.#size + count <= this.sizeMax) return true;
    this.#leftOut += count;
    return false;
  }

  #add(name: string, sample: Sample): void {
    this.#size += 1;
    const samples = this.#byMetric.get(name);
    if (samples) samples.push(sample);
    else this.#byMetric.set(name, [sample]);
  }
}
