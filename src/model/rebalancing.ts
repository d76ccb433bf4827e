/**
 * Opt-in rebalancing (ADR 32): the label by which a service asks for it, and how many of its tasks may be moved in which
 * time. Docker's API has no field for it.
 */
import type { Labels, ServiceSpec } from './service-spec.js';

/** On a replicated service: `on`, `off`, or a budget such as `2/minute`. */
export const rebalanceLabel = 'skep.rebalance';

/** Tasks that may be moved in any stretch of time of this length. */
export interface RebalanceBudget {
  readonly tasks: number;
  readonly periodMs: number;
}

/** What `on` means. */
export const defaultBudget: RebalanceBudget = { tasks: 2, periodMs: 60_000 };

/** Each move's time is kept with its service for as long as it counts. */
export const budgetTasksMax = 100;

const periodsMs: Readonly<Record<string, number>> = { minute: 60_000, hour: 3_600_000 };

/** Undefined: the text means nothing; null: no rebalancing. */
function parseBudget(text: string): RebalanceBudget | null | undefined {
  if (text === 'on') return defaultBudget;
  if (text === 'off') return null;
  const [, tasks = '', period = ''] = /^([1-9][0-9]{0,2})\/(minute|hour)$/.exec(text) ?? [];
  const periodMs = periodsMs[period];
  return periodMs === undefined || Number(tasks) > budgetTasksMax
    ? undefined
    : { tasks: Number(tasks), periodMs };
}

/** The budget that a service asks for. What its label gets wrong (the API refuses it) counts as not said. */
export const rebalanceBudget = (labels: Labels): RebalanceBudget | undefined =>
  parseBudget(labels[rebalanceLabel] ?? 'off') ?? undefined;

/** What is wrong with a service's label of rebalancing, in words for its user. */
export function faultOfRebalanceLabel({ labels, mode }: ServiceSpec): string | undefined {
  const text = labels[rebalanceLabel];
  if (text === undefined) return undefined;
  const budget = parseBudget(text);
  if (budget === undefined)
    return `invalid label ${rebalanceLabel}=${JSON.stringify(text)}: must be on, off or a number of tasks from 1 to ${budgetTasksMax} per minute or hour, such as 2/minute`;
  return budget && mode.kind !== 'replicated'
    ? `label ${rebalanceLabel} is for replicated services: the tasks of this one have their places`
    : undefined;
}
