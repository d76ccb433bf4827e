/** The one table between kinds of refusal and gRPC status codes. A new kind does not compile without an answer. */
import { status } from '@grpc/grpc-js';
import type { ErrorKind } from '../model/errors.js';

export const grpcCode: Readonly<Record<ErrorKind, status>> = {
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

/** The way back. Codes without a kind (CANCELLED, INTERNAL, …) are absent. */
export const kindOfCode: ReadonlyMap<status, ErrorKind> = new Map(
  (Object.entries(grpcCode) as [ErrorKind, status][]).map(([kind, code]) => [code, kind]),
);
