/** Nodes that a node takes for silent: who finds that out, and how, is decided in test/kernel/liveness.test.ts. */
import assert from 'node:assert';
import type { NodeId } from '../../../src/model/ids.js';
import { nodeIdOf, vtepOf } from '../../unit/dataplane/plan/network-state.js';
import type { Check } from '../check.js';
import { answered, assertEven } from '../check.js';
import type { World } from '../world.js';
import { nodes, ports, targetPorts, vip, webTasks } from '../world.js';
import { oneEach, targets } from './lifecycle.js';

/** Every node takes those for silent, itself aside. */
async function setSilent(world: World, silent: readonly number[]): Promise<void> {
  for (const node of nodes) {
    const ids = silent.filter((one) => one !== node).map((one): NodeId => nodeIdOf(one));
    await world.cluster.setSilent(node, new Set(ids));
  }
}

export const livenessChecks: readonly Check[] = [
  {
    name: 'tasks on a silent node: established flows go on, new ones go elsewhere, and all is as before when it is heard again',
    run: async (world) => {
      const all = [];
      for (const [peer, target] of targets(world)) all.push(await oneEach(peer, target));
      try {
        await setSilent(world, [2]);
        for (const connections of all)
          for (const [task, connection] of connections) {
            assert.equal(answered(await connection.ask()).task, task);
            assert.deepEqual(answered(await connection.transfer(100_000, 100_000)), { intact: true });
          }
        for (const [peer, target] of targets(world)) assertEven(await peer.many(target, 6), ['c3']);
        assertEven(await world.client.manyUdp({ host: vtepOf(3), port: ports.udp }, 6), ['c3']);
        assertEven(await world.caller.manyUdp({ host: vip, port: targetPorts.udp }, 6), ['c3']);
        assert.deepEqual(await world.cluster.verify(), []);
      } finally {
        await setSilent(world, []);
      }
      for (const [peer, target] of targets(world)) assertEven(await peer.many(target, 12));
      for (const connections of all) for (const connection of connections.values()) await connection.close();
    },
  },
  {
    name: 'where all tasks are on silent nodes they stay: nobody is left with nothing',
    run: async (world) => {
      try {
        await setSilent(world, [1, 2]);
        // Of node 3 both are others; on node 1 its own task is left.
        assertEven(await world.client.many({ host: vtepOf(3), port: ports.web }, 12), webTasks);
        assertEven(await world.client.many({ host: vtepOf(1), port: ports.web }, 6), ['c3']);
        assertEven(await world.caller.many({ host: vip, port: targetPorts.web }, 6), ['c3']);
      } finally {
        await setSilent(world, []);
      }
      for (const [peer, target] of targets(world)) assertEven(await peer.many(target, 12));
    },
  },
];
