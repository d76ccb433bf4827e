/** Refusals over :2377, both ways. Only refusals' texts cross; a failure inside does not. */
import { status } from '@grpc/grpc-js';
import type { Metadata, ServiceError } from '@grpc/grpc-js';
import { SkepError } from '../../model/errors.js';
import { grpcCode, kindOfCode } from '../../runtime/grpc-code.js';
import { notLeaderOf, refusalMetadata } from './not-leader.js';

/** What a handler answers with; anything but a refusal is `unknown` without detail, for it may name internals. */
export function toServiceError(err: unknown): { code: status; details: string; metadata?: Metadata } {
  if (err instanceof SkepError) {
    const metadata = refusalMetadata(err);
    return { code: grpcCode[err.kind], details: err.message, ...(metadata && { metadata }) };
  }
  return { code: status.UNKNOWN, details: 'internal error' };
}

export const isServiceError = (err: unknown): err is ServiceError =>
  err instanceof Error && typeof (err as Partial<ServiceError>).code === 'number' && 'details' in err;

/** The refusal that a caller received; codes without a kind (CANCELLED, INTERNAL, …) become `unknown`. */
export function fromServiceError(err: unknown): SkepError {
  if (err instanceof SkepError) return err;
  if (!isServiceError(err))
    return new SkepError('unknown', err instanceof Error ? err.message : String(err), { cause: err });
  return (
    notLeaderOf(err.metadata) ??
    new SkepError(kindOfCode.get(err.code) ?? 'unknown', err.details, { cause: err })
  );
}
