/** Who is chosen. */
import assert from 'node:assert';
import { vtepOf } from '../../unit/dataplane/plan/network-state.js';
import type { Check } from '../check.js';
import { answered, assertOneTask, countByTask } from '../check.js';
import type { Connection, Peer } from '../peer.js';
import { ports, targetPorts, vip } from '../world.js';

/** Published port and VIP alike. */
const both = (caller: Peer, client: Peer): readonly (readonly [Peer, { host: string; port: number }])[] => [
  [client, { host: vtepOf(3), port: ports.web }],
  [caller, { host: vip, port: targetPorts.web }],
];

async function hold(
  peer: Peer,
  target: { host: string; port: number },
  count: number,
): Promise<Connection[]> {
  const held = [];
  for (let i = 0; i < count; i += 1) held.push(answered(await peer.open(target)));
  return held;
}

export const schedulingChecks: readonly Check[] = [
  {
    name: 'wrr: shares are as the weights',
    sameOnAllKernels: true,
    run: async (world) => {
      await world.program({ scheduler: 'wrr', weights: { 3: 1, 4: 2, 6: 3 } });
      for (const [peer, target] of both(world.caller, world.client)) {
        const count = countByTask(await peer.many(target, 36));
        const near = { c3: 6, c4: 12, c6: 18 };
        for (const [task, share] of Object.entries(near))
          assert(
            Math.abs((count[task] ?? 0) - share) <= 2,
            `${JSON.stringify(count)}, expected ${JSON.stringify(near)}`,
          );
      }
    },
  },
  {
    name: 'lc: new flows go to those with fewer',
    sameOnAllKernels: true,
    run: async (world) => {
      for (const [peer, target] of both(world.caller, world.client)) {
        await world.program({ scheduler: 'lc', draining: [4, 6] });
        const held = await hold(peer, target, 6);
        await world.program({ scheduler: 'lc' });
        const later = await hold(peer, target, 10);
        const answers = [];
        for (const connection of later) answers.push(await connection.ask());
        const count = countByTask(answers);
        assert.equal(count['c3'] ?? 0, 0, `the busy one was given ${JSON.stringify(count)}`);
        assert(Math.abs((count['c4'] ?? 0) - (count['c6'] ?? 0)) <= 2, JSON.stringify(count));
        for (const connection of [...held, ...later]) await connection.close();
      }
    },
  },
  {
    name: 'mh: a client keeps its task, clients spread',
    sameOnAllKernels: true,
    run: async (world) => {
      await world.program({ scheduler: 'mh' });
      for (const [peer, target] of both(world.caller, world.client))
        assertOneTask(await peer.many(target, 8));
      const chosen = new Set<string>();
      for (const name of ['client', 'other', 'node1', 'node2', 'node3'])
        chosen.add(assertOneTask(await world.peer(name).many({ host: vtepOf(3), port: ports.web }, 2)));
      assert(chosen.size >= 2, `all clients were given ${[...chosen].join(', ')}`);
    },
  },
  {
    // IPVS hashes the real server's address, which with aliases is another on every node.
    name: 'mh: a client has the same task through every node',
    sameOnAllKernels: true,
    engines: ['ebpf'],
    run: async (world) => {
      await world.program({ scheduler: 'mh' });
      for (const name of ['client', 'other']) {
        const answers = await Promise.all(
          [1, 2, 3].map((node) => world.peer(name).many({ host: vtepOf(node), port: ports.web }, 3)),
        );
        assertOneTask(answers.flat());
      }
    },
  },
  {
    name: 'affinity: a client keeps its task, until that takes no new flows',
    sameOnAllKernels: true,
    run: async (world) => {
      await world.program({ affinityS: 300 });
      for (const [peer, target] of both(world.caller, world.client)) {
        const task = assertOneTask(await peer.many(target, 8));
        const part = Number(task.slice(1));
        await world.program({ affinityS: 300, draining: [part] });
        const next = assertOneTask(await peer.many(target, 8));
        assert.notEqual(next, task);
        await world.program({ affinityS: 300 });
      }
    },
  },
  {
    name: 'affinity: UDP, too',
    sameOnAllKernels: true,
    verified: true,
    run: async (world) => {
      await world.program({ affinityS: 300 });
      assertOneTask(await world.client.manyUdp({ host: vtepOf(1), port: ports.udp }, 8));
    },
  },
];
