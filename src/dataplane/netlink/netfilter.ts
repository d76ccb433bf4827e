/**
 * What netfilter tells of a namespace's rules and sets without a process: not what they are, but whether they changed. A
 * question costs one request, and for sets one dump. Of rules it tells unasked, too.
 */
import { createHash } from 'node:crypto';
import { Attributes, AttributeWriter } from './attributes.js';
import * as c from './constants.js';
import type { NetlinkRequest } from './message.js';
import { isErrno } from './netlink-error.js';
import { NetlinkSocket, subscribe } from './socket.js';

/** struct nfgenmsg: family, version, resource. */
const headerBytes = 4;

export class Netfilter implements Disposable {
  readonly #socket: NetlinkSocket;
  /** Subsystems that this kernel has not got: asking loads modules, by a process each time. */
  readonly #absent = new Set<number>();

  /** @param netns path of the namespace, null for this process's own; throws Error with `code` ENOENT when it is absent */
  constructor(netns: string | null) {
    this.#socket = new NetlinkSocket(netns, c.NETLINK_NETFILTER);
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }

  /** How often the rules of nf_tables were changed, by whomever; 0 where there is no nf_tables. Rejects with NetlinkError. */
  async rulesGeneration(): Promise<number> {
    const [message] = await this.#ask(c.NFNL_SUBSYS_NFTABLES, (type) =>
      this.#socket.request({ type: type | c.NFT_MSG_GETGEN, flags: 0, payload: header(c.AF_UNSPEC) }),
    );
    const id = message && new Attributes(message.payload.subarray(headerBytes)).bytes(c.NFTA_GEN_ID);
    return id?.readUInt32BE(0) ?? 0;
  }

  /** A digest of all sets with their entries. Rejects with NetlinkError. */
  async setsDigest(): Promise<string> {
    const hash = createHash('sha256');
    for (const { payload } of await this.#ask(c.NFNL_SUBSYS_IPSET, (type) =>
      this.#socket.dump(listSets(type)),
    ))
      hash.update(payload);
    return hash.digest('base64');
  }

  async #ask<T>(subsystem: number, ask: (type: number) => Promise<T[]>): Promise<T[]> {
    if (this.#absent.has(subsystem)) return [];
    try {
      return await ask(subsystem << 8);
    } catch (err) {
      if (!isErrno(err, 'EINVAL', 'EOPNOTSUPP')) throw err;
      this.#absent.add(subsystem);
      return [];
    }
  }
}

/**
 * Calls back after each transaction of nf_tables in the namespace, by whomever, and when some may have been missed; never where
 * there is no nf_tables.
 * @throws Error with `code` when the namespace cannot be entered
 */
export const subscribeRules = (netns: string | null, listener: () => void): Disposable =>
  subscribe(netns, c.NETLINK_NETFILTER, [c.NFNLGRP_NFTABLES], (notification) => {
    if (notification.kind === 'lost' || notification.messages.some(({ type }) => type === newGeneration))
      listener();
  });

/** The last word of a transaction. */
const newGeneration = (c.NFNL_SUBSYS_NFTABLES << 8) | c.NFT_MSG_NEWGEN;

const header = (family: number): Buffer => Buffer.from([family, 0, 0, 0]);

function listSets(type: number): NetlinkRequest {
  const attributes = new AttributeWriter().u8(c.IPSET_ATTR_PROTOCOL, c.IPSET_PROTOCOL_MIN).toBuffer();
  return {
    type: type | c.IPSET_CMD_LIST,
    flags: 0,
    payload: Buffer.concat([header(c.AF_INET), attributes]),
  };
}
