/**
 * What a request can be refused for. Each kind becomes Docker's status in exactly one table
 * (controlplane/http-status.ts) and a gRPC code in another (runtime/grpc-code.ts).
 */
export type ErrorKind =
  | 'invalidArgument'
  | 'failedPrecondition'
  | 'unauthenticated'
  | 'permissionDenied'
  | 'notFound'
  | 'alreadyExists'
  | 'unimplemented'
  | 'unavailable'
  | 'aborted'
  | 'unknown'
  | 'deadlineExceeded';

/** For people who read an error: its message says what happened, this what that means for them and what to do. Sentences. */
export interface Advice {
  readonly means: string;
  readonly todo: string;
}

/**
 * An expected refusal: the caller asked for something that cannot be. `message` is the text the user reads.
 * `viaControlApi` marks refusals that Swarm's daemon hands through from its control API: their text carries
 * the prefix `rpc error: code = <Code> desc = `, and clients match on it. `isIntrusion` marks an attempt of somebody who has no
 * business here, where the kind alone does not say so.
 */
export class SkepError extends Error {
  override readonly name = 'SkepError';

  constructor(
    readonly kind: ErrorKind,
    message: string,
    readonly options: {
      readonly viaControlApi?: boolean;
      readonly isIntrusion?: boolean;
      readonly cause?: unknown;
      /** For the `skep` command, which says it beside the message. */
      readonly advice?: Advice;
    } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
  }
}

/** A refusal in the words of Swarm's control API; see {@link SkepError}. */
export const controlApiError = (kind: ErrorKind, message: string): SkepError =>
  new SkepError(kind, message, { viaControlApi: true });

/** A failure of something outside (kernel, engine, etcd), typed where it enters. */
export class OutsideError extends Error {
  override readonly name: string = 'OutsideError';
  /** As in {@link SkepError}; a key only where there is one, since logs show an error's keys. */
  declare readonly advice?: Advice;

  constructor(
    message: string,
    /** Whether the same call may succeed later without anything here changing. */
    readonly retryable: boolean,
    options: { readonly cause?: unknown; readonly advice?: Advice } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    if (options.advice) this.advice = options.advice;
  }
}
