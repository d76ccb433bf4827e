/** Refusals and failures as gRPC status, and back, for proto/dataplane.proto; only root reads its texts. */
import { status } from '@grpc/grpc-js';
import type { ServiceError } from '@grpc/grpc-js';
import { OutsideError, SkepError } from '../../model/errors.js';
import { grpcCode, kindOfCode } from '../../runtime/grpc-code.js';

/** Answers of a daemon that may answer otherwise in a moment; the rest of what is no refusal is final. */
const retryable: ReadonlySet<status> = new Set([
  status.UNAVAILABLE,
  status.DEADLINE_EXCEEDED,
  status.ABORTED,
  status.RESOURCE_EXHAUSTED,
]);
export interface StatusReply {
  readonly code: status;
  readonly details: string;
}

/** A failing handler's answer. */
export function toStatus(err: unknown): StatusReply {
  const details = err instanceof Error ? err.message : String(err);
  if (err instanceof SkepError) return { code: grpcCode[err.kind], details };
  if (err instanceof OutsideError && err.retryable) return { code: status.UNAVAILABLE, details };
  return { code: status.INTERNAL, details };
}

/** A failed call as the caller's error: SkepError for a refusal, else OutsideError. */
export function fromStatus(err: ServiceError): SkepError | OutsideError {
  const kind = kindOfCode.get(err.code);
  const final = !retryable.has(err.code) && err.code !== status.UNKNOWN;
  if (kind !== undefined && final) return new SkepError(kind, err.details, { cause: err });
  return new OutsideError(`skep-dataplane: ${err.details}`, retryable.has(err.code), { cause: err });
}
