/**
 * One request as a handler sees it, and the replies it can give. Reading a body is bounded, and decode errors carry
 * the words of the advertised engine version (28 puts `invalid JSON: ` in front and takes an empty body for `{}`).
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { SkepError } from '../../model/errors.js';
import { systemClock } from '../../runtime/clock.js';
import { Deadline } from '../../runtime/deadline.js';
import { decodeAs } from './convert/codec.js';
import type { Codec } from './convert/codec.js';
import { JsonObject, parseJson } from './convert/json.js';
import type { Json } from './convert/json.js';
import { faultOfMediaType } from './media-type.js';
import { isModern } from './versions.js';
import type { EngineIdentity, Minor } from './versions.js';

/** Largest body of a swarm request: a config of 1 MB in base64 fits several times over. */
const bodyLimitBytes = 8 * 1024 * 1024;

export class ApiRequest {
  constructor(
    readonly http: IncomingMessage,
    readonly reply: ServerResponse,
    readonly minor: Minor,
    readonly path: string,
    readonly query: URLSearchParams,
    /** What `{id}` in the route matched, percent-decoded. */
    readonly params: readonly string[],
    readonly engine: EngineIdentity,
    /** Aborts when the client has gone away. */
    readonly signal: AbortSignal,
    /** Longest that the body may take to come. */
    private readonly bodyMsMax: number,
  ) {}

  get modern(): boolean {
    return isModern(this.engine);
  }

  param(index: number): string {
    return this.params[index] ?? '';
  }

  /** The whole body; throws `invalidArgument` above the limit. */
  async body(limitBytes = bodyLimitBytes): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let size = 0;
    using deadline = new Deadline(systemClock, this.bodyMsMax);
    const late = new Promise<never>((_, reject) =>
      deadline.signal.addEventListener('abort', () =>
        reject(new SkepError('invalidArgument', 'the request body did not come in time')),
      ),
    );
    const body = (this.http as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
    try {
      for (;;) {
        const next = await Promise.race([body.next(), late]);
        if (next.done) return Buffer.concat(chunks);
        size += next.value.length;
        if (size > limitBytes)
          throw new SkepError('invalidArgument', `request body is larger than ${limitBytes} bytes`);
        chunks.push(next.value);
      }
    } catch (err) {
      // What is still to come of it is not waited for.
      if (!this.reply.headersSent) this.reply.setHeader('Connection', 'close');
      throw err;
    }
  }

  async decode<T>(codec: Codec<T>): Promise<T> {
    if (this.modern) this.requireJson();
    return this.decodeBody(codec, await this.body());
  }

  decodeBody<T>(codec: Codec<T>, body: Buffer): T {
    return decodeAs(
      codec,
      this.#parse(body.toString('utf8')),
      this.minor,
      this.modern ? 'invalid JSON: ' : '',
      this.engine.maxMinor,
    );
  }

  /** Throws `invalidArgument` for a body that is not said to be JSON; 20.10 asked for that on a few routes only. */
  requireJson(): void {
    const headers = this.http.headers;
    const type = headers['content-type'] ?? '';
    const isEmpty = headers['transfer-encoding'] === undefined && (headers['content-length'] ?? '0') === '0';
    if (type === '' && isEmpty) return;
    const fault = faultOfMediaType(type, this.modern);
    if (fault !== undefined) throw new SkepError('invalidArgument', fault);
  }

  /** What an answer has of `value`, as the engine's version writes it. */
  shown<T>(codec: Codec<T>, value: T): unknown {
    return codec.encode(value, this.engine.maxMinor);
  }

  #parse(body: string): Json {
    if (this.modern) {
      if (body === '') return new JsonObject([]);
      const truncated = 'unexpected EOF';
      const value = prefixed('invalid JSON: ', () => parseJson(body, { truncated, allowTrailing: true }));
      try {
        parseJson(body, { truncated, allowTrailing: false });
      } catch (cause) {
        throw new SkepError('invalidArgument', 'unexpected content after JSON', { cause });
      }
      return value;
    }
    // 20.10 reads with a Decoder: white space alone is EOF too, and what follows the value is not looked at.
    if (body.trim() === '') throw new SkepError('invalidArgument', 'got EOF while reading request body');
    return parseJson(body, { truncated: 'unexpected EOF', allowTrailing: true });
  }

  /** A query flag of the loose kind: empty, 0, no, false and none are false. */
  flag(name: string): boolean {
    return !['', '0', 'no', 'false', 'none'].includes((this.query.get(name) ?? '').trim().toLowerCase());
  }

  /** A query flag of Go's strconv.ParseBool; absent or empty is false. */
  strictFlag(name: string, detailed = true): boolean {
    const value = this.query.get(name) ?? '';
    if (value === '') return false;
    const meaning = parseBool(value);
    if (meaning === undefined)
      throw new SkepError(
        'invalidArgument',
        `invalid value for ${name}: ${value}` +
          (detailed ? `: strconv.ParseBool: parsing ${JSON.stringify(value)}: invalid syntax` : ''),
      );
    return meaning;
  }

  /** `?version=`, the optimistic lock. */
  version(kind: string): number {
    const value = this.query.get('version') ?? '';
    const bad = (reason: string): never => {
      throw new SkepError(
        'invalidArgument',
        `invalid ${kind} version '${value}': strconv.ParseUint: parsing ${JSON.stringify(value)}: ${reason}`,
      );
    };
    if (!/^\d+$/.test(value)) return bad('invalid syntax');
    if (BigInt(value) >= 1n << 64n) return bad('value out of range');
    return Number(value);
  }

  /** The same of a secret or config, where Docker does not say what is wrong. */
  plainVersion(kind: 'secret' | 'config'): number {
    try {
      return this.version(kind);
    } catch (cause) {
      throw new SkepError('invalidArgument', `invalid ${kind} version`, { cause });
    }
  }

  json(status: number, value: unknown): void {
    const body = `${JSON.stringify(value)}\n`;
    this.reply.writeHead(status, {
      'Content-Type': 'application/json',
      'Content-Length': Buffer.byteLength(body),
    });
    this.reply.end(body);
  }

  empty(status: number): void {
    if (status !== 204) this.reply.setHeader('Content-Length', 0);
    this.reply.writeHead(status);
    this.reply.end();
  }
}

/** strconv.ParseBool. */
export function parseBool(value: string): boolean | undefined {
  if (['1', 't', 'T', 'TRUE', 'true', 'True'].includes(value)) return true;
  if (['0', 'f', 'F', 'FALSE', 'false', 'False'].includes(value)) return false;
  return undefined;
}

function prefixed<T>(prefix: string, body: () => T): T {
  try {
    return body();
  } catch (err) {
    if (err instanceof SkepError) throw new SkepError(err.kind, prefix + err.message, { cause: err });
    throw err;
  }
}
