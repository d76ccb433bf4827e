/**
 * A byte stream over a call that goes both ways: what a TCP connection would be between the two. Each direction ends by
 * itself, flow control reaches from the reader of the one end to the writer of the other, and an end that comes without
 * having been said is an error. A stream is destroyed when both directions have ended; before that it is cut.
 */
import { Duplex } from 'node:stream';
import { status } from '@grpc/grpc-js';
import type { ClientDuplexStream, ServerDuplexStream } from '@grpc/grpc-js';
import { SkepError } from '../../model/errors.js';
import type { TunnelMessage } from './messages.js';

/** Of one message; a reader may have sixteen of them in front of it, as has a writer. */
const pieceBytesMax = 32 * 1024;
/** How long the server may take to hear that all has been said. */
const farewellMsMax = 5_000;

type ClientCall = ClientDuplexStream<TunnelMessage, TunnelMessage>;
type ServerCall = ServerDuplexStream<TunnelMessage, TunnelMessage>;

const nothing: TunnelMessage = { offerId: '', nodeId: '', data: Buffer.alloc(0), end: false };
export const tunnelMessage = (fields: Partial<TunnelMessage>): TunnelMessage => ({ ...nothing, ...fields });

/** After any of these a writer that waits need not wait longer. */
const progress = ['drain', 'end', 'close', 'error', 'cancelled'] as const;

export class TunnelStream extends Duplex {
  /** The other end has said that it says no more. */
  #hasEnded = false;
  /** The other end does not listen any more. */
  #isGone = false;
  /** Nothing can be sent by the call, not even its end. */
  #isOver = false;

  /** @param lost the error of a stream whose other end goes away in the middle of it */
  constructor(
    private readonly call: ClientCall | ServerCall,
    private readonly lost: () => Error,
  ) {
    super({ allowHalfOpen: true });
    call.on('data', (message: TunnelMessage) => {
      if (message.data.length > 0 && !this.#hasEnded && !this.push(message.data)) call.pause();
      if (!message.end || this.#hasEnded) return;
      this.#hasEnded = true;
      this.push(null);
    });
    const gone = (): void => {
      this.#isGone = true;
      if (!this.#hasEnded && !this.destroyed) this.destroy(this.lost());
    };
    // What came before is still in front of the reader when the call ends in order.
    const over = (): void => {
      this.#isOver = true;
      gone();
    };
    call.on('end', gone);
    for (const event of ['error', 'close', 'cancelled']) call.on(event, over);
  }

  override _read(): void {
    this.call.resume();
  }

  override _write(chunk: Buffer, _: BufferEncoding, done: (err?: Error | null) => void): void {
    const send = (at: number): void => {
      // To an end that says no more and is gone, there is nothing to say: what it said is still to be read.
      if (this.#isGone || at >= chunk.length) return done();
      const isRoom = this.call.write(tunnelMessage({ data: chunk.subarray(at, at + pieceBytesMax) }));
      if (isRoom) return send(at + pieceBytesMax);
      const go = (): void => {
        for (const event of progress) this.call.off(event, go);
        send(at + pieceBytesMax);
      };
      for (const event of progress) this.call.on(event, go);
    };
    send(0);
  }

  override _final(done: () => void): void {
    if (!this.#isGone) this.call.write(tunnelMessage({ end: true }));
    done();
  }

  override _destroy(err: Error | null, done: (err: Error | null) => void): void {
    if (!this.#isOver) this.#leave(err === null && this.writableFinished);
    done(err);
  }

  /** @param inOrder all that was to be said is on its way, and is not to be overtaken by a cut */
  #leave(inOrder: boolean): void {
    const { call } = this;
    call.resume();
    if ('cancel' in call) {
      if (!inOrder) return call.cancel();
      call.end();
      const late = setTimeout(() => call.cancel(), farewellMsMax);
      call.once('close', () => clearTimeout(late));
    } else if (inOrder) call.end();
    else call.emit('error', { code: status.CANCELLED, details: 'the connection was cut' });
  }
}

/**
 * The first message of a call, after which nothing is read before a {@link TunnelStream} takes over. Rejects when the call
 * ends or the signal aborts before.
 */
export function firstTunnelMessage(
  call: ClientCall | ServerCall,
  signal: AbortSignal,
): Promise<TunnelMessage> {
  // Whoever takes over may come a moment later than an end.
  call.on('error', () => undefined);
  return new Promise((resolve, reject) => {
    const settle = (act: () => void): void => {
      call.pause();
      call.off('data', onData);
      call.off('error', onError);
      call.off('end', onEnd);
      call.off('cancelled', onEnd);
      signal.removeEventListener('abort', onAbort);
      act();
    };
    const onData = (message: TunnelMessage): void => settle(() => resolve(message));
    const onError = (err: Error): void => settle(() => reject(err));
    const onEnd = (): void =>
      settle(() => reject(new SkepError('invalidArgument', 'the call ended at once')));
    const onAbort = (): void => settle(() => reject(signal.reason as Error));
    call.on('data', onData);
    call.on('error', onError);
    call.on('end', onEnd);
    call.on('cancelled', onEnd);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
  });
}
