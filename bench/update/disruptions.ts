/** What an operator does to a service that is in use, each under a load through every node. */
import type { ManagedLab } from '../../test/support/managed-lab.js';
import { createSite, site } from '../harness/site.js';

const { name, port } = site;
const replicas = 6;
const manager = 'node1';
/** Not the one that is asked. */
const drained = 'node3';
const deadlineMs = 600_000;
const rates = { new: 40, kept: 20, streams: 0 };

export interface Disruption {
  readonly name: string;
  readonly happen: (lab: ManagedLab) => Promise<void>;
  /** Afterwards, without load: as it was before. */
  readonly restore: (lab: ManagedLab) => Promise<void>;
}

const nothing = (): Promise<void> => Promise.resolve();

/** Twice, so that five rounds make twenty updates. */
const update = (order: 'stop-first' | 'start-first'): Disruption => ({
  name: `two ${order} updates`,
  happen: async (lab) => {
    const once = `docker service update --quiet --detach=false --force --update-order ${order} ${name}`;
    await lab.sh(manager, `${once} && ${once}`, deadlineMs);
  },
  restore: nothing,
});

const scale =
  (count: number) =>
  async (lab: ManagedLab): Promise<void> =>
    void (await lab.sh(manager, `docker service scale --detach=false ${name}=${count}`, deadlineMs));

/** Sets the node's availability, and waits until as many tasks run as are to, and how many of them on that node. */
const availability =
  (to: 'drain' | 'active') =>
  async (lab: ManagedLab): Promise<void> => {
    await lab.must(manager, `node update --availability ${to} ${drained}`);
    if (to === 'drain')
      await lab.until(
        manager,
        `node ps ${drained} --filter desired-state=running -q`,
        (output) => output === '',
        deadlineMs,
      );
    await lab.until(
      manager,
      `service ls --filter name=${name} --format {{.Replicas}}`,
      (output) => output === `${replicas}/${replicas}`,
      deadlineMs,
    );
  };

export const disruptions: readonly Disruption[] = [
  update('stop-first'),
  update('start-first'),
  {
    name: 'a drain',
    happen: availability('drain'),
    // Tasks do not come back by themselves: the next round's drain is to find some there.
    restore: async (lab) => {
      await availability('active')(lab);
      await lab.sh(manager, `docker service update --quiet --detach=false --force ${name}`, deadlineMs);
    },
  },
  { name: `a scale-down to 2`, happen: scale(2), restore: scale(replicas) },
];

export const prepare = (lab: ManagedLab): Promise<void> =>
  createSite(lab, replicas, '--stop-grace-period 60s --update-monitor 1s');

/** How many requests failed of how many. */
export async function disrupt(
  lab: ManagedLab,
  { happen, restore }: Disruption,
): Promise<{ readonly failed: number; readonly sent: number }> {
  using load = lab.mixedLoad(rates, name, port);
  await happen(lab);
  const { answered, failures } = await load.end();
  await restore(lab);
  return { failed: failures.length, sent: answered.new + answered.kept + failures.length };
}
