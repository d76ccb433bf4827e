/** Which of its addresses this host uses towards another: the kernel's choice, asked without a packet. */
import { createSocket } from 'node:dgram';
import { isIP } from 'node:net';
import { lookup } from 'node:dns/promises';
import type { Ip } from '../../model/addresses.js';
import { familyOf, parseIp } from '../../model/addresses.js';

/**
 * @param host name or address of the other
 * @returns undefined where there is no way to it, or it is this host itself by a loopback address
 */
export async function addressTowards(host: string, port: number): Promise<Ip | undefined> {
  try {
    const target = isIP(host) ? host : (await lookup(host)).address;
    const socket = createSocket(familyOf(target) === 4 ? 'udp4' : 'udp6');
    try {
      await new Promise<void>((resolve, reject) => {
        socket.once('error', reject);
        socket.connect(port, target, resolve);
      });
      const { address } = socket.address();
      return address.startsWith('127.') || address === '::1' ? undefined : parseIp(address);
    } finally {
      socket.close();
    }
  } catch {
    // No such name, no such way: whoever is to be joined will be found out of reach, with the reason.
    return undefined;
  }
}
