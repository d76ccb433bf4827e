/**
 * Commands inside a node, from this machine: the caller's side of the agent's protocol, over the relay's unix socket.
 * A node that is down or still booting shows as a connection that fails or ends without a reply: a retryable OutsideError.
 */
import { connect } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { OutsideError } from '../model/errors.js';
import { FrameParser, formatFrame, formatJsonFrame, frameTypes } from './frames.js';
import type { AgentReply, AgentRequest } from './frames.js';

/** Where a command's streams go. Without `stdin` the command sees end of file. */
export interface CommandStreams {
  readonly stdin?: Readable;
  readonly stdout: Writable;
  readonly stderr: Writable;
}

const stdinChunkBytesMax = 1024 * 1024;

/**
 * Sends one request to the agent behind `socketPath` and returns its reply; an aborted signal ends the command.
 * Throws OutsideError when the node cannot be reached or goes away (a power cut, for instance).
 */
export function callAgent(
  socketPath: string,
  request: AgentRequest,
  streams?: CommandStreams,
  signal?: AbortSignal,
): Promise<AgentReply> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path: socketPath });
    const parser = new FrameParser();
    let reply: AgentReply | undefined;
    const abort = (): void => void socket.destroy(signal?.reason as Error);
    if (signal?.aborted) abort();
    signal?.addEventListener('abort', abort, { once: true });
    const send = (bytes: Buffer): boolean => !socket.destroyed && socket.write(bytes);

    socket.once('connect', () => {
      send(formatJsonFrame(frameTypes.request, request));
      const end = (): boolean => send(formatFrame(frameTypes.stdin, Buffer.alloc(0)));
      const input = streams?.stdin;
      if (!input) return void end();
      input.on('data', (chunk: Buffer | string) => {
        const bytes = Buffer.from(chunk as string);
        let room = true;
        for (let at = 0; at < bytes.length; at += stdinChunkBytesMax)
          room = send(formatFrame(frameTypes.stdin, bytes.subarray(at, at + stdinChunkBytesMax)));
        if (!room) {
          input.pause();
          socket.once('drain', () => input.resume());
        }
      });
      input.once('end', end);
    });
    socket.on('data', (chunk) => {
      for (const { type, payload } of parser.push(chunk)) {
        if (type === frameTypes.reply) reply = JSON.parse(payload.toString()) as AgentReply;
        const output = type === frameTypes.stdout ? streams?.stdout : streams?.stderr;
        if (type !== frameTypes.stdout && type !== frameTypes.stderr) continue;
        if (output && !output.write(payload)) {
          socket.pause();
          output.once('drain', () => socket.resume());
        }
      }
    });
    let failure: Error | undefined;
    // Whoever reads the output may stop before its end, as `head` does: the command is then of no more use.
    const unread = (): void => {
      outputLost = true;
      socket.destroy();
    };
    let outputLost = false;
    for (const output of [streams?.stdout, streams?.stderr]) output?.on('error', unread);
    socket.once('error', (err) => (failure = err));
    socket.once('close', () => {
      signal?.removeEventListener('abort', abort);
      streams?.stdin?.pause();
      // Not before: one more write may still fail.
      setImmediate(() => {
        for (const output of [streams?.stdout, streams?.stderr]) output?.off('error', unread);
      });
      if (reply) resolve(reply);
      else if (signal?.aborted) reject(signal.reason as Error);
      else if (outputLost)
        reject(
          new OutsideError('nobody reads the output any more', false, {
            advice: {
              means: 'What the output went to has ended, so the command in the node was ended, too.',
              todo: 'If the command was to go on, send its output to a file.',
            },
          }),
        );
      else
        reject(
          new OutsideError(`the node does not answer (${failure?.message ?? 'connection lost'})`, true, {
            advice: {
              means:
                'Its power was cut, it has stopped, or it still boots. What ran in it has ended if it is off.',
              todo: '"skep lab status" says whether it runs, "skep lab logs" with its name what it said.',
            },
          }),
        );
    });
  });
}

const retryGapMs = 100;

/**
 * Waits until the HTTP daemon behind `guestSocket` inside the node answers; a node that still boots is waited for too, one
 * that `isRunning` calls dead is not.
 */
export async function awaitPing(
  socketPath: string,
  guestSocket: string,
  deadlineMs: number,
  isRunning: () => boolean,
): Promise<void> {
  const end = Date.now() + deadlineMs;
  for (;;) {
    const leftMs = Math.max(0, end - Date.now());
    try {
      const request: AgentRequest = { kind: 'awaitPing', socketPath: guestSocket, deadlineMs: leftMs };
      const reply = await callAgent(socketPath, request, undefined, AbortSignal.timeout(leftMs + 10_000));
      if ('error' in reply) throw new OutsideError(reply.error, false);
      return;
    } catch (err) {
      if (!(err instanceof OutsideError && err.retryable) || leftMs === 0) throw err;
      if (!isRunning()) throw new OutsideError('the machine has stopped', false, { cause: err });
      await delay(retryGapMs);
    }
  }
}
