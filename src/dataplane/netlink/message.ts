/**
 * Netlink messages (struct nlmsghdr) and the acknowledgement (struct nlmsgerr). Pure; see attributes.ts for byte order.
 */
import assert from 'node:assert';
import type { Family } from '../../model/addresses.js';
import { align, Attributes } from './attributes.js';
import {
  AF_INET,
  AF_INET6,
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLM_F_REQUEST,
  NLMSGERR_ATTR_MSG,
} from './constants.js';

const headerBytes = 16;

/** What is asked of the kernel. NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP and the sequence number are the socket's. */
export interface NetlinkRequest {
  readonly type: number;
  /** NLM_F_CREATE and the like. */
  readonly flags: number;
  /** The family's fixed header and the attributes. */
  readonly payload: Buffer;
}

export interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly portId: number;
  readonly payload: Buffer;
}

/** A request's bytes. */
export function formatMessage(request: NetlinkRequest, sequence: number): Buffer {
  const message = Buffer.alloc(headerBytes + align(request.payload.length));
  message.writeUInt32LE(headerBytes + request.payload.length, 0);
  message.writeUInt16LE(request.type, 4);
  message.writeUInt16LE(request.flags | NLM_F_REQUEST, 6);
  message.writeUInt32LE(sequence, 8);
  message.set(request.payload, headerBytes);
  return message;
}

/** The messages of one datagram. */
export function parseMessages(datagram: Buffer): NetlinkMessage[] {
  const messages: NetlinkMessage[] = [];
  for (let offset = 0; offset + headerBytes <= datagram.length;) {
    const length = datagram.readUInt32LE(offset);
    assert(length >= headerBytes && offset + length <= datagram.length, 'netlink message out of bounds');
    messages.push({
      type: datagram.readUInt16LE(offset + 4),
      flags: datagram.readUInt16LE(offset + 6),
      sequence: datagram.readUInt32LE(offset + 8),
      portId: datagram.readUInt32LE(offset + 12),
      payload: datagram.subarray(offset + headerBytes, offset + length),
    });
    offset += align(length);
  }
  return messages;
}

export interface Acknowledgement {
  /** 0 for success, else a positive errno. */
  readonly errno: number;
  /** The kernel's own words, when it has any. */
  readonly text: string | null;
}

/** Reads NLMSG_ERROR: errno, the request's header (whole request unless capped), then attributes. */
export function parseAcknowledgement(message: NetlinkMessage): Acknowledgement {
  const { payload, flags } = message;
  const errno = 0 - payload.readInt32LE(0); // not unary, which would make -0 of 0
  if (!(flags & NLM_F_ACK_TLVS)) return { errno, text: null };
  const echoed = flags & NLM_F_CAPPED ? headerBytes : align(payload.readUInt32LE(4));
  return { errno, text: new Attributes(payload.subarray(4 + echoed)).string(NLMSGERR_ATTR_MSG) ?? null };
}

/** Reads NLMSG_DONE: a dump may end in an errno too. */
export function parseDone(message: NetlinkMessage): Acknowledgement {
  const { payload, flags } = message;
  if (payload.length < 4) return { errno: 0, text: null };
  const text = flags & NLM_F_ACK_TLVS ? new Attributes(payload.subarray(4)).string(NLMSGERR_ATTR_MSG) : null;
  return { errno: 0 - payload.readInt32LE(0), text: text ?? null };
}

/** AF_INET or AF_INET6. */
export const familyNumber = (family: Family): number => (family === 4 ? AF_INET : AF_INET6);

/** The address family, or null for one that is neither (bridge, multicast routing). */
export const familyFromNumber = (number: number): Family | null =>
  number === AF_INET ? 4 : number === AF_INET6 ? 6 : null;
