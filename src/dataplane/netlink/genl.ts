/** Generic netlink (struct genlmsghdr): which number the kernel gave a family, and messages of a family. */
import assert from 'node:assert';
import { Attributes, AttributeWriter } from './attributes.js';
import * as c from './constants.js';
import type { NetlinkMessage, NetlinkRequest } from './message.js';
import type { NetlinkSocket } from './socket.js';

const headerBytes = 4;

export interface GenericFamily {
  /** The message type of the family on this kernel, until its module is loaded anew. */
  readonly id: number;
  readonly version: number;
  /** Multicast group numbers by name. */
  readonly groups: ReadonlyMap<string, number>;
}

/**
 * Looks a family up by name; the kernel loads its module if it can.
 * @throws NetlinkError with code ENOENT when the kernel has no such family
 */
export async function resolveFamily(socket: NetlinkSocket, name: string): Promise<GenericFamily> {
  const request = formatGeneric(
    { id: c.GENL_ID_CTRL, version: 1 },
    c.CTRL_CMD_GETFAMILY,
    0,
    new AttributeWriter().string(c.CTRL_ATTR_FAMILY_NAME, name),
  );
  const [message] = await socket.request(request);
  assert(message, 'CTRL_CMD_GETFAMILY acknowledged without an answer');
  return parseFamily(message);
}

export function parseFamily(message: NetlinkMessage): GenericFamily {
  const attributes = parseGeneric(message);
  const id = attributes.u16(c.CTRL_ATTR_FAMILY_ID);
  assert(id !== undefined, 'a family has a number');
  const groups = attributes
    .array(c.CTRL_ATTR_MCAST_GROUPS)
    .map(
      (group) =>
        [group.string(c.CTRL_ATTR_MCAST_GRP_NAME) ?? '', group.u32(c.CTRL_ATTR_MCAST_GRP_ID) ?? 0] as const,
    );
  return { id, version: attributes.u32(c.CTRL_ATTR_VERSION) ?? 0, groups: new Map(groups) };
}

export function formatGeneric(
  family: Pick<GenericFamily, 'id' | 'version'>,
  command: number,
  flags: number,
  attributes: AttributeWriter,
): NetlinkRequest {
  const fixed = Buffer.from([command, family.version, 0, 0]);
  return { type: family.id, flags, payload: Buffer.concat([fixed, attributes.toBuffer()]) };
}

/** The attributes of a generic message. */
export const parseGeneric = (message: NetlinkMessage): Attributes =>
  new Attributes(message.payload.subarray(headerBytes));
