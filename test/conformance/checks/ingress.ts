/** Published ports as their operators want them: many, limited, behind a firewall of theirs, and under many flows. */
import assert from 'node:assert';
import type { EngineName } from '../../../src/dataplane/plan/balancing.js';
import { publishedPortMark } from '../../../src/dataplane/state.js';
import { vtepOf } from '../../unit/dataplane/plan/network-state.js';
import type { Check } from '../check.js';
import { answered, assertClient, assertEven, assertOneTask, assertRefused, slowness } from '../check.js';
import type { Flood } from '../peer.js';
import { isFailure } from '../peer.js';
import type { World } from '../world.js';
import { clientAddress, manyPortsFirst, ports, webTasks } from '../world.js';

/** Flows of the checks that count them: fewer where a guest's processor takes a minute for ten thousand. */
const floodFlows = (engine: EngineName): number =>
  Number(process.env['SKEP_FLOWS'] ?? { ebpf: 10_000, ipvs: 1_500 }[engine]);
const manyPorts = 1_000;
/** System calls of user-mode Linux, the one place of `ipvs` here, take ten times as long as a kernel's on its own. */
const programMsMax = { ebpf: 1_000, ipvs: 2_000 } as const;
const programTries = 5;

function assertAllRight({ right, wrong, wrongCount }: Flood, count: number): void {
  assert.deepEqual({ wrong, wrongCount }, { wrong: [], wrongCount: 0 });
  assert.deepEqual(Object.keys(right).sort(), [...webTasks].sort());
  for (const flows of Object.values(right))
    assert(Math.abs(flows - count / webTasks.length) <= count / 10, `not even: ${JSON.stringify(right)}`);
}

/** How many rules and filters there are in a namespace, whatever they say. @param device whose filters count */
export async function countRules(world: World, path: string, device: string): Promise<number> {
  const texts = await Promise.all(
    ['iptables-save', 'ip rule', `tc filter show dev ${device} ingress`].map((command) =>
      world.cluster.runAt(path, ...command.split(' ')),
    ),
  );
  return texts
    .join('\n')
    .split('\n')
    .filter((row) => /^(-A|\d+:|filter )/.test(row)).length;
}

/** While the administrator of node 1 has a rule in his chain. `ebpf` must have read it: packets do not pass the chain else. */
export async function withRule(world: World, rule: string, during: () => Promise<void>): Promise<void> {
  const iptables = async (verb: string): Promise<void> => {
    await world.cluster.run('node1', 'iptables', verb, 'SKEP-USER', ...rule.split(' '));
    if (world.engine === 'ebpf') await world.cluster.restart(1);
  };
  await iptables('-A');
  try {
    await during();
  } finally {
    await iptables('-D');
  }
}

/** Refused by the node's own TCP: nothing listens there. */
async function assertClosed(world: World, from: string, host: string, port: number): Promise<void> {
  assertRefused(await world.peer(from).open({ host, port }));
}
async function assertOpen(world: World, from: string, host: string, port: number): Promise<void> {
  assertEven(await world.peer(from).many({ host, port }, 6));
}

export const ingressChecks: readonly Check[] = [
  {
    name: 'thousands of TCP flows through a node without a task: every one is right and shows its client',
    run: async (world) => {
      const count = floodFlows(world.engine);
      const { length } = webTasks;
      assert(count >= length);
      assertAllRight(await world.peer('other').flood({ host: vtepOf(3), port: ports.web }, count), count);
    },
  },
  {
    name: 'thousands of UDP flows through a node without a task: every one is right and shows its client',
    run: async (world) => {
      const count = floodFlows(world.engine);
      assertAllRight(
        await world.peer('other').floodUdp({ host: vtepOf(3), port: ports.udpAnySource }, count),
        count,
      );
    },
  },
  {
    name: 'one client port through two nodes at once, TCP and UDP, under a load of new connections',
    run: async ({ client }) => {
      const through = [1, 3];
      const target = (node: number) => ({ host: vtepOf(node), port: ports.web });
      const loads = await Promise.all(through.map((node) => client.startLoad(target(node), 2)));
      for (let sourcePort = 37_000; sourcePort < 37_012; sourcePort += 1) {
        const connections = await Promise.all(
          through.map(async (node) => answered(await client.open({ ...target(node), sourcePort }))),
        );
        for (const connection of connections) {
          const answers = [await connection.ask(), await connection.ask(), await connection.ask()];
          assertOneTask(answers);
          assert.equal(answered(answers[0] ?? assert.fail()).client, `${clientAddress}:${sourcePort}`);
        }
        for (const node of through) {
          const [answer] = await client.askUdp({ host: vtepOf(node), port: ports.udp, sourcePort });
          assertClient([answer ?? assert.fail()], clientAddress);
        }
        await Promise.all(loads.map((load) => load.more(1)));
        for (const connection of connections) answered(await connection.ask());
        await Promise.all(connections.map((connection) => connection.reset()));
      }
      for (const load of loads) {
        const { opened, failed } = await load.stop();
        assert.deepEqual(failed, []);
        assert(opened >= 12, `too little to tell: ${opened} new connections`);
      }
    },
  },
  {
    name: `${manyPorts} ports of one service are programmed at once, without one rule more`,
    sameOnAllKernels: true,
    run: async (world) => {
      const rules = (): Promise<number> => countRules(world, world.cluster.path('node1'), 'eth0');
      const before = await rules();
      const limitMs = programMsMax[world.engine] * slowness;
      const tookMs: number[] = [];
      // What else the machine does makes it slower, never faster.
      while (Math.min(Infinity, ...tookMs) >= limitMs && tookMs.length < programTries) {
        if (tookMs.length > 0) await world.program();
        tookMs.push((await world.program({ manyPorts })).get(1) ?? Infinity);
        assert.equal(await rules(), before);
        for (const port of [manyPortsFirst, manyPortsFirst + manyPorts - 1])
          await assertOpen(world, 'client', vtepOf(1), port);
      }
      console.log(JSON.stringify({ manyPorts, tookMs }));
      assert(Math.min(...tookMs) < limitMs, `${manyPorts} ports took ${tookMs.join(', ')} ms`);
    },
  },
  {
    name: 'a port that is limited to a device answers what comes in by it',
    run: async (world) => {
      await assertOpen(world, 'client', vtepOf(1), ports.byDevice);
      await assertOpen(world, 'client', vtepOf(3), ports.byDevice);
      assertEven(await world.client.manyUdp({ host: vtepOf(1), port: ports.udpByDevice }, 6));
      await assertClosed(world, 'node1', vtepOf(1), ports.byDevice);
      await assertClosed(world, 'node1', '127.0.0.1', ports.byDevice);
      await assertClosed(world, 'boxed', vtepOf(1), ports.byDevice);
      assertRefused({
        ms: 0,
        failed: 'ECONNREFUSED',
        ...(await world.peer('boxed').icmpError({ host: vtepOf(1), port: ports.udpByDevice })),
      });
    },
  },
  {
    name: 'a port that is limited to addresses answers on them',
    run: async (world) => {
      await assertOpen(world, 'boxed', '172.17.1.1', ports.byAddress);
      await assertOpen(world, 'node1', '172.17.1.1', ports.byAddress);
      for (const host of ['127.0.0.1', '127.0.0.2']) await assertOpen(world, 'node1', host, ports.byAddress);
      for (const from of ['client', 'boxed', 'node1'])
        await assertClosed(world, from, vtepOf(1), ports.byAddress);
    },
  },
  {
    name: 'a port that is limited to devices and addresses answers where both are so',
    run: async (world) => {
      await assertOpen(world, 'boxed', vtepOf(1), ports.byBoth);
      await assertOpen(world, 'node1', vtepOf(1), ports.byBoth);
      await assertClosed(world, 'client', vtepOf(1), ports.byBoth);
      await assertClosed(world, 'boxed', '172.17.1.1', ports.byBoth);
      await assertClosed(world, 'node1', '127.0.0.1', ports.byBoth);
    },
  },
  {
    name: 'what the administrator drops reaches no task, and everything else does',
    sameOnAllKernels: true,
    run: async (world) => {
      const { client } = world;
      const web = { host: vtepOf(1), port: ports.web };
      const mark = (protocol: 'tcp' | 'udp', port: number): string =>
        `-m mark --mark 0x${publishedPortMark(protocol, port).toString(16)}`;
      await withRule(world, `-s ${clientAddress} ${mark('tcp', ports.web)} -j DROP`, async () => {
        const dropped = await client.open({ ...web, timeoutS: 1 });
        assert(isFailure(dropped) && dropped.failed === 'TIMEOUT', JSON.stringify(dropped));
        assertEven(await client.many({ ...web, port: ports.webAgain }, 6));
        assertEven(await world.peer('other').many(web, 6));
        assertEven(await client.many({ ...web, host: vtepOf(3) }, 6));
        assertEven(await client.manyUdp({ host: vtepOf(1), port: ports.udp }, 6));
      });
      await withRule(world, `${mark('udp', ports.udp)} -j DROP`, async () => {
        const [dropped] = await client.askUdp({ host: vtepOf(1), port: ports.udp, timeoutS: 1 });
        assert(dropped && isFailure(dropped), JSON.stringify(dropped));
        assertEven(await client.manyUdp({ host: vtepOf(1), port: ports.udpAnySource }, 6));
      });
      assertEven(await client.many(web, 6));
    },
  },
];
