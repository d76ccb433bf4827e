/**
 * Three nodes that ask each other, each with a prober of its own over its kernel: a link that is cut takes a node out of the others'
 * balancing within a second and a half, and back when it is mended; what becomes of its daemon does neither.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { pino } from 'pino';
import { native } from '../../src/runtime/native.js';
import { Prober } from '../../src/dataplane/liveness/prober.js';
import { Verdicts } from '../../src/dataplane/liveness/verdicts.js';
import { EbpfEngine } from '../../src/dataplane/balancer/ebpf.js';
import { openPinnedTables, removeAllPins } from '../../src/dataplane/balancer/pinned-tables.js';
import type { NodeId } from '../../src/model/ids.js';
import { systemClock } from '../../src/runtime/clock.js';
import { MeshCluster } from '../support/mesh-cluster.js';
import type { TaskOf } from '../unit/dataplane/plan/network-state.js';
import { nodeIdOf, stateOf } from '../unit/dataplane/plan/network-state.js';

const nodes = [1, 2, 3] as const;
const name = `lv${process.pid % 10_000}`;
const pins = (node: number): string => `/sys/fs/bpf/${name}-${node}`;
const tasks: readonly TaskOf[] = nodes.map((node) => ({ part: 2 + node, node }));
const log = pino({ level: process.env['SKEP_LOG'] ?? 'silent' });

let cluster: MeshCluster;
const probers = new Map<number, { prober: Prober; stop: () => Promise<void>; known: NodeId[] }>();

/** A node's prober, as its daemon starts one; what an earlier one has kept it knows. */
function start(node: number, heardBefore: readonly NodeId[] = []): void {
  const known = [...heardBefore];
  const stopped = new AbortController();
  const prober = new Prober({
    log: log.child({ node }),
    clock: systemClock,
    verdicts: new Verdicts(heardBefore),
    save: async (heard) => void known.splice(0, known.length, ...heard),
    netnsPath: (vni) => cluster.overlayPath(node, vni),
    hostNetns: cluster.path(`node${node}`),
  });
  prober.onChange(() => void cluster.setSilent(node, prober.silent));
  prober.setNetwork(state(node));
  const running = prober.run(stopped.signal);
  const stop = async (): Promise<void> => {
    stopped.abort();
    await running;
    prober[Symbol.dispose]();
    probers.delete(node);
  };
  probers.set(node, { prober, stop, known });
}

const state = (node: number) => stateOf(node, { nodes, tasks, ingress: true, ports: { 8080: 80 } });
const proberOf = (node: number) => probers.get(node) ?? expect.fail(`node${node} asks nobody`);

/** Nodes to whose tasks a node sends new flows, in both of its frontends alike. */
async function balancedTo(node: number): Promise<readonly number[]> {
  const found = await Promise.all(
    [{ kind: 'host' } as const, { kind: 'overlay', vni: 4097 as never } as const].map(async (scope) =>
      (await (await cluster.kernel(node).table(scope)).observe(false)).flatMap((object) =>
        object.kind === 'realServer' && object.weight > 0 ? [Number(object.address.split('.')[3]) - 2] : [],
      ),
    ),
  );
  expect(found[1]).toEqual(found[0]);
  return (found[0] ?? []).sort();
}

/** How many ms passed until the nodes balanced to those. */
async function msUntil(
  on: readonly number[],
  expected: readonly number[],
  withinMs: number,
): Promise<number> {
  const startMs = performance.now();
  for (;;) {
    const all = await Promise.all(on.map(balancedTo));
    const tookMs = Math.round(performance.now() - startMs);
    if (all.every((found) => found.join() === expected.join())) return tookMs;
    if (tookMs > withinMs)
      throw new Error(`after ${tookMs} ms nodes ${on.join()} balance to ${JSON.stringify(all)}`);
    await systemClock.sleep(10);
  }
}

/** After a cut the underlay may have to find out anew who has a VTEP's address: it asks once a second. */
const backMsMax = 2_000;
/** At the switch: a device that goes down and up again is waited for by the kernel, for up to a second. */
const cut = (node: number) =>
  cluster.run('underlay', 'bridge', 'link', 'set', 'dev', `node${node}`, 'state', '0');
const mend = (node: number) =>
  cluster.run('underlay', 'bridge', 'link', 'set', 'dev', `node${node}`, 'state', '3');
const heardAll = async (node: number): Promise<void> => {
  const deadlineMs = performance.now() + 3_000;
  while (proberOf(node).known.length < nodes.length - 1) {
    if (performance.now() > deadlineMs)
      throw new Error(`node${node} has heard ${proberOf(node).known.join()}`);
    await systemClock.sleep(20);
  }
};

beforeAll(async () => {
  cluster = await MeshCluster.create({
    name,
    nodes,
    containers: [],
    outsiders: {},
    bare: true,
    openEngine: (node) => new EbpfEngine(() => openPinnedTables(pins(node))),
  });
  // Firewalls that let nothing in but the tunnel.
  for (const node of nodes) {
    await cluster.run(
      `node${node}`,
      'iptables',
      '-A',
      'INPUT',
      '-p',
      'udp',
      '--dport',
      '4789',
      '-j',
      'ACCEPT',
    );
    await cluster.run(`node${node}`, 'iptables', '-P', 'INPUT', 'DROP');
    await cluster.run(`node${node}`, 'sysctl', '-qw', 'net.ipv4.icmp_echo_ignore_all=1');
  }
  await cluster.program(state);
  for (const node of nodes) start(node);
  for (const node of nodes) await heardAll(node);
});

afterAll(async () => {
  for (const { stop } of probers.values()) await stop();
  await cluster[Symbol.asyncDispose]();
  for (const node of nodes) removeAllPins(pins(node));
});

test('everybody is heard, whatever the firewalls: all balance to all', async () => {
  for (const node of nodes) expect(await balancedTo(node)).toEqual([1, 2, 3]);
});

test('a link that is cut and mended: out within 1.5 s, and back', async () => {
  await cut(2);
  await msUntil([1, 3], [1, 3], 1_500);
  // Whoever is cut off serves those on it with what it has.
  await msUntil([2], [2], 1_500);
  expect(await cluster.verify()).toEqual([]);
  await mend(2);
  await msUntil([1, 2, 3], [1, 2, 3], backMsMax);
});

test('whose daemon is killed stays in, and is judged by the next one from what the first has kept', async () => {
  const { known, stop } = proberOf(2);
  await stop();
  await cluster.kill(2);
  await systemClock.sleep(1_500);
  for (const node of [1, 3]) expect(await balancedTo(node)).toEqual([1, 2, 3]);
  await cut(3);
  await msUntil([1], [1, 2], 1_500);
  await cluster.restart(2);
  start(2, known);
  await msUntil([2], [1, 2], 2_000);
  await mend(3);
  await msUntil([1, 2, 3], [1, 2, 3], backMsMax);
});

test('who has never answered is not silent: nothing is known of it', async () => {
  await proberOf(1).stop();
  await cluster.setSilent(1, new Set());
  await cut(3);
  start(1);
  await msUntil([2], [1, 2], 1_500);
  expect(await balancedTo(1)).toEqual([1, 2, 3]);
  await mend(3);
  await heardAll(1);
});

test('a namespace that is lost and made again is asked through as before', async () => {
  native().deleteNetns(cluster.overlayPath(1, 4096));
  await cluster.pass(1);
  await proberOf(1).prober.retry();
  await cut(2);
  await msUntil([1, 3], [1, 3], 1_500);
  expect([...proberOf(1).prober.silent]).toEqual([nodeIdOf(2)]);
  await mend(2);
  await msUntil([1, 2, 3], [1, 2, 3], backMsMax);
});
