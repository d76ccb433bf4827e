/** For tests of what is around balancing: an engine that plans what it is given, and whose tables hold nothing and keep nothing. */
import type { BalancerEngine } from '../../src/dataplane/balancer/engine.js';
import { ipvsEngine } from '../../src/dataplane/balancer/ipvs.js';
import type { BalancerPlan } from '../../src/dataplane/plan/balancing.js';

export const withoutTables = (plan: BalancerPlan): BalancerEngine => ({
  ...ipvsEngine,
  plan,
  open: async () => ({
    observe: async () => [],
    refresh: async () => false,
    apply: async () => undefined,
    counters: async () => [],
    flows: async () => [],
    [Symbol.dispose]: () => undefined,
  }),
});
