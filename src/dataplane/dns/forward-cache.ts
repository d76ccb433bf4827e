/**
 * Answers of the host's resolvers, kept for as long as they allow and no longer than the cap. Holds whole messages; a kept
 * one goes out with the asker's id and question (case included) and with its TTLs counted down. Pure: the clock is the
 * caller's.
 */
import { rcodes, ttlOffsets } from './wire.js';
import type { DnsQuery } from './wire.js';

/** An answer is asked for again after this, whatever its TTL. */
const keepMsMax = 30_000;

interface Entry {
  readonly response: Buffer;
  readonly storedAtMs: number;
  readonly keepMs: number;
  readonly owner: string;
}

export class ForwardCache {
  readonly #entries = new Map<string, Entry>();
  /** Keys by who asked first, oldest first: whoever asks for many names pushes out his own. */
  readonly #owned = new Map<string, Set<string>>();

  constructor(
    private readonly entriesMax = 4000,
    private readonly ownedMax = 500,
  ) {}

  get size(): number {
    return this.#entries.size;
  }

  /** A kept answer made fit for `query`, or null. */
  get(key: string, query: DnsQuery, nowMs: number): Buffer | null {
    const entry = this.#entries.get(key);
    if (!entry) return null;
    const ageMs = nowMs - entry.storedAtMs;
    if (ageMs >= entry.keepMs || ageMs < 0) {
      this.#drop(key);
      return null;
    }
    const response = asAnswerTo(query, entry.response);
    for (const offset of ttlOffsets(response))
      response.writeUInt32BE(Math.max(0, response.readUInt32BE(offset) - Math.floor(ageMs / 1000)), offset);
    return response;
  }

  /**
   * Keeps answers and authoritative denials that carry a TTL; of failures and truncated answers nothing. Throws when the
   * message is cut short.
   * @param owner whose share of the cache it takes
   */
  set(key: string, response: Buffer, nowMs: number, owner: string): void {
    const flags = response.readUInt16BE(2);
    const rcode = flags & 0xf;
    const ttlsMs = ttlOffsets(response).map((offset) => response.readUInt32BE(offset) * 1000);
    if (flags & 0x0200 || (rcode !== rcodes.noError && rcode !== rcodes.unknownName)) return;
    const keepMs = Math.min(keepMsMax, ...ttlsMs);
    if (ttlsMs.length === 0 || keepMs === 0) return;
    this.#drop(key);
    const owned = this.#owned.get(owner) ?? new Set();
    this.#owned.set(owner, owned.add(key));
    this.#entries.set(key, { response, storedAtMs: nowMs, keepMs, owner });
    if (owned.size > this.ownedMax) this.#dropOldest(owned);
    if (this.#entries.size > this.entriesMax) this.#dropOldest(this.#entries.keys());
  }

  #dropOldest(keys: Iterable<string>): void {
    for (const oldest of keys) return this.#drop(oldest);
  }

  #drop(key: string): void {
    const entry = this.#entries.get(key);
    if (!entry) return;
    this.#entries.delete(key);
    const owned = this.#owned.get(entry.owner);
    owned?.delete(key);
    if (owned?.size === 0) this.#owned.delete(entry.owner);
  }
}

/** All of a query that an answer may depend on: everything but the id, the question's name in lower case. */
export function cacheKey(query: DnsQuery): string {
  const { bytes, questionEnd } = query;
  const question = bytes.toString('latin1', 12, questionEnd - 4).toLowerCase();
  const rest = bytes.toString('latin1', questionEnd - 4);
  return `${bytes.toString('latin1', 2, 12)}${question}${rest}`;
}

/** A copy of `response` with the id and the question of `query`, which it must be an answer to. */
export function asAnswerTo(query: DnsQuery, response: Buffer): Buffer {
  const copy = Buffer.from(response);
  query.bytes.copy(copy, 0, 0, 2);
  query.bytes.copy(copy, 12, 12, query.questionEnd);
  return copy;
}

/** True when `response` repeats the question of `query`: same name whatever the case, type and class. */
export function repeatsQuestion(query: DnsQuery, response: Buffer): boolean {
  const question = (message: Buffer): string =>
    message.toString('latin1', 12, query.questionEnd - 4).toLowerCase();
  return (
    response.length >= query.questionEnd &&
    response.readUInt16BE(4) === 1 &&
    (response.readUInt16BE(2) & 0x8000) !== 0 &&
    question(response) === question(query.bytes) &&
    response.compare(
      query.bytes,
      query.questionEnd - 4,
      query.questionEnd,
      query.questionEnd - 4,
      query.questionEnd,
    ) === 0
  );
}
