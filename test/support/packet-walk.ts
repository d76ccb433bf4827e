/**
 * The walk of a packet as the kernel of a programmed node has it: one of two nodes, as namespaces, a service with a task on
 * each, a container that calls it; then what is really there, station by station, in the words of the kernel's own tools. The text
 * between is docs/packet-walk.md's and is kept here, so that rules and explanation change together.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { BalancerEngine } from '../../src/dataplane/balancer/engine.js';
import { Forwarder } from '../../src/dataplane/dns/forwarder.js';
import { DnsServer } from '../../src/dataplane/dns/server.js';
import type { EngineName } from '../../src/dataplane/plan/balancing.js';
import { overlayNamespace } from '../../src/dataplane/plan/names.js';
import { line } from '../../src/dataplane/plan/objects.js';
import type { NodeNetworkState, PublishedPort } from '../../src/dataplane/state.js';
import { systemClock } from '../../src/runtime/clock.js';
import { createLog } from '../../src/runtime/log.js';
import { ingressVni, mynetVni, stateOf } from '../unit/dataplane/plan/network-state.js';
import type { ContainerOf } from './mesh-cluster.js';
import { MeshCluster } from './mesh-cluster.js';

const file = join(import.meta.dirname, '../../docs/packet-walk.md');
const nodes = [1, 2];
const containers: readonly ContainerOf[] = [
  { part: 3, node: 1, ingress: true },
  { part: 4, node: 2, ingress: true },
  { part: 5, node: 1, service: 'caller', ingress: false },
];
const port = (
  protocol: PublishedPort['protocol'],
  publishedPort: number,
  targetPort: number,
): PublishedPort => ({
  serviceId: 'web' as PublishedPort['serviceId'],
  protocol,
  publishedPort,
  targetPort,
});

/** Where a station is: a namespace of node 1, or of a container there. */
type Place = 'host' | 'ingress' | 'mynet' | 'task' | 'caller';

interface Station {
  readonly engines?: readonly EngineName[];
  readonly title?: string;
  readonly prose: string;
  readonly at: Place;
  /** A command line without a shell; `balancer`: what the engine's table holds. */
  readonly command: string;
  /** Lines that tell nothing of ours, or not the same each time, are left out. */
  readonly keep?: RegExp;
}

/** Of a port and what hangs on it, without numbers that are another's each time. */
const stations: readonly Station[] = [
  {
    title: 'A request from outside to a published port',
    prose:
      'A client calls node 1 at 192.168.50.1:8080. The service has a task on each node. Where the request is turned to a task differs with the engine; what it is turned to does not: the task’s _alias for this node_, an address of 240.0.0.0/4 whose upper part is the node and whose lower part is the task.',
    at: 'host',
    command: 'balancer',
  },
  {
    engines: ['ebpf'],
    prose:
      'A program on each device with an address takes the request before the host’s stack sees it, rewrites its destination and sends it on to `sk-ingress`.',
    at: 'host',
    command: 'tc filter show dev eth0 ingress',
    keep: /skep_/,
  },
  {
    engines: ['ebpf'],
    prose: 'The node’s own calls leave by `lo`, where a program of the same kind takes them.',
    at: 'host',
    command: 'tc filter show dev lo egress',
    keep: /skep_/,
  },
  {
    engines: ['ipvs'],
    prose:
      'One rule per protocol maps the port to a mark, for what arrives and for what the node itself sends; IPVS knows a virtual server by that mark. The other chain is for replies that IPVS has forgotten (docs/adr/0022-how-flows-end.md).',
    at: 'host',
    command: 'iptables-save -t mangle',
    keep: /SKEP/,
  },
  {
    engines: ['ipvs'],
    prose: 'The ports, and their marks:',
    at: 'host',
    command: 'ipset save',
    keep: /skep-/,
  },
  {
    engines: ['ipvs'],
    prose:
      'And the virtual servers as the kernel lists them, in hexadecimal: mark, then alias and target port of each task.',
    at: 'host',
    command: 'cat /proc/net/ip_vs',
    keep: /FWM|->/,
  },
  {
    prose:
      'Accepts ahead of the engine’s policy, and ahead of them the chain that belongs to the administrator:',
    at: 'host',
    command: 'iptables-save -t filter',
    keep: /SKEP/,
  },
  {
    prose:
      'Every alias of this node is a route to the task’s address on ingress, by the host’s end of the pair to ingress’s namespace…',
    at: 'host',
    command: 'ip route show proto 94',
  },
  {
    prose: '…and the MAC behind each is known, so that nobody asks.',
    at: 'host',
    command: 'ip neigh show dev sk-ingress nud permanent',
  },
  {
    title: 'Through the tunnel',
    prose:
      'In ingress’s namespace the pair, the VXLAN device and a port for each local task are on one bridge.',
    at: 'ingress',
    command: 'ip -br link',
    keep: /^(br0|vxlan0|host0|skp)/,
  },
  {
    prose:
      'The bridge sends the frame by its MAC to a local port or to the VXLAN device, and that to the node that has the MAC. Nothing is learned and nothing flooded.',
    at: 'ingress',
    command: 'bridge fdb show',
    keep: /static|dst /,
  },
  {
    title: 'In the task’s container',
    prose:
      'All aliases are local addresses of the container: its socket sees the client’s address, and answers from the alias. By that source the reply goes to its own node’s end of ingress, or, where another node was asked, to ingress’s gateway.',
    at: 'task',
    command: 'ip rule show',
  },
  { prose: 'The tables that these rules name:', at: 'task', command: 'ip route show table all proto 94' },
  {
    prose:
      'A server that answers UDP or SCTP from another address than it was asked on is helped by its connection’s mark.',
    at: 'task',
    command: 'iptables-save -t mangle',
    keep: /SKEP/,
  },
  {
    prose: 'The address that it will answer from:',
    at: 'task',
    command: 'iptables-save -t nat',
    keep: /SKEP-ALIAS/,
  },
  {
    title: 'The way back',
    engines: ['ipvs'],
    prose:
      'A reply for another node came to the gateway; in ingress’s namespace a rule and a table for each node send it on by the alias in its source. Of this node’s own only copies come by, of forgotten ones.',
    at: 'ingress',
    command: 'ip rule show',
  },
  {
    engines: ['ipvs'],
    prose: 'The tables of these rules:',
    at: 'ingress',
    command: 'ip route show table all proto 94',
  },
  {
    title: 'The way back',
    engines: ['ebpf'],
    prose:
      'A program on the task’s port of the bridge looks up the node that the alias names and sends the reply there.',
    at: 'ingress',
    command: 'tc filter show dev skpe000000003 ingress',
    keep: /skep_/,
  },
  {
    engines: ['ebpf'],
    prose:
      'On the node that was asked, a program on `sk-ingress` puts back the address that the client called.',
    at: 'host',
    command: 'tc filter show dev sk-ingress ingress',
    keep: /skep_/,
  },
  {
    title: 'From container to VIP',
    prose: 'The VIP 10.0.1.2 is an address of the overlay’s bridge on every node, which answers for it.',
    at: 'mynet',
    command: 'ip -br addr show dev br0',
  },
  {
    prose: 'Only the destination MAC is rewritten: what is balanced in the overlay’s namespace, and how.',
    at: 'mynet',
    command: 'balancer',
  },
  {
    engines: ['ebpf'],
    prose: 'By a program on the caller’s port:',
    at: 'mynet',
    command: 'tc filter show dev skpa000000005 ingress',
    keep: /skep_/,
  },
  {
    engines: ['ipvs'],
    prose: 'By a mark, as in the host:',
    at: 'mynet',
    command: 'iptables-save -t mangle',
    keep: /SKEP/,
  },
  {
    prose:
      'The task holds the VIP on its loopback and answers the caller directly. It calls its own service’s VIP like anybody: the rule for the local table stands behind one that sends such packets to the overlay first (above).',
    at: 'task',
    command: 'ip -br addr show dev lo',
  },
  { prose: 'Who is where:', at: 'mynet', command: 'bridge fdb show', keep: /static|dst / },
  { prose: 'And under which address:', at: 'mynet', command: 'ip neigh show nud permanent' },
  {
    title: 'Names',
    prose:
      'A container asks 127.0.0.11, as the engine told it. A rule ahead of the engine’s leads the question to a socket of skep-dataplane in the same namespace…',
    at: 'caller',
    command: 'iptables-save -t nat',
    keep: /SKEP/,
  },
  { prose: '…which is this one.', at: 'caller', command: 'ss -Hlnu', keep: /127\.0\.0\.94/ },
  { prose: 'Nobody may ask more than this:', at: 'caller', command: 'iptables-save -t raw', keep: /SKEP/ },
];

export interface PacketWalkOptions {
  readonly engine: EngineName;
  /** Begins the names of namespaces. */
  readonly name: string;
  readonly openEngine: (node: number) => BalancerEngine;
}

/** Programs the nodes and writes the engine's part of the document. */
export async function describePacketWalk({ engine, name, openEngine }: PacketWalkOptions): Promise<string> {
  await using cluster = await MeshCluster.create({
    name,
    nodes: [1],
    containers: containers.filter(({ node }) => node === 1),
    outsiders: {},
    openEngine,
    openNames: (_node, netnsDirectory) =>
      new DnsServer({
        log: createLog('packet-walk'),
        forwarder: new Forwarder(() => [], systemClock),
        netnsPath: (vni) => join(netnsDirectory, overlayNamespace(vni)),
      }),
  });
  await cluster.program(state);
  await cluster.startContainers();
  const parts = [`## Balanced by ${engine}`];
  for (const station of stations) {
    if (station.engines && !station.engines.includes(engine)) continue;
    if (station.title) parts.push(`### ${station.title}`);
    parts.push(station.prose, await show(cluster, station));
  }
  return `${parts.join('\n\n')}\n`;
}

function state(node: number): NodeNetworkState {
  const tasks = containers.map((container) => ({ ...container }));
  return {
    ...stateOf(node, { nodes, tasks, ingress: true }),
    publishedPorts: [port('tcp', 8080, 80), port('udp', 5300, 53)],
  };
}

const placeNames: Readonly<Record<Place, string>> = {
  host: 'node 1',
  ingress: 'node 1, overlay ingress',
  mynet: 'node 1, overlay mynet',
  task: 'node 1, a container of web',
  caller: 'node 1, the caller’s container',
};

async function show(cluster: MeshCluster, { at, command, keep }: Station): Promise<string> {
  const said =
    command === 'balancer'
      ? await balancerText(cluster, at)
      : await cluster.runAt(pathOf(cluster, at), ...command.split(' '));
  const lines = inOrder(
    command,
    said
      .split('\n')
      .map(normalise)
      .filter((one) => one !== '' && (keep?.test(one) ?? true)),
  );
  const head = command === 'balancer' ? 'the balancer’s table' : `$ ${command}`;
  return ['```text', `# ${placeNames[at]}: ${head}`, ...lines, '```'].join('\n');
}

/** Tables that the kernel keeps by hash are listed sorted, each with what is indented below it; rules are in an order of their own. */
function inOrder(command: string, lines: readonly string[]): readonly string[] {
  if (/^(iptables-save|ip rule)/.test(command)) return lines;
  const groups: string[][] = [];
  for (const one of lines) {
    if (one.startsWith('->')) groups.at(-1)?.push(one);
    else groups.push([one]);
  }
  return groups.map(([head = '', ...below]) => [head, ...below.sort()].join('\n')).sort();
}

function pathOf(cluster: MeshCluster, at: Place): string {
  switch (at) {
    case 'host':
      return cluster.path('node1');
    case 'ingress':
      return cluster.overlayPath(1, ingressVni);
    case 'mynet':
      return cluster.overlayPath(1, mynetVni);
    case 'task':
      return cluster.path('c3');
    case 'caller':
      return cluster.path('c5');
  }
}

async function balancerText(cluster: MeshCluster, at: Place): Promise<string> {
  const scope = at === 'host' ? ({ kind: 'host' } as const) : ({ kind: 'overlay', vni: mynetVni } as const);
  const table = await cluster.kernel(1).table(scope);
  const objects = await table.observe(true);
  return objects
    .map((object) => line(object))
    .sort()
    .join('\n');
}

/** Without what is anew each time or in every build: indices, ids, digests, MACs that the kernel chose. */
const normalise = (text: string): string =>
  text
    .replace(/@if\d+|@\S+(?=\s)/, '@peer')
    .replace(/ (id|tag|jited|handle|pref|chain) (0x)?[0-9a-f]+/g, '')
    .replace(/ jited\b/, '')
    .replace(/ bucketsize \d+ initval \S+/, '')
    .replace(/link-netns \S+ ?/, '')
    .replace(/link-netnsid \d+ ?/, '')
    .replace(/fe80::\S+/g, '')
    // Of a link; where MACs matter they are given in the state.
    .replace(/^(\S+\s+[A-Z]+\s+)([0-9a-f]{2}:){5}[0-9a-f]{2}/, '$1')
    .replace(/\s+/g, ' ')
    .trim();

const begin = (engine: EngineName): string =>
  `<!-- ${engine}: written by test/support/packet-walk.ts -->\n\n`;
const end = '\n<!-- end -->\n';

/**
 * The engine's part as the document has it; null when it has none. With SKEP_UPDATE set, `text` is written there first.
 */
export async function documentedPacketWalk(engine: EngineName, text: string): Promise<string | null> {
  const whole = await readFile(file, 'utf8');
  const from = whole.indexOf(begin(engine));
  const to = whole.indexOf(end, from);
  if (from < 0 || to < 0) return null;
  const start = from + begin(engine).length;
  if (!process.env['SKEP_UPDATE']) return whole.slice(start, to);
  await writeFile(file, `${whole.slice(0, start)}${text}${whole.slice(to)}`);
  return text;
}
