/**
 * Tasks come and go on two networks that have the same subnet and the same addresses, on two nodes joined by real VXLAN, and each
 * address that is freed is given to the next task at once: no quarantine, nodes that are told late, and containers that
 * still have the last holder's MAC in their ARP table. Nobody ever gets what was meant for another task; and what is
 * sent by who knows better arrives. Every datagram says whom it is for.
 */
import assert from 'node:assert';
import { closeSync } from 'node:fs';
import { createSocket } from 'node:dgram';
import type { Socket } from 'node:dgram';
import { execFile } from 'node:child_process';
import { mkdir, rm } from 'node:fs/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { pino } from 'pino';
import { macOf } from '../../src/controlplane/allocator/mac.js';
import { ipvsEngine } from '../../src/dataplane/balancer/ipvs.js';
import { LinuxKernel } from '../../src/dataplane/kernel/linux-kernel.js';
import { native } from '../../src/runtime/native.js';
import { RouteNetlink } from '../../src/dataplane/netlink/route.js';
import { Reconciler } from '../../src/dataplane/reconcile/reconciler.js';
import type { SandboxEndpoint } from '../../src/dataplane/sandbox.js';
import { containerEndName } from '../../src/dataplane/sandbox.js';
import type { NodeNetworkState, Overlay } from '../../src/dataplane/state.js';
import type { Cidr, Ip } from '../../src/model/addresses.js';
import type { NetworkId, NodeId, ServiceId, TaskId, Vni } from '../../src/model/ids.js';
import { defaultAliasRanges } from '../../src/model/network-laws.js';
import { systemClock } from '../../src/runtime/clock.js';
import { seededNumbers } from '../support/cluster-objects.js';

const run = promisify(execFile);
const ip = async (...args: string[]): Promise<string> => (await run('ip', args)).stdout;
const tag = `skr${process.pid}`;
const log = pino({ level: process.env['SKEP_LOG'] ?? 'silent' });
/** More make a soak of it. */
const rounds = Number(process.env['SKEP_ROUNDS'] ?? 50);
const seed = Number(process.env['SKEP_SEED'] ?? 7);

const nodes = [1, 2] as const;
const hostOf = (node: number): string => `${tag}n${node}`;
const underlay = `${tag}u`;
const directoryOf = (node: number): string => `/run/${tag}-${node}`;
const vteps: Readonly<Record<number, Ip>> = { 1: '192.168.50.1' as Ip, 2: '192.168.50.2' as Ip };
const networks = [
  { id: 'one' as NetworkId, vni: 4097 as Vni },
  { id: 'two' as NetworkId, vni: 4098 as Vni },
];
const subnet = '10.0.1.0/24' as Cidr;
const addresses = ['10.0.1.3', '10.0.1.4', '10.0.1.5', '10.0.1.6'] as Ip[];
const port = 7777;
/** Not VXLAN's own. */
const dataPathPort = 5789;
/** Nothing but these passes looks at anything. */
const quiet = { resyncMs: 3_600_000, freshMs: 3_600_000 };

interface Task {
  readonly id: TaskId;
  readonly network: (typeof networks)[number];
  readonly node: number;
  readonly address: Ip;
  readonly path: string;
  readonly socket: Socket;
}

/** What is right now, and what each node was told last. */
const live = new Map<TaskId, Task>();
const told = new Map<number, readonly Task[]>();
const reconcilers = new Map<number, { reconciler: Reconciler; kernel: LinuxKernel }>();
/** Whom a datagram reached that was meant for another, and those that arrived. */
const strays: string[] = [];
const arrived = new Set<string>();
let [made, sent, revision] = [0, 0, 0];

const macIn = (holder: string, { id }: Task['network']) => macOf(holder as TaskId, id);
const sandboxOf = (task: Task): SandboxEndpoint => ({
  endpointId: task.id.padEnd(64, '0'),
  overlayId: task.network.id,
  address: task.address,
  mac: macIn(task.id, task.network),
  sandboxKey: task.path,
});

function stateOf(self: number, tasks: readonly Task[]): NodeNetworkState {
  const own = (node: number, network: Task['network']) => ({
    address: `10.0.1.${250 + node}` as Ip,
    mac: macIn(`node${node}`, network),
  });
  return {
    revision: ++revision,
    nodeId: `node${self}` as NodeId,
    vtep: vteps[self] as Ip,
    dataPathPort,
    aliasRange: defaultAliasRanges[4],
    overlays: networks.map((network): Overlay => ({
      id: network.id,
      name: network.id,
      vni: network.vni,
      subnet,
      gateway: '10.0.1.1' as Ip,
      ingress: false,
      internal: false,
      encrypted: false,
      own: own(self, network),
      peers: nodes
        .filter((node) => node !== self)
        .map((node) => ({
          nodeId: `node${node}` as NodeId,
          vtep: vteps[node] as Ip,
          ...own(node, network),
          espEpoch: 0,
        })),
      endpoints: tasks
        .filter((task) => task.network === network)
        .map((task) => ({
          taskId: task.id,
          serviceId: '' as ServiceId,
          nodeId: `node${task.node}` as NodeId,
          address: task.address,
          mac: macIn(task.id, network),
          name: task.id,
          serving: true,
          aliases: [],
          nameservers: [],
          weight: 1,
        })),
      services: [],
      underlayMtuBytes: null,
    })),
    publishedPorts: [],
    encryptionKeys: [],
  };
}

/** One pass of the node, with what it is told of tasks and what its engine told it itself. */
async function tell(node: number, tasks: readonly Task[]): Promise<void> {
  const { reconciler } = reconcilers.get(node) ?? assert.fail();
  told.set(node, tasks);
  const sandboxes = [...live.values()].filter((task) => task.node === node).map(sandboxOf);
  reconciler.setDesired({ state: stateOf(node, tasks), sandboxes });
  reconciler.poke();
  await reconciler.pass();
  expect(reconciler.status().lastError).toBe('');
}

/** A task with a process that takes datagrams. Its node knows it at once, as its agent would not start it before. */
async function start(network: Task['network'], node: number, address: Ip): Promise<Task> {
  const id = `t${String(made++).padStart(8, '0')}` as TaskId;
  const container = `${tag}-${id}`;
  const path = `/run/netns/${container}`;
  native().createNetns(path);
  const socket = createSocket('udp4');
  const task: Task = { id, network, node, address, path, socket };
  live.set(id, task);
  await tell(node, [...(told.get(node) ?? []).filter((other) => !isAt(other, network, address)), task]);
  const end = containerEndName(id.padEnd(64, '0'));
  await moveIn(node, end, path, address);
  socket.on('message', (message) => {
    const [number = '', meant] = message.toString().split(' ');
    if (meant === id) arrived.add(number);
    else strays.push(`${message.toString()} at ${id} (${network.id} ${address})`);
  });
  socket.bind({ fd: native().bindInNetns(path, 'udp', '0.0.0.0', port) });
  return task;
}

/** What the engine does with a container's end of a pair. */
async function moveIn(node: number, end: string, path: string, address: Ip): Promise<void> {
  using host = new RouteNetlink(`/run/netns/${hostOf(node)}`);
  const netnsFd = native().openNetns(path);
  try {
    await host.links.change((await host.links.find(end))?.index ?? 0, { netnsFd, name: 'eth0' });
  } finally {
    closeSync(netnsFd);
  }
  using inside = new RouteNetlink(path);
  const index = (await inside.links.find('eth0'))?.index ?? 0;
  await inside.addresses.add({ index, address, prefixLength: 24 });
  await inside.links.change(index, { up: true });
}

/** As time does it: entries live shorter than a freed address rests. */
async function forget(task: Task, address: Ip): Promise<void> {
  using inside = new RouteNetlink(task.path);
  for (const entry of await inside.neighbours.list({ family: 4 }))
    if (entry.address === address) await inside.neighbours.remove({ index: entry.index, address });
}

const isAt = (task: Task, network: Task['network'], address: Ip): boolean =>
  task.network === network && task.address === address;

async function stop(task: Task): Promise<void> {
  live.delete(task.id);
  task.socket.close();
  native().deleteNetns(task.path);
}

/** From every task to every address of its network; whom it is meant for is what the task's node was told. Numbers of those sent. */
function sendAll(): Map<string, { from: Task; to: Task }> {
  const all = new Map<string, { from: Task; to: Task }>();
  for (const from of live.values())
    for (const to of told.get(from.node) ?? []) {
      if (to.network !== from.network || to.id === from.id) continue;
      const number = String(sent++);
      all.set(number, { from, to });
      from.socket.send(`${number} ${to.id}`, port, to.address, () => undefined);
    }
  return all;
}

async function until(holds: () => boolean, what: () => string): Promise<void> {
  const deadlineMs = Date.now() + 5_000;
  while (!holds()) {
    if (Date.now() > deadlineMs) throw new Error(`within 5 s: ${what()}`);
    await systemClock.sleep(5);
  }
}

beforeAll(async () => {
  await ip('netns', 'add', underlay);
  await ip('-n', underlay, 'link', 'add', 'bridge', 'type', 'bridge');
  await ip('-n', underlay, 'link', 'set', 'bridge', 'up');
  for (const node of nodes) {
    const host = hostOf(node);
    await ip('netns', 'add', host);
    await ip(
      '-n',
      host,
      'link',
      'add',
      'eth0',
      'type',
      'veth',
      'peer',
      'name',
      `u${node}`,
      'netns',
      underlay,
    );
    await ip('-n', underlay, 'link', 'set', `u${node}`, 'master', 'bridge', 'up');
    await ip('-n', host, 'addr', 'add', `${vteps[node]}/24`, 'dev', 'eth0');
    await ip('-n', host, 'link', 'set', 'eth0', 'up');
    await mkdir(directoryOf(node), { recursive: true });
    const kernel = new LinuxKernel({
      hostNetns: `/run/netns/${host}`,
      netnsDirectory: directoryOf(node),
      engine: ipvsEngine,
    });
    reconcilers.set(node, {
      kernel,
      reconciler: new Reconciler({ ...quiet, kernel, clock: systemClock, log }),
    });
  }
});

afterAll(async () => {
  for (const task of live.values()) await stop(task);
  for (const [node, { kernel, reconciler }] of reconcilers) {
    reconciler.setDesired({ state: null, sandboxes: [] });
    await reconciler.pass();
    kernel[Symbol.dispose]();
    await rm(directoryOf(node), { recursive: true, force: true });
  }
  for (const name of [hostOf(1), hostOf(2), underlay]) await ip('netns', 'del', name).catch(() => undefined);
});

test(`${rounds} rounds of tasks on addresses just freed (seed ${seed})`, async () => {
  const next = seededNumbers(seed);
  const pick = <T>(from: readonly T[]): T => from[Math.floor(next() * from.length)] ?? assert.fail();
  for (const network of networks)
    for (const [index, address] of addresses.slice(0, 3).entries())
      await start(network, nodes[index % 2] ?? 1, address);
  for (const node of nodes) await tell(node, [...live.values()]);

  for (let round = 0; round < rounds; round++) {
    // Everybody knows everything: what is sent arrives, and at none but whom it is for.
    const known = sendAll();
    await until(
      () => [...known.keys()].every((number) => arrived.has(number)),
      () =>
        [...known]
          .filter(([number]) => !arrived.has(number))
          .map(
            ([, { from, to }]) =>
              `round ${round}: ${from.id} (node ${from.node}) to ${to.id} (node ${to.node})`,
          )
          .join(', '),
    );
    expect(known.size).toBeGreaterThan(6);

    // One goes, and another one has its address at once, on either node. The other node knows nothing of it.
    const gone = pick([...live.values()]);
    await stop(gone);
    const node = pick(nodes);
    const come = await start(gone.network, node, gone.address);
    sendAll();
    // Then it goes by what the nodes know, but not what containers still have in their ARP tables.
    for (const each of nodes) await tell(each, [...live.values()]);
    sendAll();
    for (const task of live.values()) await forget(task, come.address);
  }
  expect(strays).toEqual([]);
  for (const node of nodes) expect(await reconcilers.get(node)?.reconciler.verify()).toEqual([]);
});

test('a frame for a task that is gone reaches no container, whoever listens', async () => {
  const [from, to, third] = [...live.values()].filter(({ network }) => network.id === 'one');
  assert(from && to && third);
  const received = async (task: Task): Promise<number> => {
    const command = [`--net=${task.path}`, 'ip', '-j', '-s', 'link', 'show', 'eth0'];
    const [link] = JSON.parse((await run('nsenter', command)).stdout) as [
      { stats64: { rx: { packets: number } } },
    ];
    return link.stats64.rx.packets;
  };
  using inside = new RouteNetlink(from.path);
  const gone = '10.0.1.77' as Ip;
  const index = (await inside.links.find('eth0'))?.index ?? 0;
  await inside.neighbours.replace({ index, address: gone, mac: macIn('gone', from.network) });
  const before = await Promise.all([to, third].map(received));
  for (let count = 0; count < 20; count++) from.socket.send('stray nobody', port, gone, () => undefined);
  // Sent behind them on the same way, so they are through when this is.
  const number = String(sent++);
  from.socket.send(`${number} ${to.id}`, port, to.address, () => undefined);
  await until(
    () => arrived.has(number),
    () => 'the last datagram did not arrive',
  );
  const after = await Promise.all([to, third].map(received));
  // One datagram, and the ARP that may go before it.
  expect((after[0] ?? 0) - (before[0] ?? 0)).toBeLessThanOrEqual(3);
  expect((after[1] ?? 0) - (before[1] ?? 0)).toBeLessThanOrEqual(2);
  expect(strays).toEqual([]);
});
