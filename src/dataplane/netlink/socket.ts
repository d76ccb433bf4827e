/**
 * Request and reply over a netlink socket that lives in one network namespace. One dump or up to {@link togetherMax} requests
 * are under way at a time, in one datagram; the others wait in order. The kernel answers while it takes them, so waiting
 * costs one turn of the event loop, which those who wait together share.
 * What must stay true: every request settles (ack, errno, lost reply, deadline, or closing of the socket), replies are
 * matched by sequence number, and the descriptor is closed exactly once.
 */
import assert from 'node:assert';
import { closeSync } from 'node:fs';
import { endianness } from 'node:os';
import { native } from '../../runtime/native.js';
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
/** Whose acks fit into the receive buffer with much to spare. */
const togetherMax = 64;

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
  /** Under way, by sequence number. */
  readonly #current = new Map<number, Exchange>();
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
    for (const exchange of [...this.#current.values(), ...this.#waiting.splice(0)])
      exchange.reject(new NetlinkError(exchange.request.type, 'ECANCELED', 'the socket was closed'));
    this.#current.clear();
  }

  #enqueue(request: NetlinkRequest, dump: boolean): Promise<NetlinkMessage[]> {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(new NetlinkError(request.type, 'ECANCELED', 'the socket was closed'));
      if (this.#waiting.length >= waitingMax)
        return reject(new NetlinkError(request.type, 'EBUSY', 'too many requests are waiting'));
      this.#waiting.push({ request, dump, resolve, reject, replies: [], interrupted: false, attempts: 0 });
      if (this.#current.size === 0) this.#next();
    });
  }

  #next(): void {
    const [first] = this.#waiting;
    if (first === undefined) return;
    let count = 1;
    if (!first.dump) while (count < togetherMax && this.#waiting[count]?.dump === false) count += 1;
    this.#send(this.#waiting.splice(0, count));
  }

  #send(exchanges: readonly Exchange[]): void {
    const messages = exchanges.map((exchange) => {
      this.#sequence = (this.#sequence + 1) >>> 0 || 1; // 0 is that of notifications
      exchange.attempts += 1;
      exchange.replies.length = 0;
      exchange.interrupted = false;
      this.#current.set(this.#sequence, exchange);
      const { type, flags, payload } = exchange.request;
      const mode = exchange.dump ? NLM_F_DUMP : NLM_F_ACK;
      return formatMessage({ type, flags: flags | mode, payload }, this.#sequence);
    });
    this.#timer = setTimeout(() => this.#fail('ETIMEDOUT', 'no answer from the kernel'), deadlineMs);
    try {
      native().send(this.#fd, messages.length === 1 ? (messages[0] as Buffer) : Buffer.concat(messages));
    } catch (cause) {
      this.#fail((cause as NodeJS.ErrnoException).code ?? 'EIO', null, cause);
    }
  }

  #receive(datagram: Buffer | null, error: NodeJS.ErrnoException | null): void {
    // The reply may be what was lost.
    if (error) return this.#fail(error.code ?? 'EIO', 'a reply was lost', error);
    assert(datagram);
    for (const message of parseMessages(datagram)) this.#take(message);
  }

  #take(message: NetlinkMessage): void {
    const { sequence } = message;
    const exchange = this.#current.get(sequence);
    // An answer to a request given up on at its deadline.
    if (!exchange) return;
    if (message.flags & NLM_F_DUMP_INTR) exchange.interrupted = true;
    const { type } = exchange.request;
    switch (message.type) {
      case NLMSG_NOOP:
        return;
      case NLMSG_ERROR: {
        const ack = parseAcknowledgement(message);
        return this.#settle(sequence, exchange, ack.errno === 0 ? null : NetlinkError.from(type, ack));
      }
      case NLMSG_DONE: {
        const done = parseDone(message);
        if (done.errno !== 0) return this.#settle(sequence, exchange, NetlinkError.from(type, done));
        if (!exchange.interrupted) return this.#settle(sequence, exchange, null);
        if (exchange.attempts >= dumpAttemptsMax) {
          const err = new NetlinkError(type, 'EINTR', 'the dump was interrupted each time');
          return this.#settle(sequence, exchange, err);
        }
        if (this.#timer) clearTimeout(this.#timer);
        this.#current.delete(sequence);
        return this.#send([exchange]);
      }
      default:
        exchange.replies.push(message);
    }
  }

  /** All that are under way. */
  #fail(code: string, text: string | null, cause?: unknown): void {
    for (const [sequence, exchange] of [...this.#current])
      this.#settle(sequence, exchange, new NetlinkError(exchange.request.type, code, text, { cause }));
  }

  #settle(sequence: number, exchange: Exchange, err: Error | null): void {
    this.#current.delete(sequence);
    if (err) exchange.reject(err);
    else exchange.resolve(exchange.replies);
    if (this.#current.size > 0) return;
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
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
