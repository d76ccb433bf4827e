/** Which differences are explained. Pure. */
import type { Difference } from './differences.js';
import type { Answers } from './play.js';

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

/** One run of the script by one version. */
export interface Comparison {
  /** Such as `1.41`. */
  readonly version: string;
  readonly swarm: Answers;
  readonly differences: readonly Difference[];
}

/** A difference with the version by which it was found. */
export interface Found extends Difference {
  readonly version: string;
}

export interface Judgement {
  readonly explained: readonly { readonly reason: Reason; readonly differences: readonly Found[] }[];
  readonly unexplained: readonly Found[];
  /** That two reasons fit: one of them hides what the other was written for. */
  readonly ambiguous: readonly Found[];
  /** Cases of which no version has any. */
  readonly stale: readonly Case[];
}

export const said = ({ at, swarm, skep }: Omit<Difference, 'title'>): string =>
  `${at} SWARM ${swarm ?? 'nothing'} SKEP ${skep ?? 'nothing'}`;

const fits = (difference: Difference, { asked, differs }: Case): boolean =>
  asked.test(difference.title) && differs.test(said(difference));

/** Each difference is explained by exactly one reason, and each case of a reason by a difference. */
export function judge(comparisons: readonly Comparison[], reasons: readonly Reason[]): Judgement {
  const all = comparisons.flatMap(({ version, differences }) =>
    differences.map((each): Found => ({ ...each, version })),
  );
  const found = all.map((difference) => ({
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
      .filter((each) => !all.some((difference) => fits(difference, each))),
  };
}
