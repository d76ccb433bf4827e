/** Tasks that come and go, daemons that end, services without anybody. */
import assert from 'node:assert';
import { join } from 'node:path';
import { layoutName } from '../../../src/dataplane/balancer/pinned-tables.js';
import { loadPrograms } from '../../../src/dataplane/ebpf/bpf.js';
import type { BalancedScope } from '../../../src/dataplane/kernel/linux-kernel.js';
import { mynetAddress, mynetVni, vtepOf } from '../../unit/dataplane/plan/network-state.js';
import type { Check } from '../check.js';
import { answered, assertEven, assertRefused, countByTask, slowness } from '../check.js';
import type { Connection, DatagramTarget, Identity, Peer, StreamTarget } from '../peer.js';
import { isFailure } from '../peer.js';
import type { World } from '../world.js';
import { nodes, ports, targetPorts, until, vip, webParts, webTasks } from '../world.js';

/** The ways to `web`: its published port on the node of a task and on one without, and its VIP. */
export const targets = (world: World): readonly (readonly [Peer, StreamTarget])[] => [
  [world.client, { host: vtepOf(1), port: ports.web }],
  [world.client, { host: vtepOf(3), port: ports.web }],
  [world.caller, { host: vip, port: targetPorts.web }],
];

/** A connection to each task, by the task's name. */
export async function oneEach(peer: Peer, target: StreamTarget): Promise<Map<string, Connection>> {
  const found = new Map<string, Connection>();
  for (let i = 0; i < 12 && found.size < webParts.length; i += 1) {
    const connection = answered(await peer.open(target));
    const { task } = answered(await connection.ask());
    if (found.has(task)) await connection.close();
    else found.set(task, connection);
  }
  assert.equal(found.size, webParts.length, `reached ${[...found.keys()].join(', ')}`);
  return found;
}

/** Steps one after the other, each seen by new connections on every way and by `kept` busy ones, none of which may fail. */
async function underLoad(
  world: World,
  kept: number,
  steps: readonly (() => Promise<unknown>)[],
): Promise<void> {
  const loads = await Promise.all(targets(world).map(([peer, target]) => peer.startLoad(target, kept)));
  for (const step of steps) {
    await step();
    await Promise.all(loads.map((load) => load.more(3)));
  }
  for (const load of loads) {
    const { asked, failed } = await load.stop();
    assert.deepEqual(failed, []);
    assert(asked >= kept * steps.length, `too little to tell: ${asked} requests on kept connections`);
  }
}

const balancedScopes: readonly BalancedScope[] = [{ kind: 'host' }, { kind: 'overlay', vni: mynetVni }];

const idleLimits = {
  tcpEstablishedS: 0,
  tcpHalfOpenS: 0,
  tcpClosedS: 0,
  udpAnsweredS: 0,
  udpUnansweredS: 0,
  sctpEstablishedS: 0,
};

/**
 * Every node forgets its TCP flows, as after days of silence.
 * @param refresh sends something on the flows: IPVS counts from a flow's last packet, by the limit of that time
 */
async function forgetFlows(world: World, refresh: () => Promise<unknown>): Promise<void> {
  if (world.engine === 'ipvs') {
    for (const node of nodes)
      for (const scope of balancedScopes) {
        const table = await world.cluster.kernel(node).table(scope);
        await table.apply([{ op: 'add', object: { kind: 'ipvsTimeouts', tcpS: 1, tcpFinS: 1, udpS: 1 } }]);
      }
    await refresh();
  }
  for (const node of nodes)
    await until(`node ${node} has forgotten`, async () => {
      if (world.engine === 'ebpf') {
        using programs = loadPrograms({ pinDirectory: join(world.pinsOf(node), layoutName) });
        await programs.expireFlows(idleLimits);
      }
      const found = [];
      for (const scope of balancedScopes)
        found.push(...(await (await world.cluster.kernel(node).table(scope)).flows(100_000)));
      return found.some(({ protocol, state }) => protocol === 'tcp' && state === 'established')
        ? undefined
        : true;
    });
  // The limits are repaired like anything else.
  for (const node of nodes) await world.cluster.restart(node);
}

export const lifecycleChecks: readonly Check[] = [
  {
    name: 'draining: established flows go on, new ones go elsewhere, those of UDP at their next datagram',
    verified: true,
    run: async (world) => {
      const all = [];
      for (const [peer, target] of targets(world)) all.push(await oneEach(peer, target));
      const udp = { host: vtepOf(1), port: ports.udp };
      const datagrams = new Map<string, number>();
      for (let sourcePort = 38_000; sourcePort < 38_012; sourcePort += 1) {
        const [answer] = await world.client.askUdp({ ...udp, sourcePort });
        assert(answer);
        datagrams.set(answered(answer).task, sourcePort);
      }
      await world.program({ draining: [4] });
      for (const connections of all)
        for (const [task, connection] of connections) {
          assert.equal(answered(await connection.ask()).task, task);
          assert.deepEqual(answered(await connection.transfer(200_000, 200_000)), { intact: true });
        }
      for (const [task, sourcePort] of datagrams) {
        const [answer] = await world.client.askUdp({ ...udp, sourcePort });
        assert(answer);
        if (task === 'c4') assert.notEqual(answered(answer).task, task);
        else assert.equal(answered(answer).task, task);
      }
      for (const [peer, target] of targets(world)) assertEven(await peer.many(target, 12), ['c3', 'c6']);
      assertEven(await world.client.manyUdp(udp, 12), ['c3', 'c6']);
      for (const connections of all) for (const connection of connections.values()) await connection.close();
    },
  },
  {
    name: 'a removed task: its connections are reset, the others go on, UDP flows find another',
    verified: true,
    run: async (world) => {
      const all = [];
      for (const [peer, target] of targets(world)) all.push(await oneEach(peer, target));
      const datagrams: (readonly [Peer, DatagramTarget])[] = [];
      for (const [peer, target] of [
        [world.client, { host: vtepOf(1), port: ports.udp }],
        [world.client, { host: vtepOf(3), port: ports.udp }],
        [world.caller, { host: vip, port: targetPorts.udp }],
      ] as const) {
        let sourcePort = 39_000 + 100 * datagrams.length;
        await until('a UDP flow of c4', async () => {
          sourcePort += 1;
          const [answer] = await peer.askUdp({ ...target, sourcePort });
          return answer && answered(answer).task === 'c4' ? true : undefined;
        });
        datagrams.push([peer, { ...target, sourcePort, timeoutS: 1 }]);
      }
      await world.program({ gone: [4] });
      for (const connections of all)
        for (const [task, connection] of connections) {
          const answer = await connection.ask();
          if (task !== 'c4') assert.equal(answered(answer).task, task);
          else assert(isFailure(answer) && answer.failed === 'ECONNRESET', JSON.stringify(answer));
          await connection.close();
        }
      for (const [peer, target] of targets(world)) assertEven(await peer.many(target, 12), ['c3', 'c6']);
      for (const [peer, target] of datagrams) {
        const [found] = await peer.askUdp(target);
        assert(found);
        assert.notEqual(answered(found).task, 'c4');
      }
    },
  },
  {
    name: 'a published port with another target: each task is reached by its own, and what drains keeps its connections',
    sameOnAllKernels: true,
    run: async (world) => {
      const target = { host: vtepOf(1), port: ports.web };
      const connections = await oneEach(world.client, target);
      // c3 stands for a task that the update has made.
      await connections.get('c3')?.close();
      connections.delete('c3');
      const reached = async (count: number): Promise<string[]> => {
        const answers = (await world.client.many(target, count)).map((answer) => answered(answer));
        return [...new Set(answers.map(({ task, local }) => `${task}:${local.split(':')[1]}`))].sort();
      };
      const goOn = async (): Promise<void> => {
        for (const [task, connection] of connections)
          assert.equal(answered(await connection.ask()).task, task);
      };
      const { other, web } = targetPorts;
      await world.program({ draining: [4], update: { webTarget: other, notUpdated: [4, 6] } }, [1]);
      assert.deepEqual(await reached(6), [`c3:${other}`, `c6:${web}`]);
      await goOn();
      await world.program({ draining: [4, 6], update: { webTarget: other, notUpdated: [4, 6] } }, [1]);
      assert.deepEqual(await reached(4), [`c3:${other}`]);
      await goOn();
      for (const connection of connections.values()) await connection.close();
      await world.program({ update: { webTarget: other, notUpdated: [] } }, [1]);
      assert.deepEqual(await reached(6), [`c3:${other}`, `c4:${other}`, `c6:${other}`]);
    },
  },
  {
    name: 'UDP: fixed-port streams through 50 task replacements are never black for more than 200 ms',
    sameOnAllKernels: true,
    verified: true,
    run: async (world) => {
      const perSecond = 200;
      const streams = [
        await world.client.startDatagrams(
          { host: vtepOf(3), port: ports.udp, sourcePort: 38_100 },
          perSecond,
        ),
        await world.caller.startDatagrams(
          { host: vip, port: targetPorts.udp, sourcePort: 38_101 },
          perSecond,
        ),
      ];
      const reports = [];
      try {
        // Start-first: with each step one task has come and takes new flows, the one before drains, and the one before that is
        // gone.
        for (let step = 0; step < 50; step += 1) {
          const [gone = 0, draining = 0, serving = 0] = [0, 1, 2].map(
            (turn) => webParts[(step + turn) % webParts.length],
          );
          await world.program({ gone: [gone], draining: [draining] }, [1, 3]);
          for (const stream of streams)
            await until(`c${serving} has the stream`, async () =>
              (await stream.task()) === `c${serving}` ? true : undefined,
            );
        }
      } finally {
        // Whatever came of it: the next check counts packets.
        for (const stream of streams) reports.push(await stream.stop());
      }
      for (const { sent, answered: count, blackMs } of reports) {
        assert(sent >= 100 && count > sent / 2 / slowness, `too little to tell: ${count} of ${sent}`);
        assert(blackMs <= 200 * slowness, `black for ${blackMs} ms; ${count} of ${sent} were answered`);
      }
    },
  },
  {
    name: 'a flow that its node has forgotten: client and task are reset, whichever speaks',
    sameOnAllKernels: true,
    run: async (world) => {
      const opened: (Identity & { readonly connection: Connection; readonly taskFirst: boolean })[] = [];
      for (const [peer, target] of [
        ...targets(world),
        [world.client, { host: vtepOf(2), port: ports.web }] as const,
        // Of the three one comes back to the caller itself.
        ...webTasks.map(() => [world.peer('c3'), { host: vip, port: targetPorts.web }] as const),
      ])
        for (const taskFirst of [false, true]) {
          const connection = answered(await peer.open(target));
          opened.push({ connection, taskFirst, ...answered(await connection.ask()) });
        }
      // A call of a task's own address passes by all of this, and stays.
      const direct = answered(await world.caller.open({ host: mynetAddress(4), port: targetPorts.web }));
      await forgetFlows(world, () => Promise.all(opened.map(({ connection }) => connection.ask())));
      for (const { connection, taskFirst, task, client, local } of opened) {
        const what = `${client} at ${task} ${local}`;
        const ofTask = async (): Promise<void> => {
          const { failed } = await world.peer(task).speakUntilFailure(client);
          assert(['ECONNRESET', 'EPIPE'].includes(failed), `${what}, the task: ${failed}`);
        };
        if (taskFirst) await ofTask();
        const answer = await connection.ask();
        // What the task has said may have told the client already.
        const reset = taskFirst ? ['ECONNRESET', 'EPIPE'] : ['ECONNRESET'];
        assert(
          isFailure(answer) && reset.includes(answer.failed),
          `${what}, the client: ${JSON.stringify(answer)}`,
        );
        await connection.close();
        if (!taskFirst) await ofTask();
      }
      assert.equal(answered(await direct.ask()).task, 'c4');
      await direct.close();
      if (world.engine !== 'ipvs') return;
      for (const scope of balancedScopes) {
        const held = await (await world.cluster.kernel(1).table(scope)).observe(true);
        const expected = { kind: 'ipvsTimeouts', tcpS: 432_000, tcpFinS: 120, udpS: 300 };
        assert.deepEqual(
          held.find(({ kind }) => kind === 'ipvsTimeouts'),
          expected,
        );
      }
    },
  },
  {
    name: 'nobody serves: refused at once',
    sameOnAllKernels: true,
    verified: true,
    run: async (world) => {
      await world.program({ draining: webParts });
      // Node 2 has a firewall of somebody's, which drops what is not balanced.
      for (const node of [1, 3]) {
        assertRefused(await world.client.open({ host: vtepOf(node), port: ports.web }));
        assertRefused({
          ms: 0,
          failed: 'ECONNREFUSED',
          ...(await world.client.icmpError({ host: vtepOf(node), port: ports.udp })),
        });
      }
      assertRefused(await world.caller.open({ host: vip, port: targetPorts.web }));
      await world.program({ gone: webParts });
      for (const node of [1, 3])
        assertRefused(await world.client.open({ host: vtepOf(node), port: ports.web }));
      assertRefused(await world.caller.open({ host: vip, port: targetPorts.web }));
    },
  },
  {
    name: 'a daemon that is killed and replaced under load costs no connection',
    run: (world) =>
      underLoad(
        world,
        4,
        nodes.map((node) => () => world.cluster.restart(node)),
      ),
  },
  {
    name: 'tasks that drain, go and come back under load cost no new connection',
    sameOnAllKernels: true,
    verified: true,
    run: (world) =>
      underLoad(
        world,
        0,
        [{ draining: [4] }, { gone: [4] }, {}, { draining: [3, 6] }, { scheduler: 'wrr' as const }].map(
          (shape) => () => world.program(shape),
        ),
      ),
  },
  {
    name: 'the scheduler changes under established flows',
    run: async (world) => {
      const connections = await oneEach(world.client, { host: vtepOf(1), port: ports.web });
      for (const scheduler of ['wrr', 'lc', 'mh', 'rr'] as const) {
        await world.program({ scheduler });
        for (const [task, connection] of connections)
          assert.equal(answered(await connection.ask()).task, task);
      }
      for (const connection of connections.values()) await connection.close();
      countByTask(await world.client.many({ host: vtepOf(1), port: ports.web }, 3));
    },
  },
];
