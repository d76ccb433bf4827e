/**
 * What may be asked of balancing, and the labels that ask for it, because Docker's API has no fields for it. The same
 * words mean the same in every balancer engine.
 */
import type { Labels } from './service-spec.js';

/**
 * How a new flow finds its task: in turn (`rr`), in turn by weight (`wrr`), the fewest flows (`lc`), or by the client's
 * address over a Maglev table (`mh`), which keeps a client's choice when others come and go. Weights count for `wrr`
 * and `mh`.
 */
export const schedulers = ['rr', 'wrr', 'lc', 'mh'] as const;
export type Scheduler = (typeof schedulers)[number];
export const defaultScheduler: Scheduler = 'rr';

/** A day: the balancer holds an entry for each client meanwhile. */
export const affinitySMax = 86_400;

/** A table of turns by weight needs up to this many slots for each real server. */
export const weightMax = 1000;
export const defaultWeight = 1;

/** On a service. {@link weightLabel} is one, too: the weight of all its tasks. */
export const schedulerLabel = 'skep.lb.scheduler';
/** On a service: a duration as Go writes it, `300s` or `5m`; fractions of a second count as a whole one. */
export const affinityLabel = 'skep.lb.affinity';
/** On a node: the weight of every task that runs there, whatever its service says. On a container of a service: that task's. */
export const weightLabel = 'skep.lb.weight';
/** On a node's engine, set by Skep itself: `ipvs` or `ebpf`, for constraints on `engine.labels.skep.balancer`. */
export const balancerLabel = 'skep.balancer';
/** Every label of balancing begins so; a name that nobody knows is a mistake of writing. */
const labelPrefix = 'skep.lb.';

/** An engine's labels (`key=value`) with the balancer's among them; undefined: as they are. */
export const withBalancer = (labels: readonly string[], balancer: string | undefined): readonly string[] =>
  withEngineLabel(labels, balancerLabel, balancer);

/** An engine's labels (`key=value`) with one of Skep's own; undefined: as they are. */
export const withEngineLabel = (
  labels: readonly string[],
  name: string,
  value: string | undefined,
): readonly string[] =>
  value === undefined
    ? labels
    : [...labels.filter((label) => !label.startsWith(`${name}=`)), `${name}=${value}`];

interface LabelLaw {
  /** Undefined: the text means nothing. */
  readonly parse: (text: string) => unknown;
  readonly expected: string;
}
const laws: Readonly<Record<string, LabelLaw>> = {
  [schedulerLabel]: { parse: parseScheduler, expected: `one of ${schedulers.join(', ')}` },
  [affinityLabel]: { parse: parseAffinityS, expected: 'a duration from 1s to 24h, such as 300s or 5m' },
  [weightLabel]: { parse: parseWeight, expected: `a whole number from 1 to ${weightMax}` },
};
const serviceLabels = [schedulerLabel, affinityLabel, weightLabel];
/** Of a node and of a container, which say nothing else of balancing. */
const weightLabels = [weightLabel];

/** How a service is balanced. What its labels get wrong (the API refuses it) counts as not said. */
export const serviceBalancing = (
  labels: Labels,
): { readonly scheduler: Scheduler; readonly affinityS: number | null } => ({
  scheduler: parseScheduler(labels[schedulerLabel] ?? '') ?? defaultScheduler,
  affinityS: parseAffinityS(labels[affinityLabel] ?? '') ?? null,
});

/** The weight of a task: its own label's before its node's, and that before what its service says of all. */
export const taskWeight = (ofContainer: Labels, ofNode: Labels, ofService: Labels): number =>
  [ofContainer, ofNode, ofService]
    .map((labels) => parseWeight(labels[weightLabel] ?? ''))
    .find((weight) => weight !== undefined) ?? defaultWeight;

/** What is wrong with a service's labels of balancing, in words for its user. */
export const faultOfServiceLabels = (labels: Labels): string | undefined => faultOf(labels, serviceLabels);

/** The same of a node's. */
export const faultOfNodeLabels = (labels: Labels): string | undefined => faultOf(labels, weightLabels);

/** The same of those of a service's containers. */
export const faultOfContainerLabels = faultOfNodeLabels;

function faultOf(labels: Labels, known: readonly string[]): string | undefined {
  for (const [name, text] of Object.entries(labels)) {
    if (!name.startsWith(labelPrefix)) continue;
    const law = known.includes(name) ? laws[name] : undefined;
    if (law === undefined) return `unknown label ${JSON.stringify(name)}: expected ${known.join(', ')}`;
    if (law.parse(text) === undefined)
      return `invalid label ${name}=${JSON.stringify(text)}: must be ${law.expected}`;
  }
  return undefined;
}

function parseScheduler(text: string): Scheduler | undefined {
  return schedulers.find((one) => one === text);
}

function parseWeight(text: string): number | undefined {
  const weight = /^[0-9]{1,4}$/.test(text) ? Number(text) : 0;
  return weight >= 1 && weight <= weightMax ? weight : undefined;
}

/** Nanoseconds of a unit of Go's durations. */
const unitNs: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  µs: 1e3, // U+00B5, the micro sign
  μs: 1e3, // U+03BC, the Greek letter
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3600e9,
};

/** As time.ParseDuration reads it: a sign, then numbers with a unit each, as in `1h30m`. Whole seconds, rounded up. */
function parseAffinityS(text: string): number | undefined {
  const part = /(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)/y;
  let totalNs = 0;
  part.lastIndex = text.startsWith('+') ? 1 : 0;
  while (part.lastIndex < text.length) {
    const [, number, unit] = part.exec(text) ?? [];
    if (number === undefined || unit === undefined) return undefined;
    totalNs += Number(number) * (unitNs[unit] ?? NaN);
  }
  const seconds = totalNs / 1e9;
  return seconds >= 1 && seconds <= affinitySMax ? Math.ceil(seconds) : undefined;
}
