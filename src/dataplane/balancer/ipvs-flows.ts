/** IPVS's connections in one namespace, which only /proc tells of: read only as far as asked. */
import { createReadStream, constants } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Ip } from '../../model/addresses.js';
import { numberToIp, parseIp } from '../../model/addresses.js';
import { errnoOf, KernelError } from '../kernel/kernel-error.js';
import { native } from '../../runtime/native.js';
import type { BalancedFlow } from './engine.js';

/** The namespace is that of the thread which opens; `/proc/net` would be the process's. */
const file = '/proc/thread-self/net/ip_vs_conn';

/** Rejects with KernelError. */
export async function readIpvsFlows(netns: string | null, limit: number): Promise<BalancedFlow[]> {
  const flows: BalancedFlow[] = [];
  if (limit <= 0) return flows;
  try {
    const fd = netns === null ? undefined : native().openInNetns(netns, file, constants.O_RDONLY);
    const stream = createReadStream(file, fd === undefined ? {} : { fd });
    try {
      for await (const row of createInterface({ input: stream })) {
        const flow = parseIpvsFlow(row);
        if (flow) flows.push(flow);
        if (flows.length >= limit) break;
      }
    } finally {
      stream.destroy();
    }
  } catch (err) {
    throw new KernelError(`read ${file}`, errnoOf(err), { cause: err });
  }
  return flows;
}

/** Null for the heading and for what stands for a client's affinity rather than a flow. */
export function parseIpvsFlow(row: string): BalancedFlow | null {
  const [name, client, clientPort, to, toPort, server, serverPort, state, expires] = row.trim().split(/\s+/);
  const protocol = protocols.find((one) => one.toUpperCase() === name);
  if (protocol === undefined || !client || !to || !server || !state) return null;
  const [from, called, answering] = [client, to, server].map(hexToIp);
  if (!from || !called || !answering) return null;
  const port = (text: string | undefined): number => Number.parseInt(text ?? '', 16);
  if (port(clientPort) === 0) return null;
  return {
    protocol,
    client: from,
    clientPort: port(clientPort),
    destination: called,
    destinationPort: port(toPort),
    realServer: answering,
    realServerPort: port(serverPort),
    state: opening.has(state) ? 'opening' : established.has(state) ? 'established' : 'closing',
    expiresS: Number(expires),
  };
}

const protocols = ['tcp', 'udp', 'sctp'] as const;
/** Eight digits of IPv4, or all of IPv6's with colons between; null for what is neither. */
function hexToIp(hex: string): Ip | null {
  if (/^[0-9A-F]{8}$/.test(hex)) return numberToIp(BigInt(`0x${hex}`), 4);
  return /^([0-9a-f]{4}:){7}[0-9a-f]{4}$/i.test(hex) ? parseIp(hex) : null;
}

/** State names of net/netfilter/ipvs/ip_vs_proto_{tcp,udp,sctp}.c; all others are of flows that end. */
const opening = new Set([
  'NONE',
  'SYN_SENT',
  'SYN_RECV',
  'SYNACK',
  'INIT1',
  'INIT',
  'COOKIE_SENT',
  'COOKIE_REPLIED',
  'COOKIE_WAIT',
  'COOKIE',
  'COOKIE_ECHOED',
]);
const established = new Set(['ESTABLISHED', 'UDP']);
