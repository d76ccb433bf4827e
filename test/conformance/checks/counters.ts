/** What the counters say against what was sent. */
import assert from 'node:assert';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { ServerCounters, VirtualServerCounters } from '../../../src/dataplane/balancer/engine.js';
import type { BalancedScope } from '../../../src/dataplane/kernel/linux-kernel.js';
import { publishedPortMark, vipMark } from '../../../src/dataplane/state.js';
import type { Cidr, Ip } from '../../../src/model/addresses.js';
import { mynetAddress, mynetVni, vtepOf } from '../../unit/dataplane/plan/network-state.js';
import type { Check } from '../check.js';
import { answered } from '../check.js';
import type { World } from '../world.js';
import { clientAddress, ports, targetPorts, until, vip } from '../world.js';

/** IP and UDP headers; the counters are of IP packets. */
const udpHeaderBytes = 28;
const counted = ['connections', 'packets', 'bytes', 'replyPackets', 'replyBytes'] as const;
type Counted = Record<(typeof counted)[number], number>;

async function countersOf(
  world: World,
  node: number,
  scope: BalancedScope,
  mark: number,
): Promise<VirtualServerCounters> {
  const table = await world.cluster.kernel(node).table(scope);
  const found = (await table.counters()).find((one) => one.mark === mark);
  assert(found, 'the virtual server has counters');
  return found;
}

const moved = (before: ServerCounters, after: ServerCounters): Counted =>
  Object.fromEntries(counted.map((name) => [name, Number(after[name] - before[name])])) as Counted;

/** IPVS adds up every two seconds what its processors counted. */
const addingUpMs = 2_100;
const settleMs = 3 * addingUpMs;

/** Counters once all that was sent before is in them. */
async function settled<T>({ engine }: World, look: () => Promise<T>): Promise<T> {
  for (let before = await look(); ;) {
    if (engine !== 'ipvs') return before;
    await sleep(addingUpMs);
    const after = await look();
    if (isDeepStrictEqual(before, after)) return after;
    before = after;
  }
}

/**
 * Virtual server and the one real server that was used have moved by what was expected.
 * @returns the real server's address
 */
async function assertMoved(
  look: () => Promise<VirtualServerCounters>,
  before: VirtualServerCounters,
  expected: Counted,
): Promise<string> {
  const deadline = Date.now() + settleMs;
  for (;;) {
    const after = await look();
    const servers = movedServers(before, after);
    const found = { virtual: moved(before, after), real: servers.map(([, by]) => by) };
    const wanted = { virtual: expected, real: [expected] };
    if (isDeepStrictEqual(found, wanted)) return servers[0]?.[0] ?? '';
    if (Date.now() > deadline) assert.deepEqual(found, wanted);
    await sleep(50);
  }
}

/** Real servers whose counters moved, by address. */
function movedServers(before: VirtualServerCounters, after: VirtualServerCounters): [string, Counted][] {
  return after.realServers.flatMap((server): [string, Counted][] => {
    const was = before.realServers.find(
      ({ address, port }) => address === server.address && port === server.port,
    );
    assert(was);
    const by = moved(was, server);
    return Object.values(by).some((count) => count !== 0) ? [[server.address, by]] : [];
  });
}

const scrapedNames: Readonly<Record<keyof Counted, string>> = {
  connections: 'skep_balancer_connections_total',
  packets: 'skep_balancer_packets_total',
  bytes: 'skep_balancer_bytes_total',
  replyPackets: 'skep_balancer_reply_packets_total',
  replyBytes: 'skep_balancer_reply_bytes_total',
};

/** Values of one frontend as Prometheus gets them; NaN for one that has no series. */
async function scraped(world: World, node: number, labels: string): Promise<Counted> {
  const lines = (await world.cluster.scrape(node)).split('\n');
  const valueOf = (name: string): number => {
    const begin = `${name}${labels} `;
    return Number(lines.find((line) => line.startsWith(begin))?.slice(begin.length) ?? NaN);
  };
  return Object.fromEntries(counted.map((name) => [name, valueOf(scrapedNames[name])])) as Counted;
}

/** What a scrape says of a frontend moves by what `send` gives. */
async function assertScraped(
  world: World,
  node: number,
  labels: string,
  send: () => Promise<Counted>,
): Promise<void> {
  const look = (): Promise<Counted> => scraped(world, node, labels);
  const before = await settled(world, look);
  const expected = await send();
  const deadline = Date.now() + settleMs;
  for (;;) {
    const after = await look();
    const found = Object.fromEntries(counted.map((name) => [name, after[name] - before[name]]));
    if (isDeepStrictEqual(found, expected)) return;
    if (Date.now() > deadline) assert.deepEqual(found, expected);
    await sleep(50);
  }
}

const webMark = publishedPortMark('tcp', ports.web);
const udpMark = publishedPortMark('udp', ports.udp);
const vipMarkOfWeb = vipMark({ subnet: '10.0.1.0/24' as Cidr, gateway: '10.0.1.1' as Ip }, vip);
const overlay = { kind: 'overlay', vni: mynetVni } as const;
const host = { kind: 'host' } as const;

export const counterChecks: readonly Check[] = [
  {
    name: 'counters of a published port: connections, packets and bytes, both ways, as they were sent',
    run: async (world) => {
      const look = (): Promise<VirtualServerCounters> => countersOf(world, 3, host, udpMark);
      const before = await settled(world, look);
      const target = { host: vtepOf(3), port: ports.udp, sourcePort: 40_000, size: 100 };
      const answers = (await world.client.askUdp(target, 5)).map(answered);
      const expected: Counted = {
        connections: 1,
        packets: 5,
        bytes: 5 * (100 + udpHeaderBytes),
        replyPackets: 5,
        replyBytes: answers.reduce((sum, { bytes }) => sum + bytes + udpHeaderBytes, 0),
      };
      const used = await assertMoved(look, before, expected);
      const flows = await (await world.cluster.kernel(3).table(host)).flows(100_000);
      const flow = flows.find(({ protocol, clientPort }) => protocol === 'udp' && clientPort === 40_000);
      assert(flow, 'the flow is listed');
      const { client, destination, destinationPort, realServer } = flow;
      assert.deepEqual(
        { client, destination, destinationPort, realServer },
        {
          client: clientAddress,
          destination: vtepOf(3),
          destinationPort: ports.udp,
          realServer: used,
        },
      );
    },
  },
  {
    name: 'counters of a VIP: what callers sent; replies go straight back and are not seen',
    run: async (world) => {
      const look = (): Promise<VirtualServerCounters> => countersOf(world, 1, overlay, vipMarkOfWeb);
      const before = await settled(world, look);
      const target = {
        host: vip,
        port: targetPorts.udp,
        source: mynetAddress(5),
        sourcePort: 40_001,
        size: 200,
      };
      (await world.caller.askUdp(target, 4)).forEach(answered);
      const expected: Counted = {
        connections: 1,
        packets: 4,
        bytes: 4 * (200 + udpHeaderBytes),
        replyPackets: 0,
        replyBytes: 0,
      };
      await assertMoved(look, before, expected);
    },
  },
  {
    name: 'what a scrape says of a published port and of a VIP is what was sent',
    run: async (world) => {
      const port = { host: vtepOf(3), port: ports.udp, sourcePort: 40_002, size: 120 };
      const ofPort = `{service="web",network="ingress",frontend="udp/${ports.udp}"}`;
      await assertScraped(world, 3, ofPort, async () => {
        const answers = (await world.client.askUdp(port, 6)).map(answered);
        return {
          connections: 1,
          packets: 6,
          bytes: 6 * (120 + udpHeaderBytes),
          replyPackets: 6,
          replyBytes: answers.reduce((sum, { bytes }) => sum + bytes + udpHeaderBytes, 0),
        };
      });
      const target = {
        host: vip,
        port: targetPorts.udp,
        source: mynetAddress(5),
        sourcePort: 40_003,
        size: 80,
      };
      await assertScraped(world, 1, `{service="web",network="mynet",frontend="${vip}"}`, async () => {
        (await world.caller.askUdp(target, 3)).forEach(answered);
        const bytes = 3 * (80 + udpHeaderBytes);
        // A VIP's replies have no series.
        return { connections: 1, packets: 3, bytes, replyPackets: NaN, replyBytes: NaN };
      });
    },
  },
  {
    name: 'connections that are open are counted as active, until they end',
    run: async (world) => {
      const look = (): Promise<VirtualServerCounters> => countersOf(world, 1, host, webMark);
      const before = await settled(world, look);
      const held = [];
      for (let i = 0; i < 6; i += 1)
        held.push(answered(await world.client.open({ host: vtepOf(1), port: ports.web })));
      for (const connection of held) answered(await connection.ask());
      assert.equal((await look()).activeFlows - before.activeFlows, 6);
      const connections = async (): Promise<number> =>
        Number((await look()).connections - before.connections);
      await until('six connections', async () => ((await connections()) === 6 ? true : undefined), settleMs);
      for (const connection of held) await connection.close();
      await until(
        'no more active flows than before',
        async () => ((await look()).activeFlows <= before.activeFlows ? true : undefined),
        settleMs,
      );
    },
  },
  {
    name: 'a packet that is refused for its size is counted with its reason',
    engines: ['ebpf'],
    run: async (world) => {
      const before = (await countersOf(world, 3, host, udpMark)).drops.oversize ?? 0n;
      // A namespace that has not learnt the path's MTU.
      await world.cluster.run('other', 'ip', 'route', 'flush', 'cache');
      answered(
        await world
          .peer('other')
          .icmpError({ host: vtepOf(3), port: ports.udp, size: 1_472, dontFragment: true }),
      );
      const after = (await countersOf(world, 3, host, udpMark)).drops.oversize ?? 0n;
      assert.equal(Number(after - before), 1);
    },
  },
];
