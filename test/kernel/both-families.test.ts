/**
 * An IPv6 network on this kernel, programmed with all that the `ipvs` engine plans but IPVS itself, which this machine's kernel has not
 * got (test/uml/both-families.test.ts has): links, routes, rules, neighbours, chains and sets. Proves that the kernel takes and
 * shows them as they are planned, and on packets that the tunnel and the mesh's way there and back work.
 */
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { BalancerPlan } from '../../src/dataplane/plan/balancing.js';
import { ipvsPlan } from '../../src/dataplane/plan/ipvs.js';
import type { Desired } from '../../src/dataplane/plan/node.js';
import type { KernelObject } from '../../src/dataplane/plan/objects.js';
import { isBalancerSysctl } from '../../src/dataplane/plan/objects.js';
import { aliasAddress } from '../../src/dataplane/state.js';
import { Ipv6Cluster, nodes, twinOf } from '../support/ipv6-cluster.js';
import { withoutTables } from '../support/no-balancer.js';
import { ingressAddress, mynetAddress, ownPart } from '../unit/dataplane/plan/network-state.js';

const isIpvs = (object: KernelObject): boolean =>
  ['virtualServer', 'realServer', 'ipvsTimeouts'].includes(object.kind) ||
  (object.kind === 'sysctl' && isBalancerSysctl(object.path));
const withoutIpvs = (objects: readonly KernelObject[]): readonly KernelObject[] =>
  objects.filter((object) => !isIpvs(object));
const plan: BalancerPlan = {
  ...ipvsPlan,
  planOverlay: (...given) => withoutIpvs(ipvsPlan.planOverlay(...given)),
  planHost: (...given) => withoutIpvs(ipvsPlan.planHost(...given)),
};
const engine = withoutTables(plan);

let cluster: Ipv6Cluster;
/** nf_tables lets go of sets some moments after the rules that name them are gone: until then they cannot be removed. */
const left = (node: number, want: Desired): Promise<void> =>
  expect.poll(() => cluster.freshPass(node, want), { timeout: 5000 }).toBe('');
beforeAll(async () => {
  // Limited, so that there are sets of networks and ports, too.
  cluster = await Ipv6Cluster.create(`sk6${process.pid}`, engine, { interfaces: ['eth0', 'lo'] });
});
afterAll(() => cluster[Symbol.asyncDispose]());

test('connects containers over a tunnel of IPv6 in IPv6, with full packets', async () => {
  await cluster.start();
  // 1430 less the headers of IPv6 and ICMP.
  await cluster.run('c3', 'busybox', 'ping6', '-c1', '-W2', '-s', '1382', twinOf(mynetAddress(4)));
});

test('the kernel holds what is planned, seen by a fresh reconciler too', async () => {
  for (const node of nodes) {
    expect(await cluster.differences(node)).toEqual([]);
    expect(await cluster.freshPass(node, cluster.desired(node))).toBe('');
    expect(await cluster.differences(node)).toEqual([]);
  }
});

test('an alias leads to the task on the other node, and its answer back to the node that it names', async () => {
  await cluster.serve(4);
  const { aliasRange, overlays } = cluster.desired(1).state;
  const ingress = overlays.find((overlay) => overlay.ingress) ?? expect.fail();
  const alias = aliasAddress(aliasRange, ingress.subnet, ingress.own.address, twinOf(ingressAddress(4)));
  const caller = twinOf(ingressAddress(ownPart(1)));
  expect(await cluster.call('node1', alias, 80, 3)).toEqual({ [`web4 ${caller}`]: 3 });
});

test('what is taken away is put back', async () => {
  await cluster.run('node1', 'ip6tables', '-F', 'SKEP-FORWARD');
  await cluster.run('node1', 'ipset', 'flush', 'skep-v6-if-eth0');
  await cluster.run('c3', 'ip', '-6', 'rule', 'del', 'pref', '7');
  const found = (await cluster.differences(1)).map((text) => text.replace(/^(\w+) ?[^:]*:/, '$1:'));
  // Two halves of all addresses and three protocols.
  const entries = found.filter((text) => text.startsWith('host: + ipset-entry skep-v6-if-eth0 '));
  expect(entries).toHaveLength(6);
  expect(found.filter((text) => !entries.includes(text)).sort()).toEqual([
    expect.stringMatching(/^host: ~ chain filter SKEP-FORWARD ipv6 /),
    expect.stringMatching(/^sandbox: \+ rule 7 ipv6 from fd53:/),
  ]);
  expect(await cluster.freshPass(1, cluster.desired(1))).toBe('');
  expect(await cluster.differences(1)).toEqual([]);
});

test('of a node that leaves its cluster nothing stays, and containers are as they were', async () => {
  await left(1, { state: null, sandboxes: cluster.legs(1) });
  const rules = await cluster.run('c3', 'ip', '-6', 'rule', 'list');
  expect(rules.trim().split('\n')).toEqual([
    expect.stringMatching(/^0:\s+from all lookup local/),
    expect.stringMatching(/^32766:\s+from all lookup main/),
  ]);
  expect(await cluster.run('c3', 'ip', '-6', 'addr', 'show', 'lo')).not.toContain(twinOf(mynetAddress(2)));
  expect(await cluster.run('node1', 'ip', '-6', 'route', 'show', 'table', 'all', 'proto', '94')).toBe('');
});

test('where no IPv6 is in the state, none of its programs is started', async () => {
  const directory = join(cluster.directory(1), 'programs');
  await mkdir(directory);
  for (const name of ['ip6tables', 'ip6tables-save', 'ip6tables-restore']) {
    await writeFile(join(directory, name), '#!/bin/sh\necho started >&2\nexit 1\n');
    await chmod(join(directory, name), 0o755);
  }
  const path = process.env['PATH'];
  process.env['PATH'] = `${directory}:${path}`;
  try {
    expect(await cluster.freshPass(2, cluster.desired(2))).toMatch(/ip6tables.*started/);
    const state = cluster.ipv4State(1);
    await cluster.run('node1', 'ip', 'addr', 'add', `${state.vtep}/24`, 'dev', 'eth0');
    expect(await cluster.freshPass(1, { state, sandboxes: [] })).toBe('');
    expect(await cluster.differences(1)).toEqual([]);
    await left(1, { state: null, sandboxes: [] });
  } finally {
    process.env['PATH'] = path;
  }
});
