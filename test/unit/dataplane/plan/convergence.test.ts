/**
 * The convergence property of every planner, with both engines: whatever a namespace holds of an earlier state, or of the other
 * engine, applying the ops once leaves nothing to do; and with no state, nothing of ours. Clusters are drawn from a seed.
 */
import { expect, test } from 'vitest';
import type { BalancerPlan } from '../../../../src/dataplane/plan/balancing.js';
import { engineNames } from '../../../../src/dataplane/plan/balancing.js';
import type { Op } from '../../../../src/dataplane/plan/diff.js';
import { applyToImage, opLine } from '../../../../src/dataplane/plan/diff.js';
import { ebpfPlan } from '../../../../src/dataplane/plan/ebpf.js';
import { ipvsPlan } from '../../../../src/dataplane/plan/ipvs.js';
import type { ScopePlan } from '../../../../src/dataplane/plan/node.js';
import { planHostScope, planOps, planOverlayScope } from '../../../../src/dataplane/plan/node.js';
import type { KernelObject } from '../../../../src/dataplane/plan/objects.js';
import { line } from '../../../../src/dataplane/plan/objects.js';
import type { Cidr } from '../../../../src/model/addresses.js';
import { schedulers } from '../../../../src/model/balancing.js';
import { random } from './changing-network.js';
import type { ClusterOf } from './network-state.js';
import { hostOf, ingressId, mynetId, programTags, sandboxOf, stateOf } from './network-state.js';

const plans: Readonly<Record<string, BalancerPlan>> = { ipvs: ipvsPlan, ebpf: ebpfPlan(programTags) };
const seed = Number(process.env['SKEP_SEED'] ?? 20_240);

function drawCluster(next: () => number): ClusterOf {
  const below = (limit: number): number => Math.floor(next() * limit);
  const parts = Array.from({ length: below(6) }, (_, index) => 3 + index + 10 * below(5));
  return {
    ingress: next() < 0.9,
    nodes: [1, 2, ...(next() < 0.5 ? [3] : [])],
    tasks: parts.map((part) => ({
      part,
      node: 1 + below(2),
      service: next() < 0.7 ? 'web' : 'db',
      serving: next() < 0.8,
      weight: 1 + below(3),
    })),
    ports: Object.fromEntries(Array.from({ length: below(3) }, () => [8080 + below(4), 80])),
    limits: {
      ...(next() < 0.3 ? { interfaces: next() < 0.5 ? ['eth0'] : ['absent', 'docker0', 'lo'] } : {}),
      ...(next() < 0.3 ? { cidrs: [next() < 0.5 ? '0.0.0.0/0' : '172.17.0.1/32'] as Cidr[] } : {}),
    },
    vips: { web: 2, ...(next() < 0.5 ? { db: 200 + below(2) } : {}) },
    scheduler: schedulers[below(schedulers.length)] ?? 'rr',
    ...(next() < 0.3 ? { affinityS: 60 } : {}),
  };
}

/** Host and overlays of node 1 as the cluster wants them, given what the host holds. */
function scopesOf(cluster: ClusterOf, plan: BalancerPlan, host: readonly KernelObject[]) {
  const state = stateOf(1, cluster);
  const sandboxes = (cluster.tasks ?? [])
    .filter(({ node }) => node === 1)
    .flatMap(({ part, service }) => [
      sandboxOf(mynetId, part),
      ...(service === 'web' ? [sandboxOf(ingressId, part)] : []),
    ]);
  const overlays = state.overlays.map((overlay): [string, ScopePlan] => [
    overlay.id,
    planOverlayScope({ state, sandboxes }, overlay, 1450, plan),
  ]);
  return new Map([...overlays, ['host', planHostScope(state, 1450, plan, host)] as [string, ScopePlan]]);
}

const texts = (ops: readonly Op[]): string[] => ops.map(opLine);

for (const last of engineNames)
  test(`ends with ${last} in what is planned, whatever was there (seed ${seed})`, () => {
    const next = random(seed);
    for (let round = 0; round < 60; round++) {
      const images = new Map<string, KernelObject[]>([['host', hostOf(1)]]);
      const steps = ['ipvs', 'ebpf', last, last].map((engine) => ({ engine, cluster: drawCluster(next) }));
      for (const { engine, cluster } of steps) {
        const plan = plans[engine] ?? ipvsPlan;
        for (const [name, scope] of scopesOf(cluster, plan, images.get('host') ?? [])) {
          const image = images.get(name) ?? [];
          images.set(name, applyToImage(image, planOps(scope, image)));
        }
        for (const [name, scope] of scopesOf(cluster, plan, images.get('host') ?? []))
          expect(texts(planOps(scope, images.get(name) ?? [])), `round ${round}, ${name}`).toEqual([]);
      }
      const image = images.get('host') ?? [];
      const left = applyToImage(image, planOps(planHostScope(null, 1450, ipvsPlan, image), image));
      const strangers = left.filter(({ kind }) => kind !== 'sysctl' && kind !== 'ipvsTimeouts').map(line);
      expect(strangers.filter((text) => !text.startsWith('link sk-ingress')).sort()).toEqual(
        hostOf(1).map(line).sort(),
      );
    }
  });
