/** A power cut of the leader, as somebody at another manager's CLI sees it. */
import type { ManagedLab } from '../../test/support/managed-lab.js';

const image = 'skep/nginx:lab';
const recoveryDeadlineMs = 120_000;

/** Milliseconds from the cut. */
export interface LeaderLoss {
  /** Until a change of a service was accepted. */
  readonly writtenMs: number;
  /** Until a service that was created after that had its task running, on the node that was asked. */
  readonly runningMs: number;
}

/** From a swarm that is well to one that is well again. @param service one that exists */
export async function cutLeader(lab: ManagedLab, service: string, round: number): Promise<LeaderLoss> {
  const leader = await lab.awaitWell();
  const asked = lab.managers.find((node) => node !== leader) ?? leader;
  const name = `after-${round}`;
  await lab.cutPower(leader);
  const lostMs = performance.now();
  const within = (words: string, check: (output: string) => boolean): Promise<void> =>
    lab.until(asked, words, check, recoveryDeadlineMs);
  await within(`service update -d --label-add lost=${name} ${service}`, () => true);
  const writtenMs = performance.now() - lostMs;
  await within(
    `service create -d --name ${name} --constraint node.hostname==${asked} --no-resolve-image ${image}`,
    () => true,
  );
  await within(`service ps ${name} --format {{.CurrentState}}`, (output) => output.startsWith('Running'));
  const runningMs = performance.now() - lostMs;
  await lab.restorePower(leader);
  await lab.awaitWell();
  await lab.must(asked, `service rm ${name}`);
  return { writtenMs, runningMs };
}
