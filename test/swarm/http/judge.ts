/** Which differences are explained. Pure. */
import type { Difference } from './differences.js';

/** Differences that one reason explains: those of which both patterns hold. */
export interface Case {
  /** Of the step's title. */
  readonly asked: RegExp;
  /** Of where they differ, and what both say: `body.message SWARM "…" SKEP "…"`. */
  readonly differs: RegExp;
}

/** Why Skep answers otherwise. */
export interface Reason {
  readonly because: string;
  readonly cases: readonly Case[];
}

export interface Judgement {
  readonly explained: readonly { readonly reason: Reason; readonly differences: readonly Difference[] }[];
  readonly unexplained: readonly Difference[];
  /** That two reasons fit: one of them hides what the other was written for. */
  readonly ambiguous: readonly Difference[];
  /** Cases of which there is none. */
  readonly stale: readonly Case[];
}

export const said = ({ at, swarm, skep }: Difference): string =>
  `${at} SWARM ${swarm ?? 'nothing'} SKEP ${skep ?? 'nothing'}`;

const fits = (difference: Difference, { asked, differs }: Case): boolean =>
  asked.test(difference.title) && differs.test(said(difference));

/** Each difference is explained by exactly one reason, and each case of a reason by a difference. */
export function judge(differences: readonly Difference[], reasons: readonly Reason[]): Judgement {
  const found = differences.map((difference) => ({
    difference,
    reasons: reasons.filter(({ cases }) => cases.some((each) => fits(difference, each))),
  }));
  const explained = reasons.map((reason) => ({
    reason,
    differences: found.filter(({ reasons: [first] }) => first === reason).map(({ difference }) => difference),
  }));
  return {
    explained: explained.filter((each) => each.differences.length > 0),
    unexplained: found.filter((each) => each.reasons.length === 0).map(({ difference }) => difference),
    ambiguous: found.filter((each) => each.reasons.length > 1).map(({ difference }) => difference),
    stale: reasons
      .flatMap(({ cases }) => cases)
      .filter((each) => !differences.some((difference) => fits(difference, each))),
  };
}
