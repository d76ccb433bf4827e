/** Calls that begin on a node itself: its own processes, and containers that are nothing of ours. */
import { ingressAddress, ownPart, vtepOf } from '../../unit/dataplane/plan/network-state.js';
import type { Check } from '../check.js';
import { answered, assertClient, assertEven, assertRefused } from '../check.js';
import type { World } from '../world.js';
import { nodes, ports } from '../world.js';
import assert from 'node:assert';

/** TCP and UDP from one namespace to one address, seen by tasks as from `client`. */
async function callAll(world: World, from: string, host: string, client: string): Promise<void> {
  const peer = world.peer(from);
  const streams = await peer.many({ host, port: ports.web }, 12);
  assertEven(streams);
  assertClient(streams, client);
  const datagrams = await peer.manyUdp({ host, port: ports.udp }, 12);
  assertEven(datagrams);
  assertClient(datagrams, client);
  for (const answer of datagrams) assert.equal(answered(answer).from, `${host}:${ports.udp}`);
  const connection = answered(await peer.open({ host, port: ports.web }));
  assert.deepEqual(answered(await connection.transfer(500_000, 500_000)), { intact: true });
  await connection.close();
}

export const nodeChecks: readonly Check[] = [
  ...nodes.flatMap((node): Check[] => [
    {
      name: `node ${node} calls a port by its own address`,
      run: (world) => callAll(world, `node${node}`, vtepOf(node), vtepOf(node)),
    },
    {
      name: `node ${node} calls a port by 127.0.0.1`,
      engines: ['ebpf'],
      run: (world) => callAll(world, `node${node}`, '127.0.0.1', ingressAddress(ownPart(node))),
    },
  ]),
  {
    // Its packets bear 127.0.0.1 as their source, which may not leave the node.
    name: '127.0.0.1 is not balanced: refused at once',
    engines: ['ipvs'],
    run: async (world) => {
      for (const node of [1, 3])
        assertRefused(await world.peer(`node${node}`).open({ host: '127.0.0.1', port: ports.web }));
    },
  },
  {
    name: 'a node calls a port through another node',
    run: async (world) => {
      await callAll(world, 'node1', vtepOf(2), vtepOf(1));
      await callAll(world, 'node3', vtepOf(1), vtepOf(3));
    },
  },
  {
    name: 'a local container calls a port by its own node',
    run: async (world) => {
      for (const host of ['172.17.1.1', vtepOf(1)]) {
        const answers = await world.peer('boxed').many({ host, port: ports.web }, 12);
        assertEven(answers);
        assertClient(answers, '172.17.1.2');
      }
    },
  },
  {
    // Its packet was tracked on its bridge before anything of ours saw it: the bridge's masquerading must pass it over.
    name: 'a local container calls a port by its own node while the administrator has rules there',
    run: async (world) => {
      const iptables = (verb: string): Promise<string> =>
        world.cluster.run('node1', 'iptables', verb, ...'SKEP-USER -s 203.0.113.0/24 -j DROP'.split(' '));
      await iptables('-A');
      try {
        await world.cluster.restart(1);
        const answers = await world.peer('boxed').many({ host: vtepOf(1), port: ports.web }, 12);
        assertEven(answers);
        assertClient(answers, '172.17.1.2');
      } finally {
        await iptables('-D');
        await world.cluster.restart(1);
      }
    },
  },
  {
    name: 'a local container calls a port through another node',
    run: async (world) => {
      const answers = await world.peer('boxed').many({ host: vtepOf(2), port: ports.web }, 12);
      assertEven(answers);
      assertClient(answers, vtepOf(1));
    },
  },
];
