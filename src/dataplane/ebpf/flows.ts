/** Flows as the programs keep them, for reading. A mesh flow's reply entry tells nothing that its request's does not. */
import type { BalancedFlow } from '../balancer/engine.js';
import { flowIdleLimits } from '../plan/load-balancer.js';
import type { MapEntry } from './bpf.js';
import type { Image, Maps } from './image.js';
import { ipv4Text } from './ipv4.js';
import { enums, structs } from './layout.js';
import { hostVni, protocolOf } from './records.js';

const { FLOW_ANSWERED, FLOW_ESTABLISHED, FLOW_CLIENT_FIN, FLOW_SERVER_FIN, FLOW_RESET, FLOW_REPLY } =
  enums.flowFlags;

/** Entries looked through at most: there may be a million of other scopes. */
const lookedAtMax = 65_536;

/** At most `limit` flows of a scope. Throws KernelError. */
export function readFlows(
  maps: Maps,
  image: Image,
  vni: number,
  limit: number,
  nowNs: bigint,
): BalancedFlow[] {
  const flows: BalancedFlow[] = [];
  for (const map of [maps.skep_flows, maps.skep_young_flows])
    for (const entry of map.getAll(lookedAtMax)) {
      if (flows.length >= limit) return flows;
      const flow = flowOf(image, vni, entry, nowNs);
      if (flow !== null) flows.push(flow);
    }
  return flows;
}

/** Null: not of this scope, a reply's entry, or of a real server that is gone. */
function flowOf(image: Image, vni: number, entry: MapEntry, nowNs: bigint): BalancedFlow | null {
  const key = structs.flowKey.decode(entry.key);
  const protocol = protocolOf(key.scope & 0xff);
  const { flags, realServer, generation, seenNs } = structs.flow.decode(entry.value);
  const record = image.reals[realServer];
  // The key has but half of the VNI.
  if (record?.generation !== generation || record.owner.vni !== vni) return null;
  if (protocol === null || (flags & FLOW_REPLY) !== 0) return null;
  const idleS = Number((nowNs - seenNs) / 1_000_000_000n);
  return {
    protocol,
    client: ipv4Text(key.source),
    clientPort: key.sourcePort,
    destination: ipv4Text(key.destination),
    destinationPort: key.destinationPort,
    realServer: record.object.address,
    realServerPort: record.object.port,
    state: stateOf(protocol, flags),
    expiresS: Math.max(0, timeoutS(protocol, flags, vni === hostVni) - idleS),
  };
}

function stateOf(protocol: BalancedFlow['protocol'], flags: number): BalancedFlow['state'] {
  if ((flags & (FLOW_RESET | FLOW_CLIENT_FIN | FLOW_SERVER_FIN)) !== 0) return 'closing';
  return isAgreed(protocol, flags) ? 'established' : 'opening';
}

/** TCP's three packets have passed; of other protocols an answer has. */
const isAgreed = (protocol: BalancedFlow['protocol'], flags: number): boolean =>
  (flags & (protocol === 'tcp' ? FLOW_ESTABLISHED : FLOW_ESTABLISHED | FLOW_ANSWERED)) !== 0;

/** As the expiry has it: native/src/flows.c. */
function timeoutS(protocol: BalancedFlow['protocol'], flags: number, isMesh: boolean): number {
  const agreed = isAgreed(protocol, flags);
  if (protocol === 'udp') return agreed ? flowIdleLimits.udpAnsweredS : flowIdleLimits.udpUnansweredS;
  const fins = isMesh ? FLOW_CLIENT_FIN | FLOW_SERVER_FIN : FLOW_CLIENT_FIN;
  if ((flags & FLOW_RESET) !== 0 || (flags & fins) === fins) return flowIdleLimits.tcpClosedS;
  if (!agreed) return flowIdleLimits.tcpHalfOpenS;
  return protocol === 'tcp' ? flowIdleLimits.tcpEstablishedS : flowIdleLimits.sctpEstablishedS;
}
