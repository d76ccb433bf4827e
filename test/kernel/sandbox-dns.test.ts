/**
 * A container that was made before it knew of an overlay asks the servers that it was made with: a namespace with a leg on the
 * overlay and another with the default route, as `docker network connect` leaves it. Questions and answers decide.
 */
import assert from 'node:assert';
import { createSocket } from 'node:dgram';
import type { Socket } from 'node:dgram';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { LinuxKernel } from '../../src/dataplane/kernel/linux-kernel.js';
import { native } from '../../src/runtime/native.js';
import { opLine } from '../../src/dataplane/plan/diff.js';
import { planOps, planSandboxScope } from '../../src/dataplane/plan/node.js';
import type { NodeNetworkState } from '../../src/dataplane/state.js';
import type { Ip } from '../../src/model/addresses.js';
import { TestNetns } from '../support/netns.js';
import {
  mynetAddress,
  mynetId,
  mynetMac,
  ownPart,
  sandboxOf,
  stateOf,
} from '../unit/dataplane/plan/network-state.js';

const part = 5;
const nameserver = '192.0.2.53' as Ip;
const other = '192.0.2.54' as Ip;
const base = stateOf(1, { tasks: [{ part, node: 1 }], vips: {} });
const stateWith = (nameservers: readonly Ip[]): NodeNetworkState => {
  const [overlay] = base.overlays;
  assert(overlay);
  const endpoints = overlay.endpoints.map((endpoint) => ({
    ...endpoint,
    serviceId: '' as never,
    nameservers,
  }));
  return { ...base, overlays: [{ ...overlay, endpoints }] };
};

let container: TestNetns;
let node: TestNetns;
let world: TestNetns;
const kernel = new LinuxKernel();
const sockets: Socket[] = [];

beforeAll(async () => {
  [container, node, world] = [TestNetns.create(), TestNetns.create(), TestNetns.create()];
  for (const each of [container, node, world]) await each.ip('link set lo up');
  await world.ip(`link add name engine0 type veth peer name eth0 netns ${container.name}`);
  await world.ip('addr add 172.18.0.1/16 dev engine0');
  for (const address of [nameserver, other]) await world.ip(`addr add ${address}/32 dev lo`);
  await world.ip('link set engine0 up');
  await container.ip('addr add 172.18.0.3/16 dev eth0');
  await container.ip('link set eth0 up');
  await container.ip('route add default via 172.18.0.1');
  await node.ip(
    `link add name port type veth peer name eth1 address ${mynetMac(part)} netns ${container.name}`,
  );
  await node.ip(`addr add ${mynetAddress(ownPart(1))}/24 dev port`);
  await node.ip('link set port up');
  await container.ip(`addr add ${mynetAddress(part)}/24 dev eth1`);
  await container.ip('link set eth1 up');
  await serve(world, nameserver, 'the nameserver');
  await serve(world, other, 'another');
  await serve(node, mynetAddress(ownPart(1)), 'the overlay');
});
afterAll(async () => {
  for (const socket of sockets) socket.close();
  kernel[Symbol.dispose]();
  for (const each of [container, node, world]) await each[Symbol.asyncDispose]();
});

async function open(where: TestNetns, address: string, port: number): Promise<Socket> {
  const socket = createSocket('udp4');
  sockets.push(socket);
  const fd = native().bindInNetns(where.path, 'udp', address, port);
  await new Promise<void>((resolve) => socket.bind({ fd }, resolve));
  return socket;
}

/** Answers every question with who it is and who asked. */
async function serve(where: TestNetns, address: string, name: string): Promise<void> {
  const socket = await open(where, address, 53);
  socket.on('message', (_, from) => socket.send(`${name} heard ${from.address}`, from.port, from.address));
}

/** The answer to a question from the container, and the address it came from. */
async function ask(to: Ip): Promise<string> {
  const socket = await open(container, '0.0.0.0', 0);
  return new Promise((resolve) => {
    const over = setTimeout(() => resolve('nothing'), 2_000);
    socket.once('message', (message, from) => {
      clearTimeout(over);
      resolve(`${message.toString()}, from ${from.address}`);
    });
    socket.send('who?', 53, to);
  });
}

/** One look and what it leads to; gives the ops. */
async function program(state: NodeNetworkState, isPresent = true): Promise<string[]> {
  const scope = { kind: 'sandbox', path: container.path } as const;
  const endpoints = isPresent ? [sandboxOf(mynetId, part, container.path)] : [];
  const links = await kernel.observe(scope, [], true, null);
  const plan = planSandboxScope(state, container.path, endpoints, links.objects, 1550);
  const ops = planOps(plan, (await kernel.observe(scope, [], true, [])).objects);
  await kernel.apply(scope, ops);
  return ops.map(opLine);
}

test('the overlay’s DNS stands in for those servers, as long as the container has its leg, and for no others', async () => {
  expect(await program(stateWith([]))).toEqual([]);
  expect(await ask(nameserver)).toBe('the nameserver heard 172.18.0.3, from 192.0.2.53');

  expect(await program(stateWith([nameserver]))).not.toEqual([]);
  expect(await ask(nameserver)).toBe(`the overlay heard ${mynetAddress(part)}, from 192.0.2.53`);
  expect(await ask(other)).toBe('another heard 172.18.0.3, from 192.0.2.54');
  expect(await ask(mynetAddress(ownPart(1)))).toBe(
    `the overlay heard ${mynetAddress(part)}, from ${mynetAddress(ownPart(1))}`,
  );
  expect(await program(stateWith([nameserver])), 'a second look finds nothing to do').toEqual([]);

  expect(await program(stateWith([nameserver]), false)).not.toEqual([]);
  expect(await container.run('iptables-save', '-t', 'nat')).not.toContain('SKEP');
  expect(await ask(nameserver)).toBe('the nameserver heard 172.18.0.3, from 192.0.2.53');
});
