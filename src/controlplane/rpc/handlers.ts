/**
 * Turns promises into gRPC handlers: a refusal becomes its status, anything else is logged and becomes `unknown`,
 * a bug crashes. Streams have backpressure: a write resolves when the peer has room.
 */
import { AssertionError } from 'node:assert';
import { once } from 'node:events';
import type {
  sendUnaryData,
  ServerDuplexStream,
  ServerReadableStream,
  ServerUnaryCall,
  ServerWritableStream,
} from '@grpc/grpc-js';
import { SkepError } from '../../model/errors.js';
import { decide } from '../../runtime/decide.js';
import type { Log } from '../../runtime/log.js';
import { isServiceError, toServiceError } from './status.js';

/** Whoever has no business here is written down: once a call, with what was called and from where. */
const intrusions = ['unauthenticated', 'permissionDenied'];

function refusal(
  err: unknown,
  log: Log,
  call: { getPath(): string; getPeer(): string },
): ReturnType<typeof toServiceError> {
  if (err instanceof AssertionError) {
    // A bug ends the process; from inside a promise it would only end the call.
    setImmediate(() => {
      throw err;
    });
  }
  const status = toServiceError(err);
  if (status.details === 'internal error') log.error({ err }, 'call failed');
  else if (err instanceof SkepError && (intrusions.includes(err.kind) || err.options.isIntrusion))
    decide(log, 'call.refused', { call: call.getPath(), peer: call.getPeer(), reason: err.message });
  return status;
}

export const unaryHandler =
  <Q, R>(log: Log, handle: (request: Q, call: ServerUnaryCall<Q, R>) => Promise<R> | R) =>
  (call: ServerUnaryCall<Q, R>, done: sendUnaryData<R>): void => {
    void (async () => handle(call.request, call))().then(
      (reply) => done(null, reply),
      (err: unknown) => done(refusal(err, log, call)),
    );
  };

/** A stream of answers. `signal` aborts when the caller is gone. */
export interface Answers<R> {
  readonly write: (message: R) => Promise<void>;
  readonly signal: AbortSignal;
}

export const answersHandler =
  <Q, R>(
    log: Log,
    handle: (request: Q, answers: Answers<R>, call: ServerWritableStream<Q, R>) => Promise<void>,
  ) =>
  (call: ServerWritableStream<Q, R>): void => {
    const gone = new AbortController();
    const leave = (): void => gone.abort();
    call.on('cancelled', leave);
    call.on('close', leave);
    const write = async (message: R): Promise<void> => {
      gone.signal.throwIfAborted();
      if (!call.write(message)) await once(call, 'drain', { signal: gone.signal });
    };
    void (async () => handle(call.request, { write, signal: gone.signal }, call))().then(
      () => call.end(),
      // Not destroy(): grpc-js sends the status from its own listener of this event.
      (err: unknown) => gone.signal.aborted || call.emit('error', refusal(err, log, call)),
    );
  };

/** A stream of requests with one answer at its end. Reading pauses while `handle` works on a message. */
export const requestsHandler =
  <Q, R>(log: Log, handle: (requests: AsyncIterable<Q>, call: ServerReadableStream<Q, R>) => Promise<R>) =>
  (call: ServerReadableStream<Q, R>, done: sendUnaryData<R>): void => {
    void (async () => handle(call, call))().then(
      (reply) => done(null, reply),
      // The caller hung up: nobody is left to answer, and nothing is wrong here.
      (err: unknown) => (call.cancelled || isServiceError(err) ? undefined : done(refusal(err, log, call))),
    );
  };

/** Both ways at once. What `handle` has taken over when it resolves, ends by itself. */
export const bothWaysHandler =
  <Q, R>(log: Log, handle: (call: ServerDuplexStream<Q, R>) => Promise<void>) =>
  (call: ServerDuplexStream<Q, R>): void => {
    void (async () => handle(call))().catch((err: unknown) => {
      const status = refusal(err, log, call);
      if (!call.cancelled && !call.writableEnded) call.emit('error', status);
    });
  };

/** A signal that aborts with `reason` when told to, or with the other signal's reason. */
export function linkedAbort(signal: AbortSignal): {
  signal: AbortSignal;
  abort: (reason: SkepError) => void;
} {
  const own = new AbortController();
  return { signal: AbortSignal.any([own.signal, signal]), abort: (reason) => own.abort(reason) };
}
