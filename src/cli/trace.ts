/** `skep trace SERVICE|PORT [--from CLIENT]`: the ways to a service's tasks from this node, hop by hop, with what was counted on each, and where they stop. */
import { parseArgs } from 'node:util';
import { SkepError } from '../model/errors.js';
import { DataplaneClient } from '../dataplane/rpc/client.js';
import type { TraceReply } from '../dataplane/rpc/client.js';
import type { TraceCounters, TraceFlow, TraceHop, TracePath } from '../dataplane/trace.js';
import type { ExitCode, Terminal } from './command.js';
import { UsageError } from './command.js';
import { dataplaneSocket } from './paths.js';

/** Exit code 0: shown; 1: this node knows no such service or client; 2: skep-dataplane cannot be asked. */
export async function trace(args: readonly string[], { out, err, env }: Terminal): Promise<ExitCode> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { json: { type: 'boolean', default: false }, from: { type: 'string', default: '' } },
  });
  const [service, ...more] = positionals;
  if (service === undefined || more.length > 0)
    throw new UsageError('takes one service: its name, its id, or a port it publishes (8080, 53/udp)');
  const socketPath = dataplaneSocket(env);
  const client = new DataplaneClient(socketPath);
  try {
    const reply = await client.trace(service, values.from);
    for (const line of values.json ? [JSON.stringify(reply)] : traceLines(reply)) out(line);
    return 0;
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    if (cause instanceof SkepError && cause.kind === 'notFound') {
      err(message);
      return 1;
    }
    err(`skep-dataplane at ${socketPath} gives no answer: ${message}`);
    return 2;
  } finally {
    client.close();
  }
}

export function traceLines({ revision, engine, name, serviceId, paths, clients }: TraceReply): string[] {
  return [
    `service ${name} (${serviceId}), revision ${revision}, balanced by ${engine}`,
    ...(clients.length === 0 ? [] : [`called from ${clients.join(', ')}`]),
    ...(paths.length === 0 ? ['no published port and no VIP: nothing here is balanced'] : []),
    ...paths.flatMap(pathLines),
  ];
}

function pathLines(path: TracePath): string[] {
  const { frontend, overlay, vni, scheduler, affinityS, counters, hops, stops, flows } = path;
  const isPort = frontend.includes('/');
  const where = isPort ? 'on every address of this node' : `VIP on ${overlay}`;
  const affinity = affinityS === 0 ? '' : `, a client stays for ${affinityS} s`;
  return [
    '',
    `${frontend} ${where}, ${scheduler}${affinity}: ${counted(counters, isPort)}`,
    ...stops.map((why) => `  STOPS: ${why}`),
    ...flows.map(flowLine),
    ...hops.flatMap((hop) => hopLines(hop, vni, isPort)),
  ];
}

function hopLines(hop: TraceHop, vni: number, isPort: boolean): string[] {
  const { task, nodeId, address, mac, alias, vtep, weight, counters, stops } = hop;
  const way = [
    ...(alias === '' ? [] : [`becomes ${alias}`]),
    `${mac} on overlay ${vni}`,
    vtep === '' ? 'on this node' : `VXLAN to ${vtep}`,
    `task ${address} on node ${nodeId}`,
  ];
  return [
    `  ${task}${weight === 0 ? ' (drains)' : ` (weight ${weight})`}: ${counted(counters, isPort)}`,
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
