/** The table of IPVS as plan objects: IPv4's as the addon reads it (native/native.d.ts), IPv6's as netlink tells of it. */
import { numberToIp } from '../../model/addresses.js';
import type { RealServer as FoundReal, VirtualServer as FoundVirtual } from '../netlink/ipvs.js';
import { IP_VS_CONN_F_DROUTE, IP_VS_CONN_F_FWD_MASK, IP_VS_SVC_F_PERSISTENT } from '../netlink/constants.js';
import type { RealServer, VirtualServer } from '../plan/objects.js';

const virtualBytes = 32;
const realBytes = 16;

export function parseIpvsDump(dump: Buffer): (VirtualServer | RealServer)[] {
  const found: (VirtualServer | RealServer)[] = [];
  for (let at = 0; at < dump.length;) {
    const mark = dump.readUInt32LE(at);
    const persistent = (dump.readUInt32LE(at + 4) & IP_VS_SVC_F_PERSISTENT) !== 0;
    const realServers = dump.readUInt32LE(at + 12);
    const name = dump.toString('latin1', at + 16, at + virtualBytes);
    found.push({
      kind: 'virtualServer',
      family: 4,
      mark,
      scheduler: name.replace(/\0.*$/s, '') as VirtualServer['scheduler'],
      affinityS: persistent ? dump.readUInt32LE(at + 8) : null,
    });
    at += virtualBytes;
    for (const end = at + realServers * realBytes; at < end; at += realBytes)
      found.push({
        kind: 'realServer',
        mark,
        address: numberToIp(BigInt(dump.readUInt32BE(at)), 4),
        port: dump.readUInt32LE(at + 4),
        method:
          (dump.readUInt32LE(at + 8) & IP_VS_CONN_F_FWD_MASK) === IP_VS_CONN_F_DROUTE
            ? 'direct'
            : 'translate',
        weight: dump.readUInt32LE(at + 12),
      });
  }
  return found;
}

/** A virtual server with its real servers; [] for one that is not found by mark. */
export function toPlanObjects(
  { key, scheduler, persistenceS }: FoundVirtual,
  realServers: readonly FoundReal[],
): (VirtualServer | RealServer)[] {
  if (key.kind !== 'fwmark') return [];
  const { family, fwmark: mark } = key;
  return [
    {
      kind: 'virtualServer',
      family,
      mark,
      scheduler: scheduler as VirtualServer['scheduler'],
      affinityS: persistenceS,
    },
    ...realServers.map(({ address, port, forwarding, weight }): RealServer => ({
      kind: 'realServer',
      mark,
      address,
      port,
      method: forwarding === 'directRoute' ? 'direct' : 'translate',
      weight,
    })),
  ];
}
