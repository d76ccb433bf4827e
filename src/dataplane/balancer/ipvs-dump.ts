/** The table of IPVS as the addon reads it (native/native.d.ts), as plan objects. */
import { numberToIp } from '../../model/addresses.js';
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
