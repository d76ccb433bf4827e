/**
 * Neighbours (address to MAC) and forwarding entries (MAC to VTEP or bridge port): both are struct ndmsg, told apart by
 * the family. A vxlan device keeps its own entries (NTF_SELF, with dst); the bridge keeps those of its ports (NTF_MASTER).
 */
import type { Family, Ip, Mac } from '../../model/addresses.js';
import { familyOf } from '../../model/addresses.js';
import { Attributes, AttributeWriter } from './attributes.js';
import * as c from './constants.js';
import type { NetlinkMessage, NetlinkRequest } from './message.js';
import { familyFromNumber, familyNumber } from './message.js';
import type { NetlinkSocket } from './socket.js';

const headerBytes = 12;

/** linux/neighbour.h's NUD_…; `none` is an entry without a state. */
export const neighbourStates = {
  none: 0,
  incomplete: c.NUD_INCOMPLETE,
  reachable: c.NUD_REACHABLE,
  stale: c.NUD_STALE,
  delay: c.NUD_DELAY,
  probe: c.NUD_PROBE,
  failed: c.NUD_FAILED,
  noarp: c.NUD_NOARP,
  permanent: c.NUD_PERMANENT,
} as const;
export type NeighbourState = keyof typeof neighbourStates;

export interface Neighbour {
  readonly index: number;
  readonly address: Ip;
  /** Null while it is being asked for. */
  readonly mac: Mac | null;
  readonly state: NeighbourState;
  /** Routing protocol number of the writer, 0 when it gave none. */
  readonly protocol: number;
}

export interface NewNeighbour {
  readonly index: number;
  readonly address: Ip;
  readonly mac: Mac;
  /** `permanent` when absent. */
  readonly state?: NeighbourState;
  readonly protocol?: number;
}

/** `permanent` is for the vxlan's own table (on a bridge it means a local address); `static` is a bridge entry that never ages. */
export type FdbState = 'permanent' | 'static' | 'dynamic';

export interface FdbEntry {
  /** Index of the vxlan device or of the bridge port. */
  readonly index: number;
  readonly mac: Mac;
  /** Whose table: the device's own or its bridge's. */
  readonly table: 'self' | 'master';
  readonly state: FdbState;
  /** The VTEP, for a vxlan's own entries. */
  readonly dst: Ip | null;
  /** Index of the bridge that keeps the entry. */
  readonly bridge: number | null;
  /** VLAN of the entry, on a bridge that filters. */
  readonly vlan: number | null;
}

export type FdbKey = Pick<FdbEntry, 'index' | 'mac' | 'table'> & { readonly dst?: Ip | null };
export type NewFdbEntry = FdbKey & { readonly state?: FdbState };

/** The neighbour table of one namespace. Methods reject with NetlinkError on the kernel's refusal. */
export class Neighbours {
  constructor(private readonly socket: NetlinkSocket) {}

  async list(filter: { index?: number; family?: Family } = {}): Promise<Neighbour[]> {
    const attributes = new AttributeWriter();
    if (filter.index !== undefined) attributes.u32(c.NDA_IFINDEX, filter.index);
    const fixed = header(filter.family ? familyNumber(filter.family) : c.AF_UNSPEC, 0, 0, 0);
    const payload = Buffer.concat([fixed, attributes.toBuffer()]);
    const messages = await this.socket.dump({ type: c.RTM_GETNEIGH, flags: 0, payload });
    return messages.map(parseNeighbour).filter((entry) => entry !== null);
  }

  /** Adds or overwrites. */
  async replace(neighbour: NewNeighbour): Promise<void> {
    await this.socket.request(formatNeighbour(neighbour));
  }

  /** ENOENT when there is no such entry. */
  async remove(neighbour: Pick<NewNeighbour, 'index' | 'address'>): Promise<void> {
    const fixed = header(familyNumber(familyOf(neighbour.address)), neighbour.index, 0, 0);
    const attributes = new AttributeWriter().ip(c.NDA_DST, neighbour.address).toBuffer();
    const payload = Buffer.concat([fixed, attributes]);
    await this.socket.request({ type: c.RTM_DELNEIGH, flags: 0, payload });
  }
}

/** The forwarding tables of one namespace. Methods reject with NetlinkError on the kernel's refusal. */
export class Fdb {
  constructor(private readonly socket: NetlinkSocket) {}

  /** All entries, or those of one device (its own and its bridge's). */
  async list(filter: { index?: number } = {}): Promise<FdbEntry[]> {
    const payload = header(c.AF_BRIDGE, filter.index ?? 0, 0, 0);
    const messages = await this.socket.dump({ type: c.RTM_GETNEIGH, flags: 0, payload });
    return messages.map(parseFdbEntry).filter((entry) => entry !== null);
  }

  /** Adds or overwrites the entry of that MAC. */
  async replace(entry: NewFdbEntry): Promise<void> {
    await this.socket.request(formatFdbEntry(c.RTM_NEWNEIGH, c.NLM_F_CREATE | c.NLM_F_REPLACE, entry));
  }

  /** Adds a further destination to the MAC (the all-zero MAC's flooding list). */
  async append(entry: NewFdbEntry): Promise<void> {
    await this.socket.request(formatFdbEntry(c.RTM_NEWNEIGH, c.NLM_F_CREATE | c.NLM_F_APPEND, entry));
  }

  /** ENOENT when there is no such entry. */
  async remove(entry: FdbKey): Promise<void> {
    await this.socket.request(formatFdbEntry(c.RTM_DELNEIGH, 0, entry));
  }
}

/** Null for a family that is neither IPv4 nor IPv6, and for proxy entries. */
export function parseNeighbour(message: NetlinkMessage): Neighbour | null {
  const { payload } = message;
  const attributes = new Attributes(payload.subarray(headerBytes));
  const address = attributes.ip(c.NDA_DST);
  if (familyFromNumber(payload.readUInt8(0)) === null || !address) return null;
  if (payload.readUInt8(10) & c.NTF_PROXY) return null;
  const state = payload.readUInt16LE(8);
  return {
    index: payload.readInt32LE(4),
    address,
    mac: attributes.mac(c.NDA_LLADDR) ?? null,
    state:
      (Object.keys(neighbourStates) as NeighbourState[]).find((name) => neighbourStates[name] === state) ??
      'none',
    protocol: attributes.u8(c.NDA_PROTOCOL) ?? 0,
  };
}

export function formatNeighbour(neighbour: NewNeighbour): NetlinkRequest {
  const state = neighbourStates[neighbour.state ?? 'permanent'];
  const attributes = new AttributeWriter().ip(c.NDA_DST, neighbour.address).mac(c.NDA_LLADDR, neighbour.mac);
  if (neighbour.protocol !== undefined) attributes.u8(c.NDA_PROTOCOL, neighbour.protocol);
  const fixed = header(familyNumber(familyOf(neighbour.address)), neighbour.index, state, 0);
  const payload = Buffer.concat([fixed, attributes.toBuffer()]);
  return { type: c.RTM_NEWNEIGH, flags: c.NLM_F_CREATE | c.NLM_F_REPLACE, payload };
}

/** Null for what is no forwarding entry (multicast groups of another type share the dump). */
export function parseFdbEntry(message: NetlinkMessage): FdbEntry | null {
  const { payload } = message;
  const attributes = new Attributes(payload.subarray(headerBytes));
  const mac = attributes.mac(c.NDA_LLADDR);
  if (payload.readUInt8(0) !== c.AF_BRIDGE || !mac) return null;
  const state = payload.readUInt16LE(8);
  return {
    index: payload.readInt32LE(4),
    mac,
    table: payload.readUInt8(10) & c.NTF_SELF ? 'self' : 'master',
    state: state & c.NUD_PERMANENT ? 'permanent' : state & c.NUD_NOARP ? 'static' : 'dynamic',
    dst: attributes.ip(c.NDA_DST) ?? null,
    bridge: attributes.u32(c.NDA_MASTER) ?? null,
    vlan: attributes.u16(c.NDA_VLAN) ?? null,
  };
}

const fdbStates = {
  permanent: c.NUD_PERMANENT,
  // A vxlan device asks for NUD_REACHABLE beside it; the bridge looks at NUD_NOARP only.
  static: c.NUD_NOARP | c.NUD_REACHABLE,
  dynamic: c.NUD_REACHABLE,
} as const satisfies Record<FdbState, number>;

export function formatFdbEntry(type: number, flags: number, entry: NewFdbEntry): NetlinkRequest {
  const attributes = new AttributeWriter().mac(c.NDA_LLADDR, entry.mac);
  if (entry.dst) attributes.ip(c.NDA_DST, entry.dst);
  const state = fdbStates[entry.state ?? (entry.table === 'self' ? 'permanent' : 'static')];
  const target = entry.table === 'self' ? c.NTF_SELF : c.NTF_MASTER;
  const fixed = header(c.AF_BRIDGE, entry.index, state, target);
  return { type, flags, payload: Buffer.concat([fixed, attributes.toBuffer()]) };
}

/** struct ndmsg. */
function header(family: number, index: number, state: number, flags: number): Buffer {
  const buffer = Buffer.alloc(headerBytes);
  buffer.writeUInt8(family, 0);
  buffer.writeInt32LE(index, 4);
  buffer.writeUInt16LE(state, 8);
  buffer.writeUInt8(flags, 10);
  return buffer;
}
