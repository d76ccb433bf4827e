/** `skep trace SERVICE|PORT [--from CLIENT]`: the ways to a service's tasks from this node, hop by hop, with what was counted on each, and where they stop. */
import type { TraceReply } from '../dataplane/rpc/client.js';
import type { TraceCounters, TraceFlow, TraceHop, TracePath } from '../dataplane/trace.js';
import type { Advice } from '../model/errors.js';
import { readCommandLine } from './arguments.js';
import { CommandError } from './command.js';
import type { ExitCode, Terminal } from './command.js';
import { commands } from './commands.js';
import { askDataplane } from './dataplane.js';

/** Flows of a client that are printed of each path; --json has all. */
const flowsMax = 20;

/** Exit code 0: shown; 1: this node knows no such service or client; 2: skep-dataplane cannot be asked. */
export async function trace(args: readonly string[], terminal: Terminal): Promise<ExitCode> {
  const { options, arguments: named } = readCommandLine(commands.trace, args);
  const reply = await askDataplane(
    terminal,
    (client) => client.trace(named.SERVICE, options.from),
    (refusal) =>
      refusal.kind === 'notFound' ? new CommandError(1, refusal.message, unknownHere) : undefined,
  );
  for (const line of options.json ? [JSON.stringify(reply)] : traceLines(reply)) terminal.out(line);
  return 0;
}

const unknownHere: Advice = {
  means:
    'This node traces what is in its own state: services on the networks of its tasks, ports that are published, and who is on these networks.',
  todo: '"docker service ls" on a manager has the names and ports of all services. Run this on a node with a task of the service, or of its callers.',
};

export function traceLines(reply: TraceReply): string[] {
  const { revision, engine, name, serviceId, paths, clients, foreignDrops } = reply;
  return [
    `service ${name} (${serviceId}), revision ${revision}, balanced by ${engine}`,
    ...(clients.length === 0 ? [] : [`called from ${clients.join(', ')}`]),
    ...(paths.length === 0 ? ['no published port and no VIP: nothing here is balanced'] : []),
    ...paths.flatMap(pathLines),
    ...(foreignDrops.length === 0
      ? []
      : ['', 'rules of others on this node have dropped packets:', ...foreignDrops.map((one) => `  ${one}`)]),
  ];
}

function pathLines(path: TracePath): string[] {
  const { frontend, overlay, vni, scheduler, affinityS, counters, hops, stops, flows, limits } = path;
  const isPort = frontend.includes('/');
  const where = isPort ? listens(limits) : `VIP on ${overlay}`;
  const affinity = affinityS === 0 ? '' : `, a client stays for ${affinityS} s`;
  return [
    '',
    `${frontend} ${where}, ${scheduler}${affinity}: ${counted(counters, isPort)}`,
    ...stops.map((why) => `  STOPS: ${why}`),
    ...flows.slice(0, flowsMax).map(flowLine),
    ...(flows.length > flowsMax ? [`  and ${flows.length - flowsMax} flows more`] : []),
    ...hops.flatMap((hop) => hopLines(hop, vni, isPort)),
  ];
}

function listens({ interfaces, cidrs }: TracePath['limits']): string {
  const by = interfaces.length === 0 ? '' : ` that come in by ${interfaces.join(', ')}`;
  if (cidrs.length > 0) return `on addresses in ${cidrs.join(', ')}${by === '' ? '' : `, for calls${by}`}`;
  return by === '' ? 'on every address of this node' : `for calls${by}`;
}

function hopLines(hop: TraceHop, vni: number, isPort: boolean): string[] {
  const { task, nodeId, address, mac, alias, vtep, weight, counters, stops, isSilent } = hop;
  const way = [
    ...(alias === '' ? [] : [`becomes ${alias}`]),
    `${mac} on overlay ${vni}`,
    vtep === '' ? 'on this node' : `VXLAN to ${vtep}`,
    `task ${address} on node ${nodeId}`,
  ];
  return [
    `  ${task}${weight > 0 ? ` (weight ${weight})` : isSilent ? ' (silent)' : ' (drains)'}: ${counted(counters, isPort)}`,
    `    ${way.join(' -> ')}`,
    ...stops.map((why) => `    STOPS: ${why}`),
  ];
}

const flowLine = ({
  protocol,
  client,
  clientPort,
  destinationPort,
  task,
  state,
  expiresS,
}: TraceFlow): string =>
  `  ${protocol} ${client}:${clientPort} -> port ${destinationPort} -> ${task || 'a task that is gone'}: ${state}, forgotten after ${expiresS} s more`;

/** Replies to a VIP's callers pass this node's balancer by, so there is nothing to say of them. */
function counted(counters: TraceCounters, sawReplies: boolean): string {
  const { connections, activeFlows, packets, bytes, replyPackets, replyBytes, drops } = counters;
  const dropped = Object.entries(drops).map(([reason, count]) => `${count} dropped (${reason})`);
  return [
    `${connections} connections, ${activeFlows} active`,
    `${packets} packets of ${bytes} bytes in`,
    ...(sawReplies ? [`${replyPackets} of ${replyBytes} out`] : []),
    ...dropped,
  ].join(', ');
}
