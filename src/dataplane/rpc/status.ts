/** Refusals and failures as gRPC status, and back, for proto/dataplane.proto. One table; a new kind needs an answer. */
import { status } from '@grpc/grpc-js';
import type { ServiceError } from '@grpc/grpc-js';
import type { ErrorKind } from '../../model/errors.js';
import { OutsideError, SkepError } from '../../model/errors.js';

const grpcStatus: Readonly<Record<ErrorKind, status>> = {
  invalidArgument: status.INVALID_ARGUMENT,
  failedPrecondition: status.FAILED_PRECONDITION,
  unauthenticated: status.UNAUTHENTICATED,
  permissionDenied: status.PERMISSION_DENIED,
  notFound: status.NOT_FOUND,
  alreadyExists: status.ALREADY_EXISTS,
  unimplemented: status.UNIMPLEMENTED,
  unavailable: status.UNAVAILABLE,
  aborted: status.ABORTED,
  unknown: status.UNKNOWN,
  deadlineExceeded: status.DEADLINE_EXCEEDED,
};

/** Answers of a daemon that may answer otherwise in a moment; the rest of what is no refusal is final. */
const retryable: ReadonlySet<status> = new Set([
  status.UNAVAILABLE,
  status.DEADLINE_EXCEEDED,
  status.ABORTED,
  status.RESOURCE_EXHAUSTED,
]);
const refusals: ReadonlyMap<status, ErrorKind> = new Map(
  (Object.entries(grpcStatus) as [ErrorKind, status][])
    .filter(([, code]) => !retryable.has(code) && code !== status.UNKNOWN)
    .map(([kind, code]) => [code, kind]),
);

export interface StatusReply {
  readonly code: status;
  readonly details: string;
}

/** A failing handler's answer. */
export function toStatus(err: unknown): StatusReply {
  const details = err instanceof Error ? err.message : String(err);
  if (err instanceof SkepError) return { code: grpcStatus[err.kind], details };
  if (err instanceof OutsideError && err.retryable) return { code: status.UNAVAILABLE, details };
  return { code: status.INTERNAL, details };
}

/** A failed call as the caller's error: SkepError for a refusal, else OutsideError. */
export function fromStatus(err: ServiceError): SkepError | OutsideError {
  const kind = refusals.get(err.code);
  if (kind !== undefined) return new SkepError(kind, err.details, { cause: err });
  return new OutsideError(`skep-dataplane: ${err.details}`, retryable.has(err.code), { cause: err });
}
