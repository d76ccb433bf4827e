/** Which differences have a reason, and which reasons no difference has any more. Pure. */
import type { Difference } from './differences.js';

/** Why Skep answers otherwise; holds of every difference that both patterns fit. */
export interface Reason {
  /** Of the step's title. */
  readonly asked: RegExp;
  /** Of where they differ, and what both say: `body.message SWARM "…" SKEP "…"`. */
  readonly differs: RegExp;
  readonly because: string;
}

export interface Judgement {
  readonly explained: readonly { readonly reason: Reason; readonly differences: readonly Difference[] }[];
  readonly unexplained: readonly Difference[];
  readonly stale: readonly Reason[];
}

export const said = ({ at, swarm, skep }: Difference): string =>
  `${at} SWARM ${swarm ?? 'nothing'} SKEP ${skep ?? 'nothing'}`;

/** The first reason that fits counts. */
export function judge(differences: readonly Difference[], reasons: readonly Reason[]): Judgement {
  const byReason = new Map<Reason, Difference[]>(reasons.map((reason) => [reason, []]));
  const unexplained = differences.filter((difference) => {
    const reason = reasons.find(
      ({ asked, differs }) => asked.test(difference.title) && differs.test(said(difference)),
    );
    if (reason) byReason.get(reason)?.push(difference);
    return !reason;
  });
  const explained = [...byReason].map(([reason, found]) => ({ reason, differences: found }));
  return {
    explained: explained.filter((each) => each.differences.length > 0),
    unexplained,
    stale: explained.filter((each) => each.differences.length === 0).map(({ reason }) => reason),
  };
}
