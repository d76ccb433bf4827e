/** What an operator does to a service that is in use, each under a load through every node. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Kernel } from '../../src/lab/kernels.js';
import type { ManagedLab } from '../../test/support/managed-lab.js';
import { createSite, site, siteServers } from '../harness/site.js';

const { name, port } = site;
/** A guest starts a container in four seconds of its processor, and an update is one for each task. */
const replicasOf: Readonly<Record<Kernel, number>> = { host: 6, uml: 3, qemu: 3 };
const manager = 'node1';
/** Not the one that is asked. */
const drained = 'node3';
const deadlineMs = 600_000;
const rates = { new: 40, kept: 20, streams: 0 };

export interface Disruption {
  readonly name: string;
  /** How many containers there are once all of it is over: those that are to end have ended. */
  readonly left: number;
  /** The node where none is left. */
  readonly emptied?: string;
  readonly happen: (lab: ManagedLab) => Promise<void>;
  /** Afterwards, without load: as it was before. */
  readonly restore: (lab: ManagedLab) => Promise<void>;
}

const nothing = (): Promise<void> => Promise.resolve();
/** Requests before the change: what follows begins under load. */
const loadMs = 2_000;
const pollMs = 250;

/** Twice, so that five rounds make twenty updates. */
const update = (order: 'stop-first' | 'start-first', replicas: number): Disruption => ({
  name: `two ${order} updates`,
  happen: async (lab) => {
    const once = `docker service update --quiet --detach=false --force --update-order ${order} ${name}`;
    await lab.sh(manager, `${once} && ${once}`, deadlineMs);
  },
  left: replicas,
  restore: nothing,
});

const scale =
  (count: number) =>
  async (lab: ManagedLab): Promise<void> =>
    void (await lab.sh(manager, `docker service scale --detach=false ${name}=${count}`, deadlineMs));

/** Sets the node's availability, and waits until as many tasks run as are to, and how many of them on that node. */
const availability =
  (to: 'drain' | 'active', replicas: number) =>
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

/** In this order: tasks do not come back to a node by themselves, but scaling up finds it empty after the drain. */
export function disruptionsOn(kernel: Kernel): readonly Disruption[] {
  const replicas = replicasOf[kernel];
  return [
    update('stop-first', replicas),
    update('start-first', replicas),
    {
      name: 'a drain',
      left: replicas,
      emptied: drained,
      happen: availability('drain', replicas),
      restore: availability('active', replicas),
    },
    { name: `a scale-down to 2`, left: 2, happen: scale(2), restore: scale(replicas) },
  ];
}

export const prepare = (lab: ManagedLab, kernel: Kernel): Promise<void> =>
  createSite(lab, siteServers.graceful, replicasOf[kernel], '--stop-grace-period 60s --update-monitor 1s');

/** Until the engines have the containers that are left, and no other one of the service. */
async function awaitLeft(lab: ManagedLab, { name: what, left, emptied }: Disruption): Promise<void> {
  const words = ['ps', '-q', '--filter', `label=com.docker.swarm.service.name=${name}`];
  const end = performance.now() + deadlineMs;
  for (;;) {
    const counts = await Promise.all(
      lab.nodes.map(async (node) => {
        const ids = await lab.engine(node, words);
        return { node, count: ids === '' ? 0 : ids.split('\n').length };
      }),
    );
    const inAll = counts.reduce((sum, { count }) => sum + count, 0);
    if (inAll === left && counts.every(({ node, count }) => node !== emptied || count === 0)) return;
    if (performance.now() > end) throw new Error(`${lab.by}: ${what} is not over: ${JSON.stringify(counts)}`);
    await delay(pollMs);
  }
}

/** What became of the requests. */
export interface Disrupted {
  readonly sent: number;
  /** Why each failed that did. */
  readonly failures: readonly string[];
}

export async function disrupt(lab: ManagedLab, disruption: Disruption): Promise<Disrupted> {
  using load = lab.mixedLoad(rates, name, port);
  await delay(loadMs);
  await disruption.happen(lab);
  await awaitLeft(lab, disruption);
  const { answered, failures } = await load.end();
  await disruption.restore(lab);
  return {
    sent: answered.new + answered.kept + failures.length,
    failures: failures.map(({ kind, reason }) => `${kind}: ${reason}`),
  };
}
