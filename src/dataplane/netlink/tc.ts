/**
 * Traffic control (struct tcmsg), as far as BPF programs are attached by it: the clsact qdisc, which is nothing but the two
 * places a device has for filters, and cls_bpf filters in direct action. Works the same on every kernel from 4.5 on.
 * Filters are listed per device and hook, for their dump needs both; the qdiscs of all devices come in one dump.
 */
import assert from 'node:assert';
import { Attributes, AttributeWriter } from './attributes.js';
import * as c from './constants.js';
import type { NetlinkMessage, NetlinkRequest } from './message.js';
import { isErrno } from './netlink-error.js';
import type { NetlinkSocket } from './socket.js';

const headerBytes = 20;

/** Where on a device a program sees packets. */
export type Hook = 'ingress' | 'egress';

/** TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_…) */
const hookParents: Readonly<Record<Hook, number>> = {
  ingress: ((c.TC_H_CLSACT & c.TC_H_MAJ_MASK) | c.TC_H_MIN_INGRESS) >>> 0,
  egress: ((c.TC_H_CLSACT & c.TC_H_MAJ_MASK) | c.TC_H_MIN_EGRESS) >>> 0,
};
const clsactHandle = (c.TC_H_CLSACT & c.TC_H_MAJ_MASK) >>> 0;

/** One filter's place. Of all filters of a hook, those of lower priority come first. */
export interface FilterPlace {
  /** Of the device, in the socket's namespace. */
  readonly index: number;
  readonly hook: Hook;
  /** 1..65535. */
  readonly priority: number;
  readonly handle: number;
}

/** A BPF program on a device, as the kernel shows it. */
export interface BpfFilter extends FilterPlace {
  /** As given by who attached it. */
  readonly name: string | null;
  /** Digest of the program's instructions, 16 hex digits. */
  readonly tag: string | null;
  readonly programId: number | null;
  /** 0 when none was given. */
  readonly classId: number;
  /** Whether the program's result is the verdict (TC_ACT_…), as all of ours are. */
  readonly directAction: boolean;
}

/** A filter for packets of all protocols, in direct action. */
export interface NewBpfFilter extends FilterPlace {
  /** Descriptor of the program, in this process, whatever namespace the socket is in. */
  readonly programFd: number;
  readonly name: string;
  /** What the program reads as skb->tc_classid: 16 bits, for the kernel keeps no more of it there. 0: none. */
  readonly classId: number;
}

/** Qdiscs and filters of one namespace. Every method rejects with NetlinkError on the kernel's refusal. */
export class TrafficControl {
  constructor(private readonly socket: NetlinkSocket) {}

  /** Indices of the devices that have a clsact qdisc. */
  async listClsact(): Promise<number[]> {
    const payload = header({});
    const messages = await this.socket.dump({ type: c.RTM_GETQDISC, flags: 0, payload });
    return messages.flatMap((message) => parseClsact(message) ?? []);
  }

  /** Gives the device a clsact qdisc unless it has one. ENODEV when there is no such device. */
  async ensureClsact(index: number): Promise<void> {
    try {
      await this.socket.request(formatClsact(index));
    } catch (err) {
      if (!isErrno(err, 'EEXIST')) throw err;
    }
  }

  /** Removes the qdisc with all its filters, strangers' too. ENOENT or EINVAL when there is none. */
  async removeClsact(index: number): Promise<void> {
    await this.socket.request({ ...formatClsact(index), type: c.RTM_DELQDISC, flags: 0 });
  }

  /** The BPF filters of a device's hook in the order they are asked; none also when there is no qdisc or no such device. */
  async list(index: number, hook: Hook): Promise<BpfFilter[]> {
    const payload = header({ index, parent: hookParents[hook] });
    const messages = await this.socket.dump({ type: c.RTM_GETTFILTER, flags: 0, payload });
    return messages.flatMap((message) => parseFilter(message) ?? []);
  }

  /**
   * Puts a program in that place. One that is there is replaced at once: each packet meets the old one or the new one.
   * The device must have a clsact qdisc (ENOENT or EINVAL otherwise).
   */
  async replace(filter: NewBpfFilter): Promise<void> {
    await this.socket.request(formatFilter(filter));
  }

  /** ENOENT when there is no such filter. */
  async remove(place: FilterPlace): Promise<void> {
    const attributes = new AttributeWriter().string(c.TCA_KIND, 'bpf').toBuffer();
    const payload = Buffer.concat([filterHeader(place), attributes]);
    await this.socket.request({ type: c.RTM_DELTFILTER, flags: 0, payload });
  }
}

export function formatClsact(index: number): NetlinkRequest {
  const attributes = new AttributeWriter().string(c.TCA_KIND, 'clsact').toBuffer();
  return {
    type: c.RTM_NEWQDISC,
    flags: c.NLM_F_CREATE | c.NLM_F_EXCL,
    payload: Buffer.concat([header({ index, handle: clsactHandle, parent: c.TC_H_CLSACT }), attributes]),
  };
}

/** Index of the device that has the qdisc, null for a qdisc of another kind. */
export function parseClsact({ payload }: NetlinkMessage): number | null {
  const kind = new Attributes(payload.subarray(headerBytes)).string(c.TCA_KIND);
  return kind === 'clsact' ? payload.readInt32LE(4) : null;
}

export function formatFilter(filter: NewBpfFilter): NetlinkRequest {
  assert(filter.classId >= 0 && filter.classId <= 0xffff, 'a program sees 16 bits of a class id');
  const attributes = new AttributeWriter().string(c.TCA_KIND, 'bpf').nested(c.TCA_OPTIONS, (options) => {
    options.u32(c.TCA_BPF_FD, filter.programFd).string(c.TCA_BPF_NAME, filter.name);
    options.u32(c.TCA_BPF_FLAGS, c.TCA_BPF_FLAG_ACT_DIRECT);
    if (filter.classId !== 0) options.u32(c.TCA_BPF_CLASSID, filter.classId);
  });
  return {
    type: c.RTM_NEWTFILTER,
    flags: c.NLM_F_CREATE | c.NLM_F_REPLACE,
    payload: Buffer.concat([filterHeader(filter), attributes.toBuffer()]),
  };
}

/** Null for what is no BPF filter at one of the two hooks; a dump also has a message for each priority as such. */
export function parseFilter({ payload }: NetlinkMessage): BpfFilter | null {
  const place = parsePlace(payload);
  const attributes = new Attributes(payload.subarray(headerBytes));
  const options = attributes.nested(c.TCA_OPTIONS);
  if (!place || place.handle === 0 || !options || attributes.string(c.TCA_KIND) !== 'bpf') return null;
  return {
    ...place,
    name: options.string(c.TCA_BPF_NAME) ?? null,
    tag: options.bytes(c.TCA_BPF_TAG)?.toString('hex') ?? null,
    programId: options.u32(c.TCA_BPF_ID) ?? null,
    classId: options.u32(c.TCA_BPF_CLASSID) ?? 0,
    directAction: ((options.u32(c.TCA_BPF_FLAGS) ?? 0) & c.TCA_BPF_FLAG_ACT_DIRECT) !== 0,
  };
}

/** Null for a filter at another place of the qdiscs. Handle 0 stands for all filters of the priority. */
export function parsePlace(payload: Buffer): FilterPlace | null {
  const parent = payload.readUInt32LE(12);
  const hook = (Object.keys(hookParents) as Hook[]).find((name) => hookParents[name] === parent);
  if (!hook) return null;
  return {
    index: payload.readInt32LE(4),
    hook,
    priority: payload.readUInt16LE(18),
    handle: payload.readUInt32LE(8),
  };
}

const filterHeader = ({ index, hook, priority, handle }: FilterPlace): Buffer => {
  const buffer = header({ index, parent: hookParents[hook], handle });
  buffer.writeUInt16BE(c.ETH_P_ALL, 16); // tcm_info: the protocol in network order, then the priority
  buffer.writeUInt16LE(priority, 18);
  return buffer;
};

/** struct tcmsg with what is not given 0. */
function header({ index = 0, handle = 0, parent = 0 }): Buffer {
  const buffer = Buffer.alloc(headerBytes);
  buffer.writeInt32LE(index, 4);
  buffer.writeUInt32LE(handle, 8);
  buffer.writeUInt32LE(parent, 12);
  return buffer;
}
