/** Calls that begin on a node itself: its own processes, and containers that are nothing of ours. */
import { ingressAddress, ownPart, vtepOf } from '../../unit/dataplane/plan/network-state.js';
import { formatPorts } from '../../../src/dataplane/kernel/reserved-ports.js';
import { mirrorAddresses } from '../../../src/dataplane/plan/names.js';
import type { Check } from '../check.js';
import { answered, assertClient, assertEven } from '../check.js';
import type { World } from '../world.js';
import { clientAddress, manyPortsFirst, nodes, ports } from '../world.js';
import { withRule } from './ingress.js';
import assert from 'node:assert';

/** TCP and UDP from one namespace to one address, seen by tasks as from `client`; null: as from whomever. */
async function callAll(world: World, from: string, host: string, client: string | null): Promise<void> {
  const peer = world.peer(from);
  const streams = await peer.many({ host, port: ports.web }, 12);
  assertEven(streams);
  if (client !== null) assertClient(streams, client);
  const datagrams = await peer.manyUdp({ host, port: ports.udp }, 12);
  assertEven(datagrams);
  if (client !== null) assertClient(datagrams, client);
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
      run: (world) =>
        callAll(
          world,
          `node${node}`,
          '127.0.0.1',
          world.engine === 'ebpf' ? ingressAddress(ownPart(node)) : mirrorAddresses[4],
        ),
    },
  ]),
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
      for (const host of ['172.17.1.1', vtepOf(1)]) await callAll(world, 'boxed', host, '172.17.1.2');
    },
  },
  {
    name: 'a node calls a port by its other addresses, and so do its containers',
    run: async (world) => {
      // The engine's masquerading of what leaves a bridge of its own may give these calls another address of the node.
      for (const host of ['172.17.1.1', '172.18.1.1']) await callAll(world, 'node1', host, null);
      const another = '198.51.100.7';
      await world.cluster.run('node1', 'ip', 'address', 'add', `${another}/32`, 'dev', 'lo');
      try {
        await world.cluster.pass(1);
        await callAll(world, 'node1', another, another);
        await callAll(world, 'boxed', another, '172.17.1.2');
      } finally {
        await world.cluster.run('node1', 'ip', 'address', 'del', `${another}/32`, 'dev', 'lo');
        await world.cluster.pass(1);
      }
    },
  },
  {
    // It answers itself in its turn: its own request comes back to it over ingress, under its own address.
    name: "a task calls its own service's port, by its own node and through others",
    run: async (world) => {
      for (const host of [vtepOf(1), '172.18.1.1']) await callAll(world, 'c3', host, '172.18.1.3');
      await callAll(world, 'c3', vtepOf(2), vtepOf(1));
      await callAll(world, 'c4', vtepOf(2), '172.18.2.4');
      await callAll(world, 'c4', vtepOf(3), vtepOf(2));
    },
  },
  {
    // Its packet was tracked on its bridge before anything of ours saw it: the bridge's masquerading must pass it over.
    name: 'a local container calls a port by its own node while the administrator has rules there',
    sameOnAllKernels: true,
    run: (world) =>
      withRule(world, '-s 203.0.113.0/24 -j DROP', async () => {
        const answers = await world.peer('boxed').many({ host: vtepOf(1), port: ports.web }, 12);
        assertEven(answers);
        assertClient(answers, '172.17.1.2');
      }),
  },
  {
    name: 'a local container calls a port through another node',
    run: async (world) => {
      await callAll(world, 'boxed', vtepOf(2), vtepOf(1));
    },
  },
  {
    name: "a node's own calls get no published port by chance; others' reservations stay; TCP from a published port is answered",
    run: async (world) => {
      const { client, cluster } = world;
      const node = world.peer('node1');
      const [free, strangers] = [manyPortsFirst + 63, [manyPortsFirst + 2, 61_000]];
      const file = (name: string): string => `/proc/sys/net/ipv4/${name}`;
      const list = 'ip_local_reserved_ports';
      const reserved = async (): Promise<string> => (await cluster.run('node1', 'cat', file(list))).trim();
      const set = (name: string, value: string): Promise<string> =>
        cluster.run('node1', 'sh', '-c', `echo ${value} > ${file(name)}`);
      const withUsual = (more: readonly number[]): string =>
        formatPorts(new Set([...Object.values(ports), ...more]));
      const called = { host: clientAddress, port: 7000 };
      await client.listen(called.port);
      await client.listenUdp(called.port);
      assert.equal(await reserved(), withUsual([]));
      const range = (await cluster.run('node1', 'cat', file('ip_local_port_range'))).trim();
      try {
        await set(list, withUsual(strangers));
        await world.program({ manyPorts: 63 }, [1]);
        await set('ip_local_port_range', `"${manyPortsFirst} ${free}"`);
        const connection = answered(await node.open(called));
        assert.equal(connection.port, free);
        answered(await connection.ask());
        await connection.reset();
        const [datagram] = await node.askUdp({ ...called, sourcePort: 0 });
        assert(datagram);
        assert.equal(answered(datagram).client, `${vtepOf(1)}:${free}`);
        await world.program({}, [1]);
        assert.equal(await reserved(), withUsual(strangers));
        // Overwritten, ours come back.
        await set(list, '61000');
        await cluster.restart(1);
        assert.equal(await reserved(), withUsual([61_000]));
        const intended = answered(await node.open({ ...called, sourcePort: ports.web }));
        answered(await intended.ask());
        await intended.reset();
      } finally {
        await set('ip_local_port_range', `"${range}"`);
        await set(list, withUsual([]));
        await cluster.pass(1);
      }
    },
  },
];
