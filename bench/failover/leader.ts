/** A power cut of the leader, as somebody who asks another manager's API sees it. */
import type { ManagedLab } from '../../test/support/managed-lab.js';
import { runningOn } from '../harness/running.js';

const image = 'skep/nginx:lab';
const recoveryDeadlineMs = 120_000;

/** Milliseconds from the cut. */
export interface LeaderLoss {
  /** Until a service was accepted. */
  readonly writtenMs: number;
  /** Until its task ran, on the node that was asked. */
  readonly runningMs: number;
}

/**
 * Shell words that end when the API has created the service. Asked ten times a second by one request, which may wait for two seconds:
 * one that was given up may have been accepted all the same, and the next one is refused for it.
 */
const created = (lab: ManagedLab, name: string, node: string): string => {
  const body = JSON.stringify({
    Name: name,
    TaskTemplate: {
      ContainerSpec: { Image: image },
      Placement: { Constraints: [`node.hostname==${node}`] },
    },
    Mode: { Replicated: { Replicas: 1 } },
  });
  const asked = `curl -s -m 2 -o /dev/null -w '%{http_code}' --unix-socket ${lab.socket} -H 'Content-Type: application/json' -d '${body}' http://d/v1.41/services/create`;
  return `until ${asked} | grep -qxE '201|409'; do sleep 0.1; done`;
};

/** From a swarm that is well to one that is well again. */
export async function cutLeader(lab: ManagedLab, round: number): Promise<LeaderLoss> {
  const leader = await lab.awaitWell();
  const asked = lab.managers.find((node) => node !== leader) ?? leader;
  const name = `after-${round}`;
  await lab.cutPower(leader);
  const lostMs = performance.now();
  await lab.sh(asked, created(lab, name, asked), recoveryDeadlineMs);
  const writtenMs = performance.now() - lostMs;
  await lab.sh(asked, runningOn(lab, name, asked), recoveryDeadlineMs);
  const runningMs = performance.now() - lostMs;
  await lab.restorePower(leader);
  await lab.awaitWell();
  await lab.must(asked, `service rm ${name}`);
  return { writtenMs, runningMs };
}
