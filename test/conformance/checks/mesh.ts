/** Published ports, called from outside. */
import assert from 'node:assert';
import { vtepOf } from '../../unit/dataplane/plan/network-state.js';
import type { Check } from '../check.js';
import { answered, assertClient, assertEven, assertOneTask, assertRefused, countByTask } from '../check.js';
import type { World } from '../world.js';
import { clientAddress, nodes, ports, webTasks } from '../world.js';

const whose = (node: number): string => (node === 3 ? 'a node without a task' : `node ${node}, with tasks`);

async function askSctp(world: World, node: number, sourcePort: number, count: number): Promise<string> {
  const target = { host: vtepOf(node), port: ports.sctp, sourcePort };
  if (!world.hasSctp) {
    const answers = await world.client.askRawSctp(target, count);
    assertClient(answers, clientAddress);
    return assertOneTask(answers);
  }
  const connection = answered(await world.client.open({ ...target, protocol: 'sctp' }));
  const answers = [];
  for (let i = 0; i < count; i += 1) answers.push(await connection.ask());
  await connection.close();
  assertClient(answers, clientAddress);
  return assertOneTask(answers);
}

export const meshChecks: readonly Check[] = [
  ...nodes.flatMap((node): Check[] => [
    {
      name: `TCP through ${whose(node)}: every task in turn, each sees the client`,
      run: async ({ client }) => {
        const answers = await client.many({ host: vtepOf(node), port: ports.web }, 30);
        assertEven(answers);
        assertClient(answers, clientAddress);
      },
    },
    {
      name: `UDP through ${whose(node)}: every task in turn, each sees the client, answers come from the node`,
      run: async ({ client }) => {
        const answers = await client.manyUdp({ host: vtepOf(node), port: ports.udp }, 30);
        assertEven(answers);
        assertClient(answers, clientAddress);
        const from = new Set(answers.map((answer) => answered(answer).from));
        assert.deepEqual([...from], [`${vtepOf(node)}:${ports.udp}`]);
        assert(answers.every((answer) => answered(answer).intact));
      },
    },
    {
      name: `UDP through ${whose(node)} to servers that know only 0.0.0.0`,
      run: async ({ client }) => {
        const answers = await client.manyUdp({ host: vtepOf(node), port: ports.udpAnySource }, 12);
        assertEven(answers);
        assertClient(answers, clientAddress);
        const from = new Set(answers.map((answer) => answered(answer).from));
        assert.deepEqual([...from], [`${vtepOf(node)}:${ports.udpAnySource}`]);
      },
    },
    {
      name: `SCTP through ${whose(node)}: an association has one task, checksums are right`,
      run: async (world) => {
        const tasks = new Set<string>();
        for (let i = 0; i < 6; i += 1) tasks.add(await askSctp(world, node, 31_000 + 10 * node + i, 4));
        assert.equal(tasks.size, webTasks.length, `answered: ${[...tasks].join(', ')}`);
      },
    },
  ]),
  {
    name: 'a TCP connection stays with its task and carries data both ways',
    run: async ({ client }) => {
      for (const node of nodes) {
        const connection = answered(await client.open({ host: vtepOf(node), port: ports.web }));
        const answers = [];
        for (let i = 0; i < 10; i += 1) answers.push(await connection.ask());
        assertOneTask(answers);
        assert.deepEqual(answered(await connection.transfer(1_000_000, 1_000_000)), { intact: true });
        await connection.close();
      }
    },
  },
  {
    name: 'datagrams from one port stay with one task',
    run: async ({ client }) => {
      for (const node of nodes)
        assertOneTask(await client.askUdp({ host: vtepOf(node), port: ports.udp, sourcePort: 32_000 }, 12));
    },
  },
  {
    name: 'one client port through every node at once is as many connections',
    run: async ({ client }) => {
      const sourcePort = 33_000;
      for (let round = 0; round < 3; round += 1) {
        const opened = await Promise.all(
          nodes.map(async (node) =>
            answered(
              await client.open({ host: vtepOf(node), port: ports.web, sourcePort: sourcePort + round }),
            ),
          ),
        );
        const answers = await Promise.all(
          opened.map(async (connection) => {
            const own = [];
            for (let i = 0; i < 5; i += 1) own.push(await connection.ask());
            assertOneTask(own);
            return own;
          }),
        );
        for (const answer of answers.flat())
          assert.equal(answered(answer).client, `${clientAddress}:${sourcePort + round}`);
        await Promise.all(opened.map((connection) => connection.close()));
      }
    },
  },
  {
    name: 'one client port through every node at once is as many UDP flows',
    run: async ({ client }) => {
      for (let round = 0; round < 3; round += 1)
        for (const node of nodes) {
          const [answer] = await client.askUdp({ host: vtepOf(node), port: ports.udp, sourcePort: 34_000 });
          assert(answer);
          assert.equal(answered(answer).from, `${vtepOf(node)}:${ports.udp}`);
          // The port may be another: at the task all three would else be one 4-tuple.
          assertClient([answer], clientAddress);
        }
    },
  },
  {
    name: 'a target port may be published twice',
    run: async ({ client }) => {
      for (const port of [ports.web, ports.webAgain])
        assertEven(await client.many({ host: vtepOf(1), port }, 12));
    },
  },
  {
    // A task sees one 4-tuple for both; with `ipvs` the second connection may be given the first one's replies.
    name: 'one client port to two ports of one target at once is two connections, with two tasks',
    engines: ['ebpf'],
    run: async ({ client }) => {
      for (let round = 0; round < 6; round += 1) {
        const sourcePort = 35_000 + round;
        const [first, second] = await Promise.all(
          [ports.web, ports.webAgain].map(async (port) =>
            answered(await client.open({ host: vtepOf(1), port, sourcePort })),
          ),
        );
        assert(first && second);
        const count = countByTask([
          await first.ask(),
          await second.ask(),
          await first.ask(),
          await second.ask(),
        ]);
        assert.deepEqual(Object.values(count), [2, 2]);
        await Promise.all([first.close(), second.close()]);
      }
    },
  },
  {
    name: 'a client port is used again at once, for a new connection',
    run: async ({ client }) => {
      for (let round = 0; round < 10; round += 1) {
        const connection = answered(
          await client.open({ host: vtepOf(3), port: ports.web, sourcePort: 36_000 }),
        );
        answered(await connection.ask());
        await connection.reset();
      }
    },
  },
  {
    name: "a task's refusal reaches the client",
    run: async ({ client }) => {
      for (const node of nodes) assertRefused(await client.open({ host: vtepOf(node), port: ports.refused }));
    },
  },
  {
    name: 'flows of the mesh are in no connection tracking',
    run: async (world) => {
      const { client, cluster } = world;
      const target = { host: vtepOf(1), port: ports.web };
      const connection = answered(await client.open(target));
      answered(await connection.ask());
      answered((await client.askUdp({ host: vtepOf(1), port: ports.udp }, 3))[0] ?? assert.fail());
      const tracked = await cluster.run('node1', 'cat', '/proc/net/nf_conntrack');
      const ours = tracked.split('\n').filter((row) => row.includes(clientAddress) || /=24\d\./.test(row));
      assert.deepEqual(ours, []);
      // What is not ours is tracked, or nothing could be said.
      answered((await world.peer('boxed').many(target, 1))[0] ?? assert.fail());
      await connection.close();
    },
  },
];
