/**
 * Numbers by which a namespace knows others (struct rtgenmsg). The kernel keeps one for as long as the other namespace lives, whoever
 * holds that and whatever its name: requests that name the number (IFLA_TARGET_NETNSID) reach it.
 */
import { Attributes, AttributeWriter } from './attributes.js';
import * as c from './constants.js';
import { isErrno } from './netlink-error.js';
import type { NetlinkSocket } from './socket.js';

/** struct rtgenmsg, padded. */
const header = Buffer.alloc(4);
/** The kernel chooses. */
const anyId = 0xffffffff;

/** The numbers of one namespace. Methods reject with NetlinkError. */
export class NamespaceIds {
  constructor(private readonly socket: NetlinkSocket) {}

  /** Gives the namespace behind the descriptor a number here, unless it has one. */
  async assign(netnsFd: number): Promise<void> {
    const attributes = new AttributeWriter().u32(c.NETNSA_FD, netnsFd).u32(c.NETNSA_NSID, anyId);
    const payload = Buffer.concat([header, attributes.toBuffer()]);
    try {
      await this.socket.request({ type: c.RTM_NEWNSID, flags: 0, payload });
    } catch (err) {
      if (!isErrno(err, 'EEXIST')) throw err;
    }
  }

  /** All of them. */
  async list(): Promise<number[]> {
    const messages = await this.socket.dump({ type: c.RTM_GETNSID, flags: 0, payload: header });
    return messages.flatMap(
      ({ payload }) => new Attributes(payload.subarray(header.length)).s32(c.NETNSA_NSID) ?? [],
    );
  }
}
