/**
 * Which request a change comes from. A request that changes something has a trace, the W3C's (Trace Context, Recommendation of
 * November 2021): its identifier goes with the objects that the request wrote, with the tasks that are made of them, and with what nodes are told of
 * them, and stands in every line of the logs that is about them (ADR 55). Pure.
 */
import type { RandomSource } from './ids.js';

/** 32 lower-case hexadecimal digits, not all of them 0. */
export type TraceId = string & { readonly __brand: 'TraceId' };
/** 16 of them: one call within a trace. */
export type SpanId = string & { readonly __brand: 'SpanId' };

/** A part of the objects that requests write. */
export interface Traced {
  /** Of the last request that wrote the object, or the one that it was made for. Absent: none is known of, as in what earlier versions wrote. */
  readonly trace?: TraceId;
}

/** One request, as this node has it. */
export interface RequestTrace {
  readonly traceId: TraceId;
  /** This node's own, of the request. */
  readonly spanId: SpanId;
  /** The caller's; absent: it named none, and the trace begins here. */
  readonly parentId?: SpanId;
  /** The trace flags: bit 0 says that the caller records. */
  readonly flags: number;
}

/** Of one change or pass: more are not named, for a line of the log must not grow with a cluster. */
export const tracesMax = 8;

/** Version, trace, parent, flags; what a later version has behind them. */
const traceparentForm = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

/** What a `traceparent` says; undefined for none that is valid, which is then to be ignored as a whole. */
export function parseTraceparent(
  header: string | readonly string[] | undefined,
): (Pick<RequestTrace, 'traceId' | 'flags'> & { readonly parentId: SpanId }) | undefined {
  if (typeof header !== 'string') return undefined;
  const [, version, traceId = '', parentId = '', flags = '', more] = traceparentForm.exec(header) ?? [];
  // Of a version that is not known yet, what is known of it counts; ff is none, and 00 has nothing behind it.
  if (version === undefined || version === 'ff' || (version === '00' && more !== undefined)) return undefined;
  if (isZero(traceId) || isZero(parentId)) return undefined;
  return { traceId: traceId as TraceId, parentId: parentId as SpanId, flags: Number.parseInt(flags, 16) };
}

/** As a `traceparent` of what this request asks for, or the `traceresponse` to it. Of the flags only what version 00 knows. */
export const formatTraceparent = ({ traceId, spanId, flags }: RequestTrace): string =>
  `00-${traceId}-${spanId}-${(flags & 0x01).toString(16).padStart(2, '0')}`;

/** The trace of a request: the caller's, where it names one, else a new one. */
export function requestTrace(
  header: string | readonly string[] | undefined,
  random: RandomSource,
): RequestTrace {
  const spanId = randomHex(8, random) as SpanId;
  const caller = parseTraceparent(header);
  if (caller) return { ...caller, spanId };
  return { traceId: randomHex(16, random) as TraceId, spanId, flags: 0 };
}

/** Those of these objects, each once and at most {@link tracesMax}, in the order in which they come. */
export function tracesOf(objects: Iterable<Traced | undefined>): readonly TraceId[] {
  const traces = new Set<TraceId>();
  for (const object of objects) {
    if (object?.trace === undefined) continue;
    traces.add(object.trace);
    if (traces.size >= tracesMax) break;
  }
  return [...traces];
}

/** Both, each once, the later ones kept where they are too many. */
export function joinTraces(before: readonly TraceId[], after: readonly TraceId[]): readonly TraceId[] {
  if (after.length === 0) return before;
  const later = new Set(after);
  return [...before.filter((trace) => !later.has(trace)), ...later].slice(-tracesMax);
}

/** True for what is a trace's identifier: what another process says may be anything. */
export const isTraceId = (text: unknown): text is TraceId =>
  typeof text === 'string' && /^[0-9a-f]{32}$/.test(text) && !isZero(text);

const isZero = (hex: string): boolean => /^0*$/.test(hex);

function randomHex(bytes: number, random: RandomSource): string {
  const hex = Buffer.from(random(bytes)).toString('hex');
  // No identifier is all zeros.
  return isZero(hex) ? `${hex.slice(0, -1)}1` : hex;
}
