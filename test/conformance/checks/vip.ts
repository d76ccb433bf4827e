/** VIPs, called from tasks. */
import assert from 'node:assert';
import { mynetAddress, vtepOf } from '../../unit/dataplane/plan/network-state.js';
import type { Check } from '../check.js';
import { answered, assertClient, assertEven, assertOneTask, assertRefused, countByTask } from '../check.js';
import type { World } from '../world.js';
import { closedPort, farVip, targetPorts, vip, webParts } from '../world.js';

const callers: readonly (readonly [part: number, title: string])[] = [
  [5, 'a task of another service'],
  ...webParts.map((part) => [part, `task c${part} of the service itself`] as const),
];

export const vipChecks: readonly Check[] = [
  ...callers.flatMap(([part, title]): Check[] => [
    {
      name: `TCP to a VIP from ${title}: every task in turn, each sees the caller`,
      run: async (world) => {
        const answers = await world.peer(`c${part}`).many({ host: vip, port: targetPorts.web }, 30);
        assertEven(answers);
        assertClient(answers, mynetAddress(part));
      },
    },
    {
      name: `UDP to a VIP from ${title}: every task in turn, answers come from the VIP`,
      run: async (world) => {
        const target = { host: vip, port: targetPorts.udp, source: mynetAddress(part) };
        const answers = await world.peer(`c${part}`).manyUdp(target, 30);
        assertEven(answers);
        assertClient(answers, mynetAddress(part));
        const from = new Set(answers.map((answer) => answered(answer).from));
        assert.deepEqual([...from], [`${vip}:${targetPorts.udp}`]);
      },
    },
  ]),
  {
    name: 'a VIP answers on every port its tasks listen on, and refuses on others',
    run: async ({ caller }) => {
      assertEven(await caller.many({ host: vip, port: targetPorts.other }, 12));
      assertRefused(await caller.open({ host: vip, port: closedPort }));
    },
  },
  {
    name: 'a connection to a VIP stays with its task and carries data both ways',
    run: async (world) => {
      for (const name of ['c5', 'c3', 'c6'])
        for (let i = 0; i < 3; i += 1) {
          const connection = answered(await world.peer(name).open({ host: vip, port: targetPorts.web }));
          assertOneTask([await connection.ask(), await connection.ask(), await connection.ask()]);
          assert.deepEqual(answered(await connection.transfer(500_000, 500_000)), { intact: true });
          await connection.close();
        }
    },
  },
  {
    name: 'SCTP to a VIP: an association has one task',
    run: async (world: World) => {
      const tasks = new Set<string>();
      for (let i = 0; i < 6; i += 1) {
        const target = { host: vip, port: targetPorts.sctp, sourcePort: 37_000 + i };
        if (!world.hasSctp) tasks.add(assertOneTask(await world.caller.askRawSctp(target, 3)));
        else {
          const connection = answered(await world.caller.open({ ...target, protocol: 'sctp' }));
          tasks.add(assertOneTask([await connection.ask(), await connection.ask()]));
          await connection.close();
        }
      }
      assert(tasks.size >= 2, `answered: ${[...tasks].join(', ')}`);
    },
  },
  {
    name: 'VIPs and tasks of either subnet of an overlay are reached from the other one, under the true address of the caller',
    run: async (world) => {
      const [near, far] = [world.caller, world.peer('c134')];
      const fromFar = await far.many({ host: vip, port: targetPorts.web }, 30);
      assertEven(fromFar);
      assertClient(fromFar, mynetAddress(134));
      for (const host of [farVip, mynetAddress(133)]) {
        const fromNear = await near.many({ host, port: targetPorts.web }, 4);
        assert.deepEqual(countByTask(fromNear), { c133: 4 });
        assertClient(fromNear, mynetAddress(5));
      }
      const target = { host: farVip, port: targetPorts.udp, source: mynetAddress(3) };
      const answers = await world.peer('c3').manyUdp(target, 5);
      assert.deepEqual(countByTask(answers), { c133: 5 });
      // A task that calls the VIP of its own service.
      assertClient(
        await world.peer('c133').many({ host: farVip, port: targetPorts.web }, 2),
        mynetAddress(133),
      );
      const direct = await far.many({ host: mynetAddress(4), port: targetPorts.web }, 2);
      assert.deepEqual(countByTask(direct), { c4: 2 });
    },
  },
  {
    name: 'a VIP answers a ping',
    run: async ({ cluster }) => {
      await cluster.run('c5', 'busybox', 'ping', '-c1', '-W2', vip);
    },
  },
  {
    name: 'an overlay reaches tasks directly beside the VIP',
    run: async ({ caller }) => {
      for (const part of webParts) {
        const answers = await caller.many({ host: mynetAddress(part), port: targetPorts.web }, 2);
        assert.deepEqual(countByTask(answers), { [`c${part}`]: 2 });
      }
      assert(vtepOf(1));
    },
  },
];
