/**
 * UDP through the mesh as a container sees it: a namespace with a leg on ingress, and another one with the default route that
 * leads elsewhere. The client's datagrams come by the aliases of two nodes, as a balancer of either kind sends them;
 * the container's own node forwards what belongs to the other one by the source's alias. Packets decide.
 */
import assert from 'node:assert';
import { createSocket } from 'node:dgram';
import type { RemoteInfo, Socket } from 'node:dgram';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LinuxKernel } from '../../src/dataplane/kernel/linux-kernel.js';
import { native } from '../../src/runtime/native.js';
import { opLine } from '../../src/dataplane/plan/diff.js';
import type { ScopePlan } from '../../src/dataplane/plan/node.js';
import { planOps, planSandboxScope } from '../../src/dataplane/plan/node.js';
import type { NodeNetworkState } from '../../src/dataplane/state.js';
import { aliasAddress, nodeAliasCidr } from '../../src/dataplane/state.js';
import type { Ip } from '../../src/model/addresses.js';
import { TestNetns } from '../support/netns.js';
import {
  ingressAddress,
  ingressId,
  ingressMac,
  ownPart,
  sandboxOf,
  stateOf,
} from '../unit/dataplane/plan/network-state.js';

const taskPart = 5;
const client = '192.0.2.200' as Ip;
const wayOut = '172.18.0.3';
const base = stateOf(1, { ingress: true, mynet: false, tasks: [{ part: taskPart, node: 1 }] });
const state: NodeNetworkState = {
  ...base,
  publishedPorts: [{ serviceId: 'web' as never, protocol: 'udp', publishedPort: 9053, targetPort: 53 }],
};
const [ingress] = state.overlays;
assert(ingress);
/** The task's alias for a node. */
const alias = (node: number): Ip =>
  aliasAddress(state.aliasRange, ingress.subnet, ingressAddress(ownPart(node)), ingressAddress(taskPart));

let netns: Record<'container' | 'ingress' | 'bridge' | 'node1' | 'node2' | 'client', TestNetns>;
const kernel = new LinuxKernel();
const sockets = new Set<Socket>();

beforeAll(async () => {
  netns = {
    container: TestNetns.create(),
    ingress: TestNetns.create(),
    bridge: TestNetns.create(),
    node1: TestNetns.create(),
    node2: TestNetns.create(),
    client: TestNetns.create(),
  };
  for (const each of Object.values(netns)) {
    await each.ip('link set lo up');
    await each.run('sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv4.conf.all.rp_filter=0');
    await each.run('sysctl', '-qw', 'net.ipv4.conf.default.rp_filter=0');
  }
  // The way out first, as with the engine's own bridge.
  await netns.bridge.ip(`link add name engine0 type veth peer name eth0 netns ${netns.container.name}`);
  await netns.bridge.ip('addr add 172.18.0.1/16 dev engine0');
  await netns.bridge.ip('link set engine0 up');
  await netns.container.ip(`addr add ${wayOut}/16 dev eth0`);
  await netns.container.ip('link set eth0 up');
  await netns.container.ip('route add default via 172.18.0.1');
  await netns.ingress.ip('link add br0 type bridge');
  await netns.ingress.ip('link set br0 up');
  await netns.ingress.ip(`addr add ${ingress.gateway}/24 dev br0`);
  const join = async (to: TestNetns, port: string, device: string, part: number): Promise<void> => {
    const pair = `type veth peer name ${device} address ${ingressMac(part)} netns ${to.name}`;
    await netns.ingress.ip(`link add name ${port} ${pair}`);
    await netns.ingress.ip(`link set ${port} master br0 up`);
    await to.ip(`addr add ${ingressAddress(part)}/24 dev ${device}`);
    await to.ip(`link set ${device} up`);
  };
  await join(netns.container, 'c', 'eth1', taskPart);
  await netns.client.ip(`addr add ${client}/32 dev lo`);
  for (const node of [1, 2] as const) {
    const host = netns[`node${node}`];
    await join(host, `n${node}`, 'sk-ingress', ownPart(node));
    await host.ip(`link add uplink type veth peer name to${node} netns ${netns.client.name}`);
    await host.ip(`addr add 192.0.2.${16 * node + 1}/28 dev uplink`);
    await host.ip('link set uplink up');
    await netns.client.ip(`addr add 192.0.2.${16 * node + 2}/28 dev to${node}`);
    await netns.client.ip(`link set to${node} up`);
    await netns.client.ip(`route add ${alias(node)}/32 via 192.0.2.${16 * node + 1} src ${client}`);
    await host.ip(`route add ${client}/32 via 192.0.2.${16 * node + 2}`);
    await host.ip(`route add ${alias(node)}/32 via ${ingressAddress(taskPart)} dev sk-ingress onlink`);
  }
  const others = nodeAliasCidr(state.aliasRange, ingress.subnet, ingressAddress(ownPart(2)));
  await netns.ingress.ip(`rule add from ${others} lookup 200`);
  await netns.ingress.ip(`route add default via ${ingressAddress(ownPart(2))} dev br0 table 200`);
});
afterAll(async () => {
  for (const socket of sockets) socket.close();
  kernel[Symbol.dispose]();
  for (const each of Object.values(netns)) await each[Symbol.asyncDispose]();
});

const scope = (): { kind: 'sandbox'; path: string } => ({ kind: 'sandbox', path: netns.container.path });
/** As a pass does it: the plan depends on what is found. */
async function plan(
  now: NodeNetworkState,
): Promise<{ plan: ScopePlan; ops: string[]; apply: () => Promise<void> }> {
  const endpoints = [sandboxOf(ingressId, taskPart, netns.container.path)];
  const { objects } = await kernel.observe(scope(), [], true, null);
  const planned = planSandboxScope(now, netns.container.path, endpoints, objects, 1500);
  const sysctls = planned.objects.flatMap((object) => (object.kind === 'sysctl' ? [object.path] : []));
  const found = await kernel.observe(scope(), sysctls, true, []);
  expect(found.balancingUnavailable).toBeNull();
  const ops = planOps(planned, found.objects);
  return { plan: planned, ops: ops.map(opLine), apply: () => kernel.apply(scope(), ops) };
}

async function open(where: TestNetns, address: string, port: number): Promise<Socket> {
  const socket = createSocket('udp4');
  sockets.add(socket);
  const fd = native().bindInNetns(where.path, 'udp', address, port);
  await new Promise<void>((resolve) => socket.bind({ fd }, resolve));
  return socket;
}

/** What comes back for `text`, and from where; null after two seconds of nothing. */
function answer(socket: Socket, to: Ip, text: string): Promise<{ said: string; from: RemoteInfo } | null> {
  return new Promise((resolve) => {
    const over = setTimeout(() => {
      socket.off('message', heard);
      resolve(null);
    }, 2_000);
    const heard = (message: Buffer, from: RemoteInfo): void => {
      clearTimeout(over);
      resolve({ said: message.toString(), from });
    };
    socket.once('message', heard);
    socket.send(text, 53, to);
  });
}
const close = (socket: Socket): void => {
  sockets.delete(socket);
  socket.close();
};

describe('a server on 0.0.0.0 in a container with a default route elsewhere', () => {
  beforeAll(async () => {
    const server = await open(netns.container, '0.0.0.0', 53);
    // Who asked; and as many more bytes as the request says.
    server.on('message', (message, { address, port }) => {
      server.send(`${address}:${port}${'.'.repeat(Number(message))}`, port, address);
    });
  });

  test('is not heard without help', async () => {
    const asTcpOnly = await plan({ ...state, publishedPorts: [] });
    await asTcpOnly.apply();
    const socket = await open(netns.client, client, 6000);
    expect(await answer(socket, alias(1), '0')).toBeNull();
    close(socket);
  });

  test('is programmed once, seen by a fresh look too, and keeps what is not ours', async () => {
    await netns.container.run('iptables', '-t', 'nat', '-A', 'OUTPUT', '-d', '127.0.0.11', '-j', 'ACCEPT');
    const first = await plan(state);
    expect(first.plan.objects).toContainEqual(expect.objectContaining({ kind: 'jump', table: 'nat' }));
    await first.apply();
    expect((await plan(state)).ops).toEqual([]);
    kernel.forget(scope());
    expect((await plan(state)).ops).toEqual([]);
    expect(await netns.container.run('iptables-save', '-t', 'nat')).toContain(
      '-A OUTPUT -d 127.0.0.11/32 -j ACCEPT',
    );
  });

  test('1,000 flows through either node see the true client and are answered by the alias they called', async () => {
    const ask = async (node: number, port: number): Promise<string> => {
      const socket = await open(netns.client, client, port);
      const reply = await answer(socket, alias(node), '0');
      close(socket);
      return `${reply?.said} from ${reply?.from.address}:${reply?.from.port}`;
    };
    for (const node of [1, 2])
      for (let first = 20_000; first < 20_500; first += 50) {
        const ports = Array.from({ length: 50 }, (_, index) => first + 1000 * node + index);
        expect(await Promise.all(ports.map((port) => ask(node, port)))).toEqual(
          ports.map((port) => `${client}:${port} from ${alias(node)}:53`),
        );
      }
  });

  test('one client port through both nodes keeps both flows', async () => {
    const socket = await open(netns.client, client, 7000);
    const heard: string[] = [];
    for (const node of [1, 2, 1, 2]) {
      const reply = await answer(socket, alias(node), '0');
      heard.push(`${reply?.said.split(':')[0]} ${reply?.from.address}`);
    }
    expect(heard).toEqual([1, 2, 1, 2].map((node) => `${client} ${alias(node)}`));
    close(socket);
  });

  test.each([1_400, 1_460, 4_000, 30_000])('an answer of %i bytes arrives whole', async (bytes) => {
    const socket = await open(netns.client, client, 7100);
    const reply = await answer(socket, alias(2), String(bytes));
    expect(reply?.said.length).toBe(`${client}:7100`.length + bytes);
    close(socket);
  });

  test('a client on the subnet of ingress is answered, too: the node itself calls from there', async () => {
    const address = ingressAddress(ownPart(1));
    const socket = await open(netns.node1, address, 7200);
    expect((await answer(socket, alias(1), '0'))?.said).toBe(`${address}:7200`);
    close(socket);
  });

  test('calls of its own leave by the way out, under the address there', async () => {
    const stranger = await open(netns.bridge, '172.18.0.1', 7300);
    const heard = new Promise<RemoteInfo>((resolve) => stranger.once('message', (_, from) => resolve(from)));
    const own = await open(netns.container, '0.0.0.0', 7301);
    own.send('hello', 7300, '172.18.0.1');
    expect((await heard).address).toBe(wayOut);
    close(stranger);
    close(own);
  });

  test('a closed port is refused under the alias that was called', async () => {
    const socket = await open(netns.client, client, 7400);
    const refused = new Promise<string>((resolve) => {
      socket.once('error', (err: NodeJS.ErrnoException) => resolve(err.code ?? ''));
    });
    await new Promise<void>((resolve) => socket.connect(54, alias(2), resolve));
    // The first send is answered by ICMP, which the socket hears of at the next call.
    const again = setInterval(() => socket.send('x'), 50);
    expect(await refused).toBe('ECONNREFUSED');
    clearInterval(again);
    close(socket);
  });
});
