/**
 * What a balancer engine means, decided by packets: one list of checks, run against either engine on whatever kernel has
 * it. A report a check, in the order of the list; a check that fails leaves the usual state behind for the next one.
 */
import type { EngineName } from '../../src/dataplane/plan/balancing.js';
import type { Check } from './check.js';
import { costChecks } from './checks/cost.js';
import { counterChecks } from './checks/counters.js';
import { driftChecks } from './checks/drift.js';
import { ingressChecks } from './checks/ingress.js';
import { lifecycleChecks } from './checks/lifecycle.js';
import { livenessChecks } from './checks/liveness.js';
import { meshChecks } from './checks/mesh.js';
import { nodeChecks } from './checks/node.js';
import { packetChecks } from './checks/packets.js';
import { schedulingChecks } from './checks/scheduling.js';
import { traceChecks } from './checks/trace.js';
import { vipChecks } from './checks/vip.js';
import type { WorldOptions } from './world.js';
import { World } from './world.js';

export interface CheckReport {
  readonly name: string;
  readonly ok: boolean;
  /** What did not hold; empty when all did. */
  readonly detail: string;
  readonly ms: number;
}

const all: readonly Check[] = [
  ...meshChecks,
  ...vipChecks,
  ...schedulingChecks,
  ...packetChecks,
  ...nodeChecks,
  ...ingressChecks,
  ...lifecycleChecks,
  ...livenessChecks,
  ...counterChecks,
  ...traceChecks,
  ...costChecks,
  // The last of these ends the nodes.
  ...driftChecks,
];

/**
 * The list for one engine.
 * @param only matches the names that are wanted, a regular expression
 * @param ofKernel only what another kernel may decide otherwise
 */
export const checksOf = (engine: EngineName, only = '', ofKernel = false): readonly Check[] =>
  all.filter(
    ({ name, engines, sameOnAllKernels }) =>
      (engines === undefined || engines.includes(engine)) &&
      !(ofKernel && sameOnAllKernels) &&
      new RegExp(only).test(name),
  );

/** Runs the list, see {@link checksOf}. */
export async function runConformance(
  options: WorldOptions,
  onReport: (report: CheckReport) => void,
  only?: string,
  ofKernel = false,
): Promise<void> {
  await using world = await World.create(options);
  for (const check of checksOf(options.engine, only, ofKernel)) {
    const startMs = Date.now();
    const faults: string[] = [];
    const attempt = async (what: string, step: () => Promise<void>): Promise<void> => {
      try {
        await step();
      } catch (err) {
        faults.push(`${what}${err instanceof Error ? err.message : String(err)}`);
      }
    };
    const equal = async (): Promise<void> => {
      const differences = await world.cluster.verify();
      if (differences.length > 0) throw new Error(differences.join('\n'));
    };
    const { revision } = world;
    await attempt('', () => check.run(world));
    if (world.revision !== revision) {
      if (check.verified || options.engine === 'ebpf') await attempt('verify, as it was left: ', equal);
      await attempt('restoring the usual state: ', () => world.restore());
    }
    onReport({
      name: check.name,
      ok: faults.length === 0,
      detail: faults.join('\n'),
      ms: Date.now() - startMs,
    });
  }
}
