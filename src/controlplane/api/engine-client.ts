/**
 * Small JSON calls to the local engine, for what must be merged with the swarm's state: bounded answers, one
 * connection each (a pooled one could be half dead after an engine restart).
 */
import { request } from 'node:http';
import { engineDown } from '../dockerd/passthrough.js';
import { assumedEngine } from './versions.js';
import type { EngineIdentity } from './versions.js';

const answerLimitBytes = 64 * 1024 * 1024;
/** How long the engine may take for a small answer. */
const timeoutMs = 20_000;
/** How long an identity is believed before `_ping` is asked again. */
const identityTtlMs = 10_000;

export interface EngineAnswer {
  readonly status: number;
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly body: Buffer;
}

export class EngineClient {
  #identity = assumedEngine;
  #identityAtMs = -Infinity;
  #asking: Promise<EngineIdentity> | undefined;

  constructor(
    readonly socketPath: string,
    private readonly nowMs: () => number,
  ) {}

  /** One call. Throws a retryable OutsideError when the engine cannot be reached. */
  async call(
    method: string,
    path: string,
    body?: Buffer,
    signal?: AbortSignal,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<EngineAnswer> {
    const limit = AbortSignal.timeout(timeoutMs);
    try {
      return await new Promise<EngineAnswer>((resolve, reject) => {
        const call = request({
          socketPath: this.socketPath,
          method,
          path,
          agent: false,
          signal: signal ? AbortSignal.any([signal, limit]) : limit,
          headers: {
            ...headers,
            Host: 'docker',
            ...(body ? { 'Content-Type': 'application/json', 'Content-Length': body.length } : {}),
          },
        });
        call.on('error', reject);
        call.on('response', (answer) => {
          const chunks: Buffer[] = [];
          let size = 0;
          answer.on('error', reject);
          answer.on('data', (chunk: Buffer) => {
            size += chunk.length;
            if (size > answerLimitBytes) answer.destroy(new Error('answer too large'));
            else chunks.push(chunk);
          });
          answer.on('end', () =>
            resolve({
              status: answer.statusCode ?? 0,
              headers: answer.headers,
              body: Buffer.concat(chunks),
            }),
          );
        });
        call.end(body);
      });
    } catch (cause) {
      throw engineDown(cause);
    }
  }

  /** A call whose answer must be a 2xx JSON document; undefined for any other status. */
  async get<T>(
    path: string,
    signal?: AbortSignal,
    headers?: Readonly<Record<string, string>>,
  ): Promise<T | undefined> {
    const answer = await this.call('GET', path, undefined, signal, headers);
    if (answer.status < 200 || answer.status > 299) return undefined;
    return JSON.parse(answer.body.toString('utf8')) as T;
  }

  /** What is behind this front. Never throws: the last answer is good while the engine is down. */
  async identity(fresh = false): Promise<EngineIdentity> {
    if (!fresh && this.nowMs() - this.#identityAtMs < identityTtlMs) return this.#identity;
    this.#asking ??= this.#ask().finally(() => (this.#asking = undefined));
    return this.#asking;
  }

  async #ask(): Promise<EngineIdentity> {
    try {
      const version = await this.get<EngineVersion>('/version');
      const ping = await this.call('HEAD', '/_ping');
      const builder = ping.headers['builder-version'];
      if (version) {
        this.#identity = {
          version: version.Version ?? assumedEngine.version,
          maxMinor: minorOf(version.ApiVersion) ?? assumedEngine.maxMinor,
          minMinor: minorOf(version.MinAPIVersion) ?? assumedEngine.minMinor,
          os: version.Os ?? assumedEngine.os,
          experimental: version.Experimental === true,
          ...(typeof builder === 'string' ? { builderVersion: builder } : {}),
        };
        this.#identityAtMs = this.nowMs();
      }
    } catch {
      // The engine is away: what it last was still describes this front best, and is asked again next time.
    }
    return this.#identity;
  }
}

interface EngineVersion {
  readonly Version?: string;
  readonly ApiVersion?: string;
  readonly MinAPIVersion?: string;
  readonly Os?: string;
  readonly Experimental?: boolean;
}

const minorOf = (version: string | undefined): number | undefined => {
  const minor = /^1\.(\d+)$/.exec(version ?? '')?.[1];
  return minor === undefined ? undefined : Number(minor);
};
