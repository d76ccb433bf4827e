/**
 * Answers of the host's resolvers, kept for as long as they allow and no longer than the cap. Holds whole messages; a kept
 * one goes out with the asker's id and question (case included) and with its TTLs counted down. Pure: the clock is the
 * caller's.
 */
import { rcodes, ttlOffsets } from './wire.js';
import type { DnsQuery } from './wire.js';

const nxDomain = 3;
/** An answer is asked for again after this, whatever its TTL. */
const keepMsMax = 30_000;

interface Entry {
  readonly response: Buffer;
  readonly storedAtMs: number;
  readonly keepMs: number;
}

export class ForwardCache {
  readonly #entries = new Map<string, Entry>();

  constructor(private readonly entriesMax = 2000) {}

  get size(): number {
    return this.#entries.size;
  }

  /** A kept answer made fit for `query`, or null. */
  get(key: string, query: DnsQuery, nowMs: number): Buffer | null {
    const entry = this.#entries.get(key);
    if (!entry) return null;
    const ageMs = nowMs - entry.storedAtMs;
    if (ageMs >= entry.keepMs || ageMs < 0) {
      this.#entries.delete(key);
      return null;
    }
    const response = asAnswerTo(query, entry.response);
    for (const offset of ttlOffsets(response))
      response.writeUInt32BE(Math.max(0, response.readUInt32BE(offset) - Math.floor(ageMs / 1000)), offset);
    return response;
  }

  /** Keeps answers and authoritative denials that carry a TTL; of failures and truncated answers nothing. */
  set(key: string, response: Buffer, nowMs: number): void {
    const flags = response.readUInt16BE(2);
    const rcode = flags & 0xf;
    if (flags & 0x0200 || (rcode !== rcodes.noError && rcode !== nxDomain)) return;
    const ttlsMs = ttlOffsets(response).map((offset) => response.readUInt32BE(offset) * 1000);
    const keepMs = Math.min(keepMsMax, ...ttlsMs);
    if (ttlsMs.length === 0 || keepMs === 0) return;
    this.#entries.delete(key);
    this.#entries.set(key, { response, storedAtMs: nowMs, keepMs });
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= this.entriesMax) break;
      this.#entries.delete(oldest);
    }
  }
}

/** All of a query that an answer may depend on: everything but the id, the question's name in lower case. */
export function cacheKey(query: DnsQuery, transport: 'udp' | 'tcp'): string {
  const { bytes, questionEnd } = query;
  const question = bytes.toString('latin1', 12, questionEnd - 4).toLowerCase();
  const rest = bytes.toString('latin1', questionEnd - 4);
  return `${transport} ${bytes.toString('latin1', 2, 12)}${question}${rest}`;
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
