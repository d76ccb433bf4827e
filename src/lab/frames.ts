/**
 * The wire format between `skep lab exec` and a node's agent: one type octet, the payload's length as four octets
 * (big endian), the payload. One connection carries one request; the first frame is the request, the last one is its end.
 */
import assert from 'node:assert';

/** What a frame carries. The numbers are the type octets. */
export const frameTypes = {
  /** To the agent: a JSON {@link AgentRequest}. */
  request: 1,
  /** To the agent: bytes for the command's standard input; an empty payload is its end. */
  stdin: 2,
  /** From the agent: bytes the command wrote. */
  stdout: 3,
  stderr: 4,
  /** From the agent: a JSON {@link AgentReply}, the last frame. */
  reply: 5,
} as const;

export type FrameType = (typeof frameTypes)[keyof typeof frameTypes];

/** Run a command with the node's own network, or wait until a daemon's HTTP socket answers `GET /_ping`. */
export type AgentRequest =
  | { readonly kind: 'exec'; readonly argv: readonly string[] }
  | { readonly kind: 'awaitPing'; readonly socketPath: string; readonly deadlineMs: number };

/** `exitCode` is the command's own; 128 + n after signal n, as a shell says it. `error` says why there was no answer. */
export type AgentReply = { readonly exitCode: number } | { readonly error: string };

export interface Frame {
  readonly type: FrameType;
  readonly payload: Buffer;
}

/** Longest payload; a longer one is a bug or a stranger. */
export const payloadBytesMax = 4 * 1024 * 1024;

const headerBytes = 5;

export function formatFrame(type: FrameType, payload: Buffer): Buffer {
  assert(payload.length <= payloadBytesMax, 'frame too long');
  const header = Buffer.alloc(headerBytes);
  header.writeUInt8(type, 0);
  header.writeUInt32BE(payload.length, 1);
  return Buffer.concat([header, payload]);
}

export const formatJsonFrame = (type: FrameType, value: AgentRequest | AgentReply): Buffer =>
  formatFrame(type, Buffer.from(JSON.stringify(value)));

/** Cuts a byte stream into frames, whatever the chunks it arrives in. */
export class FrameParser {
  #pending: Buffer = Buffer.alloc(0);

  /** The frames completed by `chunk`, in order. Throws on an unknown type or an absurd length. */
  push(chunk: Buffer): Frame[] {
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    const frames: Frame[] = [];
    while (this.#pending.length >= headerBytes) {
      const type = this.#pending.readUInt8(0);
      const length = this.#pending.readUInt32BE(1);
      if (!isFrameType(type) || length > payloadBytesMax)
        throw new Error(`not a frame: type ${type}, ${length} octets`);
      if (this.#pending.length < headerBytes + length) break;
      frames.push({ type, payload: this.#pending.subarray(headerBytes, headerBytes + length) });
      this.#pending = this.#pending.subarray(headerBytes + length);
    }
    return frames;
  }
}

const isFrameType = (value: number): value is FrameType =>
  (Object.values(frameTypes) as number[]).includes(value);
