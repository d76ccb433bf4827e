/**
 * Request and reply over a netlink socket that lives in one network namespace. One request is under way at a time, the
 * others wait in order: the kernel answers while it takes the request, so waiting costs one turn of the event loop.
 * What must stay true: every request settles (ack, errno, lost reply, deadline, or closing of the socket), replies are
 * matched by sequence number, and the descriptor is closed exactly once.
 */
import assert from 'node:assert';
import { closeSync } from 'node:fs';
import { endianness } from 'node:os';
import { native } from '../native.js';
import {
  NETLINK_ROUTE,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSG_NOOP,
} from './constants.js';
import type { NetlinkMessage, NetlinkRequest } from './message.js';
import { formatMessage, parseAcknowledgement, parseDone, parseMessages } from './message.js';
import { NetlinkError } from './netlink-error.js';

/** A dump that tables changed under is repeated this often before it is given up. */
const dumpAttemptsMax = 8;
/** The kernel answers within microseconds; module loading behind a request can take seconds. */
const deadlineMs = 15_000;
const waitingMax = 65_536;

interface Exchange {
  readonly request: NetlinkRequest;
  readonly dump: boolean;
  readonly resolve: (messages: NetlinkMessage[]) => void;
  readonly reject: (err: Error) => void;
  readonly replies: NetlinkMessage[];
  interrupted: boolean;
  attempts: number;
}

export class NetlinkSocket implements Disposable {
  readonly #fd: number;
  readonly #poll: { stop(): void };
  readonly #waiting: Exchange[] = [];
  #current: Exchange | null = null;
  #timer: NodeJS.Timeout | null = null;
  #sequence = 0;
  #closed = false;

  /**
   * Opens a socket in the namespace at `netns`, or in the host's own for null.
   * @param protocol NETLINK_ROUTE unless said otherwise
   * @throws Error with `code`: ENOENT when the namespace does not exist
   */
  constructor(
    readonly netns: string | null,
    protocol: number = NETLINK_ROUTE,
  ) {
    const { fd, poll } = openPolled(netns, protocol, [], (datagram, error) => this.#receive(datagram, error));
    this.#fd = fd;
    this.#poll = poll;
  }

  /** Sends a request and waits for its ack; gives the messages that came before it. Rejects with NetlinkError. */
  request(request: NetlinkRequest): Promise<NetlinkMessage[]> {
    return this.#enqueue(request, false);
  }

  /** All messages of a dump, from one consistent pass over the kernel's table. Rejects with NetlinkError. */
  dump(request: NetlinkRequest): Promise<NetlinkMessage[]> {
    return this.#enqueue(request, true);
  }

  /** Closes the descriptor; requests still waiting reject with ECANCELED. A second call does nothing. */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#poll.stop();
    if (this.#timer) clearTimeout(this.#timer);
    for (const exchange of [this.#current, ...this.#waiting.splice(0)])
      exchange?.reject(new NetlinkError(exchange.request.type, 'ECANCELED', 'the socket was closed'));
    this.#current = null;
  }

  #enqueue(request: NetlinkRequest, dump: boolean): Promise<NetlinkMessage[]> {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(new NetlinkError(request.type, 'ECANCELED', 'the socket was closed'));
      if (this.#waiting.length >= waitingMax)
        return reject(new NetlinkError(request.type, 'EBUSY', 'too many requests are waiting'));
      this.#waiting.push({ request, dump, resolve, reject, replies: [], interrupted: false, attempts: 0 });
      if (!this.#current) this.#next();
    });
  }

  #next(): void {
    const exchange = this.#waiting.shift() ?? null;
    this.#current = exchange;
    if (exchange) this.#send(exchange);
  }

  #send(exchange: Exchange): void {
    this.#sequence = (this.#sequence + 1) >>> 0 || 1; // 0 is that of notifications
    exchange.attempts += 1;
    exchange.replies.length = 0;
    exchange.interrupted = false;
    const { type, flags, payload } = exchange.request;
    this.#timer = setTimeout(
      () => this.#settle(new NetlinkError(type, 'ETIMEDOUT', 'no answer from the kernel')),
      deadlineMs,
    );
    const mode = exchange.dump ? NLM_F_DUMP : NLM_F_ACK;
    try {
      native().send(this.#fd, formatMessage({ type, flags: flags | mode, payload }, this.#sequence));
    } catch (cause) {
      this.#settle(new NetlinkError(type, (cause as NodeJS.ErrnoException).code ?? 'EIO', null, { cause }));
    }
  }

  #receive(datagram: Buffer | null, error: NodeJS.ErrnoException | null): void {
    if (error) {
      const type = this.#current?.request.type ?? 0;
      // The reply may be what was lost.
      this.#settle(new NetlinkError(type, error.code ?? 'EIO', 'a reply was lost', { cause: error }));
      return;
    }
    assert(datagram);
    for (const message of parseMessages(datagram)) this.#take(message);
  }

  #take(message: NetlinkMessage): void {
    const exchange = this.#current;
    // An answer to a request given up on at its deadline.
    if (!exchange || message.sequence !== this.#sequence) return;
    if (message.flags & NLM_F_DUMP_INTR) exchange.interrupted = true;
    const { type } = exchange.request;
    switch (message.type) {
      case NLMSG_NOOP:
        return;
      case NLMSG_ERROR: {
        const ack = parseAcknowledgement(message);
        return this.#settle(ack.errno === 0 ? null : NetlinkError.from(type, ack));
      }
      case NLMSG_DONE: {
        const done = parseDone(message);
        if (done.errno !== 0) return this.#settle(NetlinkError.from(type, done));
        if (!exchange.interrupted) return this.#settle(null);
        if (exchange.attempts >= dumpAttemptsMax)
          return this.#settle(new NetlinkError(type, 'EINTR', 'the dump was interrupted each time'));
        if (this.#timer) clearTimeout(this.#timer);
        return this.#send(exchange);
      }
      default:
        exchange.replies.push(message);
    }
  }

  #settle(err: Error | null): void {
    const exchange = this.#current;
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    this.#current = null;
    if (exchange) {
      if (err) exchange.reject(err);
      else exchange.resolve(exchange.replies);
    }
    this.#next();
  }
}

/** What a subscriber is told: messages of one datagram, or that some were lost and the whole must be read again. */
export type Notification =
  | { readonly kind: 'messages'; readonly messages: readonly NetlinkMessage[] }
  | { readonly kind: 'lost'; readonly error: NodeJS.ErrnoException };

/**
 * Listens to multicast groups of a namespace until disposed.
 * @param groups group numbers (RTNLGRP_…)
 * @throws Error with `code` when the socket cannot be opened
 */
export function subscribe(
  netns: string | null,
  protocol: number,
  groups: readonly number[],
  listener: (notification: Notification) => void,
): Disposable {
  const { poll } = openPolled(netns, protocol, groups, (datagram, error) => {
    if (datagram) listener({ kind: 'messages', messages: parseMessages(datagram) });
    else if (error) listener({ kind: 'lost', error });
  });
  return { [Symbol.dispose]: () => poll.stop() };
}

function openPolled(
  netns: string | null,
  protocol: number,
  groups: readonly number[],
  onReadable: (datagram: Buffer | null, error: NodeJS.ErrnoException | null) => void,
): { fd: number; poll: { stop(): void } } {
  assert(endianness() === 'LE', 'the netlink codec is little-endian');
  const fd = native().openNetlink(netns, protocol, groups);
  try {
    return { fd, poll: native().poll(fd, onReadable) };
  } catch (err) {
    closeSync(fd);
    throw err;
  }
}
