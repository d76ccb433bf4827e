/** What the loss of the leader costs, as somebody at another manager's CLI sees it. */
import { columns } from '../columns.js';
import { median } from '../../test/support/median.js';
import type { ManagedBy, ManagedLab } from '../../test/support/managed-lab.js';

/** `power`: the leader's machine dies and stays dead; `daemon`: kill -9 of the daemon that leads, which is started again. */
export const losses = ['power', 'daemon'] as const;
export type Loss = (typeof losses)[number];

/** Milliseconds from the loss. */
export interface Recovery {
  /** Until a change of a service was accepted. */
  readonly writtenMs: number;
  /** Until a service that was created after that has its task running. */
  readonly runningMs: number;
}

export interface Row {
  readonly contender: ManagedBy;
  readonly loss: Loss;
  readonly rounds: readonly Recovery[];
}

export const image = 'skep/whoami:lab';
const recoveryDeadlineMs = 90_000;

/** One loss, from a swarm that is well to one that is well again. */
export async function lose(contender: ManagedLab, loss: Loss, round: number): Promise<Recovery> {
  const leader = await contender.awaitWell();
  const asked = contender.nodes.find((node) => node !== leader) ?? leader;
  const name = `after-${loss}-${round}`;
  if (loss === 'power') await contender.cutPower(leader);
  else await contender.killDaemon(leader);
  const lostMs = performance.now();
  const within = (words: string, check: (output: string) => boolean): Promise<void> =>
    contender.until(asked, words, check, recoveryDeadlineMs);
  await within(`service update -d --label-add lost=${name} web`, () => true);
  const writtenMs = performance.now() - lostMs;
  await within(
    `service create -d --name ${name} --constraint node.hostname==${asked} --no-resolve-image ${image}`,
    () => true,
  );
  await within(`service ps ${name} --format {{.CurrentState}}`, (output) => output.startsWith('Running'));
  const runningMs = performance.now() - lostMs;
  if (loss === 'power') await contender.restorePower(leader);
  await contender.awaitWell();
  await contender.must(asked, `service rm ${name}`);
  return { writtenMs, runningMs };
}

/** How much sooner Skep is back: its median over Swarm's, for each loss. */
export function ratiosOf(
  rows: readonly Row[],
): readonly ({ readonly loss: Loss } & Record<keyof Recovery, number>)[] {
  const medianOf = (contender: ManagedBy, loss: Loss, what: keyof Recovery): number =>
    median(
      rows
        .filter((row) => row.contender === contender && row.loss === loss)
        .flatMap(({ rounds }) => rounds.map((recovery) => recovery[what])),
    );
  return losses.map((loss) => ({
    loss,
    writtenMs: medianOf('skep', loss, 'writtenMs') / medianOf('swarm', loss, 'writtenMs'),
    runningMs: medianOf('skep', loss, 'runningMs') / medianOf('swarm', loss, 'runningMs'),
  }));
}

/** Seconds, the median and the smallest and largest of the rounds. */
export const tableOf = (rows: readonly Row[]): string =>
  columns([
    ['loss', 'contender', 'written', 'rounds', 'running', 'rounds'],
    ...rows.map(({ loss, contender, rounds }) => [
      loss,
      contender,
      ...secondsOf(rounds.map(({ writtenMs }) => writtenMs)),
      ...secondsOf(rounds.map(({ runningMs }) => runningMs)),
    ]),
  ]);

const secondsOf = (valuesMs: readonly number[]): string[] => {
  const seconds = (ms: number): string => (ms / 1000).toFixed(1);
  return [seconds(median(valuesMs)), `${seconds(Math.min(...valuesMs))}-${seconds(Math.max(...valuesMs))}`];
};
