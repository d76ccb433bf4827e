/** Counts how values are spread, at the cost of a few comparisons each. What is counted is read, never reset: Prometheus wants it so. */

/** What a histogram has counted, as plain data: it goes from thread to thread. */
export interface HistogramValues {
  /** Upper ends of the buckets, ascending, each belonging to its bucket. */
  readonly bounds: readonly number[];
  /** By bucket, not cumulated; one more than bounds, for what is above all of them. */
  readonly counts: readonly number[];
  readonly sum: number;
}

export class Histogram {
  readonly #counts: number[];
  #sum = 0;

  /** @param bounds ascending */
  constructor(private readonly bounds: readonly number[]) {
    this.#counts = new Array<number>(bounds.length + 1).fill(0);
  }

  observe(value: number): void {
    let bucket = 0;
    while (bucket < this.bounds.length && value > (this.bounds[bucket] ?? Infinity)) bucket += 1;
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
    this.#sum += value;
  }

  get values(): HistogramValues {
    return { bounds: this.bounds, counts: [...this.#counts], sum: this.#sum };
  }
}

/** Histograms by a key, each made when its first value comes: keys are of the caller's own choice, and few. */
export class Histograms<Key extends string> implements Iterable<readonly [Key, HistogramValues]> {
  readonly #byKey = new Map<Key, Histogram>();

  constructor(private readonly bounds: readonly number[]) {}

  observe(key: Key, value: number): void {
    let histogram = this.#byKey.get(key);
    if (!histogram) this.#byKey.set(key, (histogram = new Histogram(this.bounds)));
    histogram.observe(value);
  }

  *[Symbol.iterator](): Iterator<readonly [Key, HistogramValues]> {
    for (const [key, { values }] of this.#byKey) yield [key, values];
  }
}
