/**
 * What a metric is, as data. All of a daemon's metrics stand in one table (dataplane-table.ts, controlplane-table.ts), from which they are
 * registered, typed where they are filled, checked against Prometheus' conventions and described in docs/metrics.md.
 */
export interface MetricDefinition {
  readonly type: 'counter' | 'gauge' | 'histogram';
  /** Their values are few and known, or names that users give; never addresses of clients. */
  readonly labels: readonly string[];
  /** What is counted or measured, in the plural; the name ends in it where it is a base unit. */
  readonly unit: string;
  /** One or two sentences: the help of the scrape, and the line of the document. */
  readonly meaning: string;
}

/** By name. */
export type MetricTable = Readonly<Record<string, MetricDefinition>>;

/** Metrics that belong together. */
export interface MetricSection {
  readonly title: string;
  /** What one has to know to read them. */
  readonly text: string;
  readonly metrics: MetricTable;
}

/** A value for each label of a metric. */
export type LabelsOf<Definition extends MetricDefinition> = Readonly<
  Record<Definition['labels'][number], string>
>;
