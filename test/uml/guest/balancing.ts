/**
 * In the guest: two nodes and a client as namespaces of one kernel, three tasks of `web` and one caller, programmed by a
 * reconciler per node. Calls everything there is to call and reports who answered and whom they saw.
 */
import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { createServer } from 'node:http';
import { promisify } from 'node:util';
import { pino } from 'pino';
import { LinuxKernel } from '../../../src/dataplane/kernel/linux-kernel.js';
import { native } from '../../../src/dataplane/native.js';
import { Reconciler } from '../../../src/dataplane/reconcile/reconciler.js';
import { containerEndName } from '../../../src/dataplane/sandbox.js';
import { systemClock } from '../../../src/runtime/clock.js';
import type { ClusterOf } from '../../unit/dataplane/plan/network-state.js';
import {
  ingressAddress,
  ingressId,
  mynetAddress,
  mynetId,
  sandboxOf,
  stateOf,
} from '../../unit/dataplane/plan/network-state.js';

const exec = promisify(execFile);
const run = async (command: string): Promise<string> => {
  const [file = '', ...args] = command.split(' ');
  return (await exec(file, args)).stdout;
};
const report = (name: string, data: object): void => console.log(JSON.stringify({ name, ...data }));

const cluster: ClusterOf = {
  ingress: true,
  ports: { 8080: 80 },
  tasks: [
    { part: 3, node: 1 },
    { part: 4, node: 2 },
    { part: 6, node: 2 },
    { part: 5, node: 1, service: 'caller' },
  ],
};
const tasks = cluster.tasks ?? [];
const pathOf = (part: number): string => `/run/netns/c${part}`;
const legsOf = ({ part, service }: { part: number; service?: string }) => [
  ...(service === 'caller' ? [] : [sandboxOf(ingressId, part, pathOf(part))]),
  sandboxOf(mynetId, part, pathOf(part)),
];

await run('ip link add underlay type bridge');
await run('ip link set underlay up');
for (const node of [1, 2, 3]) {
  await run(`ip netns add node${node}`);
  await run(`ip link add u${node} type veth peer name eth0 netns node${node}`);
  await run(`ip link set u${node} master underlay up`);
  await run(`ip -n node${node} addr add 192.168.50.${node}/24 dev eth0`);
  await run(`ip -n node${node} link set eth0 up`);
  await run(`ip -n node${node} link set lo up`);
  await mkdir(`/run/overlays${node}`);
}
// As Docker leaves it: whatever is not accepted is dropped.
for (const node of [1, 2]) {
  await run(`nsenter --net=/run/netns/node${node} iptables -P FORWARD DROP`);
  // Somebody's own firewall on one of them; the other refuses by its own TCP what nobody listens to.
  if (node === 2) await run(`nsenter --net=/run/netns/node${node} iptables -P INPUT DROP`);
  for (const accepted of ['-p udp --dport 4789', '-p tcp --sport 8080'])
    await run(`nsenter --net=/run/netns/node${node} iptables -A INPUT ${accepted} -j ACCEPT`);
}

const log = pino({ level: process.env['SKEP_LOG'] ?? 'warn' });
const nodes = [1, 2].map((node) => {
  const kernel = new LinuxKernel({
    hostNetns: `/run/netns/node${node}`,
    netnsDirectory: `/run/overlays${node}`,
  });
  return { node, reconciler: new Reconciler({ kernel, clock: systemClock, log }) };
});
async function program(now: ClusterOf | null): Promise<void> {
  for (const { node, reconciler } of nodes) {
    const sandboxes = tasks.filter((task) => task.node === node).flatMap(legsOf);
    reconciler.setDesired(
      now === null ? { state: null, sandboxes: [] } : { state: stateOf(node, now), sandboxes },
    );
    await reconciler.pass();
    const { lastError } = reconciler.status();
    if (lastError !== '') throw new Error(`node${node}: ${lastError}`);
  }
}

let startMs = Date.now();
await program(cluster);
report('programmed', { ms: Date.now() - startMs });
for (const { part, node, service } of tasks) {
  const name = `c${part}`;
  await run(`ip netns add ${name}`);
  await run(`ip -n ${name} link set lo up`);
  const legs = legsOf({ part, ...(service ? { service } : {}) });
  for (const [index, leg] of legs.entries()) {
    const ends = containerEndName(leg.endpointId);
    await run(`ip -n node${node} link set ${ends} netns ${name} name eth${index}`);
    const address = leg.overlayId === ingressId ? ingressAddress(part) : mynetAddress(part);
    await run(`ip -n ${name} addr add ${address}/24 dev eth${index}`);
    await run(`ip -n ${name} link set eth${index} up`);
  }
}
startMs = Date.now();
for (const { reconciler } of nodes) {
  reconciler.poke();
  await reconciler.pass();
  report('sandboxes', { ms: Date.now() - startMs, status: reconciler.status() });
}
for (const { part, service } of tasks) {
  if (service === 'caller') continue;
  const server = createServer((request, response) => {
    response.end(`web${part} ${request.socket.remoteAddress} ${request.socket.localAddress}\n`);
  });
  const fd = native().bindInNetns(pathOf(part), 'tcp', '0.0.0.0', 80);
  await new Promise<void>((resolve) => server.listen({ fd }, resolve));
}

/** New connections from inside a namespace: how often each task answered, the callers they saw, how many failed. */
async function call(from: string, url: string, times: number): Promise<void> {
  const args = ['-s', '-m', '4', '-H', 'Connection: close', `${url}/?[1-${times}]`];
  const { stdout } = await exec('nsenter', [`--net=/run/netns/${from}`, 'curl', ...args]).catch(
    (err: unknown) => err as { stdout: string },
  );
  const answers = stdout.trim().split('\n').filter(Boolean);
  const count: Record<string, number> = {};
  for (const answer of answers) {
    const task = answer.split(' ')[0] ?? '';
    count[task] = (count[task] ?? 0) + 1;
  }
  const callers = [...new Set(answers.map((answer) => answer.split(' ')[1]))];
  report(`${from} -> ${url}`, { count, callers, failed: times - answers.length });
}
async function verify(when: string): Promise<void> {
  for (const { node, reconciler } of nodes)
    report(`verify ${when}, node${node}`, { differences: await reconciler.verify() });
}

await verify('programmed');
await call('c5', 'http://10.0.1.4', 3);
await call('node3', 'http://192.168.50.1:8080', 90);
await call('node3', 'http://192.168.50.2:8080', 90);
await call('c5', 'http://10.0.1.2', 90);
await call('c3', 'http://10.0.1.2', 90);
await call('node1', 'http://192.168.50.1:8080', 90);
await call('node1', 'http://192.168.50.2:8080', 90);

const draining = tasks.map((task) => ({ ...task, serving: task.part !== 4 }));
startMs = Date.now();
await program({ ...cluster, revision: 2, tasks: draining });
report('drained', { ms: Date.now() - startMs });
await call('node3', 'http://192.168.50.1:8080', 20);
await call('c3', 'http://10.0.1.2', 20);
await verify('draining');

await program({ ...cluster, revision: 3, tasks: tasks.map((task) => ({ ...task, serving: false })) });
startMs = Date.now();
await call('node3', 'http://192.168.50.1:8080', 1);
await call('c5', 'http://10.0.1.2', 1);
report('refused', { ms: Date.now() - startMs });

await program(null);
await verify('left');
for (const { node } of nodes) {
  const inNode = (command: string): Promise<string> => run(`nsenter --net=/run/netns/node${node} ${command}`);
  const dumps = [
    'ipvsadm -S -n',
    'ipset save',
    'iptables-save',
    'ip route show table all',
    'ip rule',
    'ip link',
  ];
  const text = (await Promise.all(dumps.map(inNode))).join('\n');
  report(`left, node${node}`, { found: text.match(/SKEP-\S*|skep-\S*|sk-\S*|proto 94|-f \d+/g) ?? [] });
}
process.exit(0);
