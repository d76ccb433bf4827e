/** `skep trace` against the traffic: the way of a call that gets there, and where one stops that something stands in the way of. */
import assert from 'node:assert';
import type { ServiceTrace, TraceHop, TracePath } from '../../../src/dataplane/trace.js';
import { ingressMac, ingressVni, mynetVni, vtepOf } from '../../unit/dataplane/plan/network-state.js';
import type { Check } from '../check.js';
import { answered } from '../check.js';
import type { Connection } from '../peer.js';
import { isFailure } from '../peer.js';
import type { World } from '../world.js';
import { clientAddress, ports, targetPorts, vip, webParts } from '../world.js';
import { withRule } from './ingress.js';

const stopsOf = ({ paths }: ServiceTrace): readonly string[] =>
  paths.flatMap(({ stops, hops }) => [...stops, ...hops.flatMap((hop) => hop.stops)]);
const onlyPath = ({ paths }: ServiceTrace): TracePath => {
  assert.equal(paths.length, 1);
  return paths[0] as TracePath;
};
/** The hop to the task `c<part>`. */
const hopTo = (traced: ServiceTrace, part: number): TraceHop => {
  const hop = onlyPath(traced).hops.find(({ task }) => task.endsWith(`.task${part}`));
  assert(hop, `there is a way to task ${part}`);
  return hop;
};
const nameOf = (part: number): string => `web.${part}.task${part}`;

/** Opens a connection, asks, and gives it open with the part of the task that answered. */
async function call(
  world: World,
  from: string,
  host: string,
  port: number,
): Promise<{ connection: Connection; part: number }> {
  const connection = await world.peer(from).open({ host, port });
  assert(!isFailure(connection), `a connection, and not ${JSON.stringify(connection)}`);
  const { task } = answered(await connection.ask());
  return { connection, part: Number(task.slice(1)) };
}

/** Calls until one to the task gets no answer; the others, and what they wait for, are over when it returns. */
async function callInVain(world: World, port: number, times: number): Promise<void> {
  await Promise.all(
    Array.from({ length: times }, () => world.client.many({ host: vtepOf(3), port, timeoutS: 0.5 }, 1)),
  );
}

/** What no engine has to do with; where a look at a node costs seconds it is not repeated. */
const anyEngine = ['ebpf'] as const;

export const traceChecks: readonly Check[] = [
  {
    name: 'trace: who calls what, and which task answers, for callers outside, on the node and in a container',
    run: async (world) => {
      const { cluster } = world;
      const outside = await call(world, 'client', vtepOf(3), ports.web);
      const fromNode = await call(world, 'node1', vtepOf(1), ports.web);
      const fromTask = await call(world, 'c5', vtepOf(1), ports.web);
      const toVip = await call(world, 'c5', vip, targetPorts.web);
      try {
        for (const [node, from, { connection, part }] of [
          [3, clientAddress, outside],
          [1, vtepOf(1), fromNode],
          [1, 'caller.5.task5', fromTask],
        ] as const) {
          const traced = await cluster.trace(node, String(ports.web), from);
          assert.deepEqual(stopsOf(traced), [], from);
          const flow = onlyPath(traced).flows.find(({ clientPort }) => clientPort === connection.port);
          assert.equal(flow?.task, nameOf(part), `${from}: ${JSON.stringify(onlyPath(traced).flows)}`);
          assert.equal(flow?.state, 'established');
        }
        const { paths } = await cluster.trace(1, 'web', 'caller.5.task5');
        const vipPath = paths.find(({ frontend }) => frontend === vip);
        const flow = vipPath?.flows.find(({ clientPort }) => clientPort === toVip.connection.port);
        assert.equal(flow?.task, nameOf(toVip.part));
        assert.deepEqual(vipPath?.stops, []);
      } finally {
        for (const { connection } of [outside, fromNode, fromTask, toVip]) await connection.close();
      }
    },
  },
  {
    name: 'trace: a limited port says where it listens, and whose calls it does not take',
    sameOnAllKernels: true,
    engines: anyEngine,
    run: async ({ cluster }) => {
      const stops = async (port: number, from: string): Promise<readonly string[]> => {
        const traced = await cluster.trace(1, String(port), from);
        return onlyPath(traced).stops;
      };
      const only = (device: string, listens: string): string[] => [
        `the client’s calls come in by ${device}, and the port listens on ${listens} only`,
      ];
      assert.deepEqual(await stops(ports.byDevice, clientAddress), []);
      assert.deepEqual(await stops(ports.byDevice, vtepOf(1)), only('lo', 'eth0'));
      assert.deepEqual(await stops(ports.byDevice, 'caller.5.task5'), only('docker_gwbridge', 'eth0'));
      assert.deepEqual(await stops(ports.byAddress, clientAddress), []);
      assert.deepEqual(await stops(ports.byBoth, clientAddress), only('eth0', 'docker0, lo'));
      assert.deepEqual(await stops(ports.byBoth, vtepOf(1)), []);
      assert.deepEqual(onlyPath(await cluster.trace(1, String(ports.byBoth), null)).limits, {
        interfaces: ['docker0', 'lo'],
        cidrs: ['192.168.50.0/24'],
      });
    },
  },
  {
    name: 'trace: without a task that takes calls it stops at the frontend',
    sameOnAllKernels: true,
    engines: anyEngine,
    run: async (world) => {
      for (const shape of [{ draining: webParts }, { gone: webParts }]) {
        await world.program(shape);
        const { paths } = await world.cluster.trace(3, 'web', null);
        assert(paths.length > 2);
        for (const { stops } of paths)
          assert.deepEqual(stops, ['no task takes new flows: callers are refused']);
      }
    },
  },
  {
    name: 'trace: calls that got no answer stop at the task whose node drops the tunnel’s packets',
    sameOnAllKernels: true,
    run: async (world) => {
      const { cluster } = world;
      const drop = 'INPUT -p udp -m udp --dport 4789 -j DROP'.split(' ');
      await cluster.run('node2', 'iptables', '-I', ...drop);
      try {
        await callInVain(world, ports.web, 6);
        const traced = await cluster.trace(3, String(ports.web), clientAddress);
        for (const part of [4, 6])
          assert.match(hopTo(traced, part).stops.join(), /wait there for an answer: \d/);
        assert.deepEqual(hopTo(traced, 3).stops, []);
      } finally {
        await cluster.run('node2', 'iptables', '-D', ...drop);
      }
    },
  },
  {
    name: 'trace: a forwarding entry that is gone is named on the way to its task alone, and so is what is missing of a VIP',
    sameOnAllKernels: true,
    engines: anyEngine,
    run: async ({ cluster }) => {
      const lost = ingressMac(4);
      await cluster.runAt(
        cluster.overlayPath(3, ingressVni),
        ...`bridge fdb del ${lost} dev vxlan0 dst ${vtepOf(2)} self`.split(' '),
      );
      await cluster.runAt(cluster.overlayPath(1, mynetVni), 'ip', 'link', 'set', 'vxlan0', 'down');
      try {
        const traced = await cluster.trace(3, String(ports.web), null);
        assert.match(hopTo(traced, 4).stops.join(), new RegExp(`overlay ${ingressVni}: \\+ fdb .*${lost}`));
        assert.doesNotMatch([...hopTo(traced, 6).stops, ...hopTo(traced, 3).stops].join(), /fdb/);
        const { paths } = await cluster.trace(1, 'web', null);
        const stops = paths.find(({ frontend }) => frontend === vip)?.stops ?? [];
        assert.match(stops.join(), new RegExp(`overlay ${mynetVni}: ~ link vxlan0`));
      } finally {
        for (const node of [1, 3]) assert.deepEqual((await cluster.reconciler(node).repair()).left, []);
      }
    },
  },
  {
    name: 'trace: who drops a client’s packets in the administrator’s chain is named with his count',
    sameOnAllKernels: true,
    run: async (world) => {
      const { cluster } = world;
      const rule = `-s ${clientAddress}/32 -j DROP`;
      await withRule(world, rule, async () => {
        const refused = await world.client.open({ host: vtepOf(1), port: ports.web, timeoutS: 0.5 });
        assert(isFailure(refused));
        const { foreignDrops } = await cluster.trace(1, String(ports.web), clientAddress);
        assert.match(foreignDrops.join('\n'), new RegExp(`^filter SKEP-USER ${rule}: \\d+ packets$`, 'm'));
      });
    },
  },
  {
    name: 'trace: replies that a stranger drops on their way back are missed, and the stranger’s rule is named',
    engines: ['ipvs'],
    run: async (world) => {
      const { cluster } = world;
      const rule = `-d ${clientAddress}/32 -j DROP`;
      await cluster.run('node3', 'iptables', '-I', 'FORWARD', ...rule.split(' '));
      try {
        await callInVain(world, ports.web, 3);
        const traced = await cluster.trace(3, String(ports.web), null);
        assert.match(stopsOf(traced).join(), /wait there for an answer: \d/);
        assert.match(
          traced.foreignDrops.join('\n'),
          new RegExp(`^filter FORWARD ${rule}: \\d+ packets$`, 'm'),
        );
      } finally {
        await cluster.run('node3', 'iptables', '-D', 'FORWARD', ...rule.split(' '));
      }
    },
  },
];
