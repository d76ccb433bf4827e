/**
 * What a packet costs, by how much else there is. Late in the list: thousands of flows stay behind, and are counted by
 * whatever counts flows, until they have idled long enough.
 */
import assert from 'node:assert';
import { bridgeName } from '../../../src/dataplane/plan/names.js';
import { mynetVni } from '../../unit/dataplane/plan/network-state.js';
import type { Check } from '../check.js';
import type { PacketCost } from '../packet-cost.js';
import { packetCost } from '../packet-cost.js';
import { countRules } from './ingress.js';

const manyServices = 1_000;

export const costChecks: readonly Check[] = [
  {
    name: `${manyServices} services on a network cost a packet no more than one, and not one rule`,
    run: async (world) => {
      const rules = (): Promise<number> =>
        countRules(world, world.cluster.overlayPath(1, mynetVni), bridgeName);
      const before = await rules();
      // A rule for each would cost several times as much.
      const isCheap = ({ keptRatio, newRatio }: PacketCost): boolean => Math.max(keptRatio, newRatio) < 1.5;
      const noRuleMore = async (): Promise<void> => assert.equal(await rules(), before);
      const cost = await packetCost(world, manyServices, noRuleMore, isCheap);
      console.log(JSON.stringify({ engine: world.engine, cost }));
      assert(isCheap(cost), JSON.stringify(cost));
    },
  },
];
