/**
 * What becomes of a refusal on the wire: Docker's status and, for refusals of the control API, gRPC's words in front
 * of the text. The only such table; a new kind does not compile without a row.
 */
import { OutsideError, SkepError } from '../model/errors.js';
import type { ErrorKind } from '../model/errors.js';

interface Row {
  readonly status: number;
  /** The gRPC code in `rpc error: code = … desc = …`. */
  readonly code: string;
}

export const httpStatus: Readonly<Record<ErrorKind, Row>> = {
  invalidArgument: { status: 400, code: 'InvalidArgument' },
  // dockerd's answer, not 412.
  failedPrecondition: { status: 400, code: 'FailedPrecondition' },
  unauthenticated: { status: 401, code: 'Unauthenticated' },
  permissionDenied: { status: 403, code: 'PermissionDenied' },
  notFound: { status: 404, code: 'NotFound' },
  alreadyExists: { status: 409, code: 'AlreadyExists' },
  unimplemented: { status: 501, code: 'Unimplemented' },
  // Includes every "This node is not a swarm manager".
  unavailable: { status: 503, code: 'Unavailable' },
  aborted: { status: 500, code: 'Aborted' },
  // Raw store errors such as `update out of sequence`: swarmkit leaves them unclassified, clients match the text.
  unknown: { status: 500, code: 'Unknown' },
  deadlineExceeded: { status: 500, code: 'DeadlineExceeded' },
};

export interface ErrorReply {
  readonly status: number;
  readonly message: string;
}

/** The reply for anything that was thrown; bugs are for the caller to rethrow. */
export function errorReply(err: unknown): ErrorReply {
  if (err instanceof SkepError) {
    const { status, code } = httpStatus[err.kind];
    const prefix = err.options.viaControlApi === true ? `rpc error: code = ${code} desc = ` : '';
    return { status, message: prefix + err.message };
  }
  if (err instanceof OutsideError) return { status: err.retryable ? 503 : 500, message: err.message };
  // A failure inside may name internals; the log has it.
  return { status: 500, message: 'internal error' };
}
