/** Contenders take turns in every round, each round beginning with another one: what else the machine does falls on all of them. */

/** Calls `measure` for each contender in each round, one at a time; says before each turn which it is. */
export async function alternate<Contender>(
  contenders: readonly Contender[],
  rounds: number,
  progress: (line: string) => void,
  nameOf: (contender: Contender) => string,
  measure: (contender: Contender, round: number) => Promise<void>,
): Promise<void> {
  for (let round = 0; round < rounds; round += 1)
    for (let turn = 0; turn < contenders.length; turn += 1) {
      const contender = contenders[(turn + round) % contenders.length];
      if (contender === undefined) continue;
      progress(`round ${round + 1} of ${rounds}: ${nameOf(contender)}`);
      await measure(contender, round);
    }
}
