/**
 * Asks the host's resolvers what the state does not know. Bounded: so many questions under way at once, of all askers and of
 * one, one try of two seconds per resolver, a cache of so many entries. Questions alike share one try; an answer that UDP
 * cut short is asked for again by TCP. Runs in the host's namespace, so the resolvers are reached as the host reaches them.
 * What one asker may start in one turn of the event loop is bounded as well, for each start takes longer than an answer
 * from the state: those of others come in between.
 */
import { randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { isIp } from '../../model/addresses.js';
import type { Clock } from '../../runtime/clock.js';
import { asAnswerTo, cacheKey, ForwardCache, repeatsQuestion } from './forward-cache.js';
import type { Upstream } from './upstream-sockets.js';
import { UpstreamSockets } from './upstream-sockets.js';
import type { DnsQuery, Rcode, Transport } from './wire.js';
import { fitUdp, formatFailure } from './wire.js';

/** Deadline of one try. */
export const tryMs = 2000;
const underWayMax = 512;
/** Of one asker's, those that wait for another's try included. */
const ownUnderWayMax = 128;
const ownStartsPerTurn = 4;
/** resolv.conf(5): MAXNS. */
const upstreamsMax = 3;
const resolvConfMaxAgeMs = 5000;

/** The nameservers of a resolv.conf(5); the first three, as libc has it. */
export function parseResolvConf(text: string): Upstream[] {
  return text
    .split('\n')
    .map((line) => /^nameserver\s+(\S+)/.exec(line)?.[1] ?? '')
    .filter((address) => isIp(address.replace(/%.*$/, '')))
    .slice(0, upstreamsMax)
    .map((address) => ({ address, port: 53 }));
}

/**
 * Reads the host's resolvers, at most every few seconds; an unreadable file is an empty one.
 * @param path of a resolv.conf(5)
 */
export function hostUpstreams(clock: Clock, path: string): () => readonly Upstream[] {
  let read: { readonly atMs: number; readonly upstreams: readonly Upstream[] } | null = null;
  return () => {
    const nowMs = clock.nowMs();
    if (!read || nowMs - read.atMs > resolvConfMaxAgeMs || nowMs < read.atMs) {
      let text = '';
      try {
        text = readFileSync(path, 'utf8');
      } catch {
        // The answer is SERVFAIL until the host has resolvers again.
      }
      read = { atMs: nowMs, upstreams: parseResolvConf(text) };
    }
    return read.upstreams;
  };
}

/** An answer; null: no resolver gave one; `busy`: none was asked. */
type Outcome = Buffer | null | 'busy';

export class Forwarder implements Disposable {
  readonly #cache = new ForwardCache();
  readonly #sockets = new UpstreamSockets();
  readonly #underWay = new Map<string, Promise<Buffer | null>>();
  readonly #waiting = new Map<string, number>();
  readonly #startedThisTurn = new Map<string, number>();

  constructor(
    private readonly upstreams: () => readonly Upstream[],
    private readonly clock: Clock,
  ) {}

  /**
   * The answer for `query`; `unanswered` when no resolver gives one in time, SERVFAIL when too many are being asked. Never
   * rejects.
   * @param asker whoever asks, by a name of the caller's choice: one asker's questions cannot keep another's from being asked
   */
  async forward(query: DnsQuery, transport: Transport, asker: string, unanswered: Rcode): Promise<Buffer> {
    const key = cacheKey(query);
    const kept = this.#cache.get(key, query, this.clock.nowMs());
    const response = kept ?? (await this.#counted(asker, () => this.#ask(key, query, transport, asker)));
    if (response === null) return formatFailure(query, unanswered);
    if (response === 'busy') return formatFailure(query, 'serverFailure');
    const answer = kept ?? asAnswerTo(query, response);
    return transport === 'udp' ? fitUdp(query, answer) : answer;
  }

  /** Closes what resolvers are asked from, in so far as no answer is waited for. */
  [Symbol.dispose](): void {
    this.#sockets[Symbol.dispose]();
  }

  async #counted(asker: string, ask: () => Promise<Outcome>): Promise<Outcome> {
    const before = this.#waiting.get(asker) ?? 0;
    if (before >= ownUnderWayMax) return 'busy';
    this.#waiting.set(asker, before + 1);
    try {
      return await ask();
    } finally {
      const left = (this.#waiting.get(asker) ?? 1) - 1;
      if (left > 0) this.#waiting.set(asker, left);
      else this.#waiting.delete(asker);
    }
  }

  async #ask(key: string, query: DnsQuery, transport: Transport, asker: string): Promise<Outcome> {
    if (!this.#underWay.has(key)) await this.#turn(asker);
    let asking = this.#underWay.get(key);
    if (!asking) {
      if (this.#underWay.size >= underWayMax) return 'busy';
      asking = this.#askUpstreams(key, query, transport, asker).finally(() => this.#underWay.delete(key));
      this.#underWay.set(key, asking);
    }
    return asking;
  }

  /** Resolves when this asker may start one more. */
  async #turn(asker: string): Promise<void> {
    for (;;) {
      if (this.#startedThisTurn.size === 0) setImmediate(() => this.#startedThisTurn.clear());
      const started = this.#startedThisTurn.get(asker) ?? 0;
      this.#startedThisTurn.set(asker, started + 1);
      if (started < ownStartsPerTurn) return;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** The first resolver's whole answer that came in time, or null. */
  async #askUpstreams(
    key: string,
    query: DnsQuery,
    transport: Transport,
    asker: string,
  ): Promise<Buffer | null> {
    for (const upstream of this.upstreams()) {
      const response = await askUpstream(this.#sockets, upstream, query, transport);
      if (!response) continue;
      try {
        this.#cache.set(key, response, this.clock.nowMs(), asker);
        return response;
      } catch {
        // Cut short: as good as none.
      }
    }
    return null;
  }
}

/** By the transport of the client; by TCP after all when the answer did not fit. The cut answer is better than none. */
async function askUpstream(
  sockets: UpstreamSockets,
  upstream: Upstream,
  query: DnsQuery,
  transport: Transport,
): Promise<Buffer | null> {
  if (transport === 'tcp') return askByTcp(upstream, query);
  const response = await askByUdp(sockets, upstream, query);
  const isCut = response !== null && (response.readUInt16BE(2) & 0x0200) !== 0;
  return isCut ? ((await askByTcp(upstream, query)) ?? response) : response;
}

/** The query under an id of our own, which with the socket's port is what a forged answer would have to guess. */
function underOwnId(query: DnsQuery): Buffer {
  const bytes = Buffer.from(query.bytes);
  bytes.writeUInt16BE(randomInt(0x10000), 0);
  return bytes;
}

/** One question by UDP; null after the deadline or an error. */
function askByUdp(sockets: UpstreamSockets, upstream: Upstream, query: DnsQuery): Promise<Buffer | null> {
  const question = underOwnId(query);
  return sockets.ask(upstream, question, (received) => answers(question, query, received), tryMs);
}

/** Whether it is what was asked for: under the id of our own, with the question repeated. */
const answers = (question: Buffer, query: DnsQuery, received: Buffer): boolean =>
  received.length > 12 &&
  received.readUInt16BE(0) === question.readUInt16BE(0) &&
  repeatsQuestion(query, received);

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
      finish(answers(question, query, response) ? response : null);
    });
  });
}

/** A message as TCP carries it: behind its length. */
export function framed(message: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length);
  return Buffer.concat([length, message]);
}
