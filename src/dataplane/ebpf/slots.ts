/**
 * The sequence of real servers that a scheduler goes through: what stands in a virtual server's slots. Pure, and the same
 * for the same real servers whatever their order, so that what the kernel holds can be checked against what it should.
 *
 * rr and lc: each once (lc looks for the least busy among them). wrr: repeated by weight and spread evenly. mh: the
 * Maglev table. Real servers of weight 0 are in no sequence; other weights count with wrr and mh alone, as with IPVS.
 */
import type { Mac } from '../../model/addresses.js';
import type { Scheduler } from '../../model/balancing.js';
import { maglev } from './maglev.js';

export interface SlotCandidate {
  /** What is put into the slots. */
  readonly index: number;
  readonly weight: number;
  readonly mac: Mac;
  readonly port: number;
}

/** Longest sequence of wrr unless there are more real servers than this. */
export const weightedSlotsMax = 4096;

/** The slots of a virtual server; empty when nobody takes new flows. */
export function planSlots(scheduler: Scheduler, candidates: readonly SlotCandidate[]): Uint32Array {
  const serving = candidates.filter(({ weight }) => weight > 0);
  // By the task rather than by the address: a published port's address differs from node to node.
  if (serving.length > 1) serving.sort(byTask);
  switch (scheduler) {
    case 'rr':
    case 'lc':
      return Uint32Array.from(serving, ({ index }) => index);
    case 'wrr':
      return weightedRoundRobin(serving);
    case 'mh':
      return maglev(serving);
  }
}

const byTask = (a: SlotCandidate, b: SlotCandidate): number =>
  a.mac < b.mac ? -1 : a.mac > b.mac ? 1 : a.port - b.port;

/**
 * Smooth weighted round robin: at each step everyone gains its weight, the richest is taken and pays the sum of all
 * weights. So 5, 1, 1 becomes a a b a c a a rather than a a a a a b c.
 */
function weightedRoundRobin(serving: readonly SlotCandidate[]): Uint32Array {
  const weights = boundedWeights(serving.map(({ weight }) => weight));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  const credit = new Float64Array(serving.length);
  return Uint32Array.from({ length: sum }, () => {
    let richest = 0;
    for (let i = 0; i < credit.length; i++) {
      credit[i] = (credit[i] ?? 0) + (weights[i] ?? 0);
      if ((credit[i] ?? 0) > (credit[richest] ?? 0)) richest = i;
    }
    credit[richest] = (credit[richest] ?? 0) - sum;
    return serving[richest]?.index ?? 0;
  });
}

/** Weights divided by what is common to all, and scaled down to {@link weightedSlotsMax} slots, each at least 1. */
function boundedWeights(weights: readonly number[]): number[] {
  const common = weights.reduce(greatestCommonDivisor, 0);
  const sum = weights.reduce((total, weight) => total + weight, 0) / common;
  if (sum <= weightedSlotsMax) return weights.map((weight) => weight / common);
  const scale = weightedSlotsMax / sum / common;
  return weights.map((weight) => Math.max(1, Math.floor(weight * scale)));
}

const greatestCommonDivisor = (a: number, b: number): number =>
  b === 0 ? a : greatestCommonDivisor(b, a % b);
