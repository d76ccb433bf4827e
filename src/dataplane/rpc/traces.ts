/**
 * The traces of the requests that changed a state, beside the call that hands it over: neither the state nor a change of it is another
 * for them, in memory, on disk or where two are compared. For the log alone.
 */
import { Metadata } from '@grpc/grpc-js';
import type { TraceId } from '../../model/trace.js';
import { isTraceId, tracesMax } from '../../model/trace.js';

const key = 'skep-traces';

export function tracesMetadata(traces: readonly TraceId[]): Metadata {
  const metadata = new Metadata();
  if (traces.length > 0) metadata.set(key, traces.slice(-tracesMax).join(','));
  return metadata;
}

/** What is none is left out. */
export const tracesIn = (metadata: Metadata): readonly TraceId[] =>
  String(metadata.get(key)[0] ?? '')
    .split(',', tracesMax)
    .filter(isTraceId);
