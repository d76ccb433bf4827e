/**
 * Asks the host's resolvers what the state does not know. Bounded: so many questions under way at once, one try of two
 * seconds per resolver, a cache of so many entries. Questions alike share one try. Runs in the host's namespace, so the
 * resolvers are reached as the host reaches them.
 */
import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { familyOf, isIp } from '../../model/addresses.js';
import type { Clock } from '../../runtime/clock.js';
import { asAnswerTo, cacheKey, ForwardCache, repeatsQuestion } from './forward-cache.js';
import { formatFailure } from './wire.js';
import type { DnsQuery } from './wire.js';

/** Deadline of one try. */
export const tryMs = 2000;
const underWayMax = 512;
/** resolv.conf(5): MAXNS. */
const upstreamsMax = 3;
const resolvConfMaxAgeMs = 5000;

export interface Upstream {
  readonly address: string;
  readonly port: number;
}

/** The nameservers of a resolv.conf(5); the first three, as libc has it. */
export function parseResolvConf(text: string): Upstream[] {
  return text
    .split('\n')
    .map((line) => /^nameserver\s+(\S+)/.exec(line)?.[1] ?? '')
    .filter((address) => isIp(address.replace(/%.*$/, '')))
    .slice(0, upstreamsMax)
    .map((address) => ({ address, port: 53 }));
}

/** Reads /etc/resolv.conf, at most every few seconds; an unreadable file is an empty one. */
export function hostUpstreams(clock: Clock): () => readonly Upstream[] {
  let read: { readonly atMs: number; readonly upstreams: readonly Upstream[] } | null = null;
  return () => {
    const nowMs = clock.nowMs();
    if (!read || nowMs - read.atMs > resolvConfMaxAgeMs || nowMs < read.atMs) {
      let text = '';
      try {
        text = readFileSync('/etc/resolv.conf', 'utf8');
      } catch {
        // The answer is SERVFAIL until the host has resolvers again.
      }
      read = { atMs: nowMs, upstreams: parseResolvConf(text) };
    }
    return read.upstreams;
  };
}

export class Forwarder {
  readonly #cache = new ForwardCache();
  readonly #underWay = new Map<string, Promise<Buffer | null>>();

  constructor(
    private readonly upstreams: () => readonly Upstream[],
    private readonly clock: Clock,
  ) {}

  /** The answer for `query`, SERVFAIL when no resolver gives one in time or too many are being asked. Never rejects. */
  async forward(query: DnsQuery, transport: 'udp' | 'tcp'): Promise<Buffer> {
    const key = cacheKey(query, transport);
    const kept = this.#cache.get(key, query, this.clock.nowMs());
    if (kept) return kept;
    let asking = this.#underWay.get(key);
    if (!asking) {
      if (this.#underWay.size >= underWayMax) return formatFailure(query, 'serverFailure');
      asking = this.#ask(key, query, transport).finally(() => this.#underWay.delete(key));
      this.#underWay.set(key, asking);
    }
    const response = await asking;
    return response ? asAnswerTo(query, response) : formatFailure(query, 'serverFailure');
  }

  /** The first resolver's answer that came in time, or null. */
  async #ask(key: string, query: DnsQuery, transport: 'udp' | 'tcp'): Promise<Buffer | null> {
    for (const upstream of this.upstreams()) {
      const response = await (transport === 'udp' ? askByUdp : askByTcp)(upstream, query);
      if (!response) continue;
      try {
        this.#cache.set(key, response, this.clock.nowMs());
        return response;
      } catch {
        // Cut short: as good as none.
      }
    }
    return null;
  }
}

/** The query under an id of our own, which with the socket's random port is what a forged answer would have to guess. */
function underOwnId(query: DnsQuery): Buffer {
  const bytes = Buffer.from(query.bytes);
  bytes.writeUInt16BE(randomInt(0x10000), 0);
  return bytes;
}

/** One question over a socket of its own; null after the deadline or an error. */
function askByUdp({ address, port }: Upstream, query: DnsQuery): Promise<Buffer | null> {
  return new Promise((resolve) => {
    const socket = createSocket(familyOf(address) === 4 ? 'udp4' : 'udp6');
    const question = underOwnId(query);
    let done = false;
    const finish = (response: Buffer | null): void => {
      if (done) return;
      done = true;
      clearTimeout(timer);
      socket.close();
      resolve(response);
    };
    const timer = setTimeout(() => finish(null), tryMs);
    socket.on('error', () => finish(null));
    socket.on('message', (response) => {
      // A connected socket hears that resolver alone; a late or forged answer is passed over.
      const ours = response.length > 12 && response.readUInt16BE(0) === question.readUInt16BE(0);
      if (ours && repeatsQuestion(query, response)) finish(response);
    });
    socket.connect(port, address, () => {
      if (!done) socket.send(question, (err) => err && finish(null));
    });
  });
}

/** As {@link askByUdp}, for clients that came by TCP. */
function askByTcp({ address, port }: Upstream, query: DnsQuery): Promise<Buffer | null> {
  return new Promise((resolve) => {
    const question = underOwnId(query);
    const socket = connect({ host: address, port });
    let received = Buffer.alloc(0);
    const finish = (response: Buffer | null): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(response);
    };
    const timer = setTimeout(() => finish(null), tryMs);
    socket.on('error', () => finish(null));
    socket.on('close', () => finish(null));
    socket.on('connect', () => socket.write(framed(question)));
    socket.on('data', (data) => {
      received = Buffer.concat([received, data]);
      if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return;
      const response = received.subarray(2, 2 + received.readUInt16BE(0));
      const ours = response.length > 12 && response.readUInt16BE(0) === question.readUInt16BE(0);
      finish(ours && repeatsQuestion(query, response) ? response : null);
    });
  });
}

/** A message as TCP carries it: behind its length. */
export function framed(message: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length);
  return Buffer.concat([length, message]);
}
