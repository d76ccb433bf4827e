/** The one place that writes a line of the table of events (model/events.ts): its name, its fields, the traces that it is about. */
import { events } from '../model/events.js';
import type { EventFields, EventName } from '../model/events.js';
import type { TraceId } from '../model/trace.js';
import type { Log } from './log.js';

/** Which requests a line is about: one, or some of those that came together. */
export type About = { readonly trace?: TraceId | undefined } | { readonly traces: readonly TraceId[] };

/** Writes the line that says so, at the event's level. Costs a look at the level where that is not written. */
export function decide<E extends EventName>(
  log: Log,
  event: E,
  fields: EventFields<E>,
  about: About = {},
): void {
  const { level, message } = events[event];
  if (!log.isLevelEnabled(level)) return;
  const line: object = { event, ...traceFields(about), ...fields };
  log[level](line, message);
}

/** As OpenTelemetry's log data model names it; several are `trace_ids`. */
function traceFields(about: About): { readonly trace_id?: TraceId; readonly trace_ids?: readonly TraceId[] } {
  if (!('traces' in about)) return about.trace === undefined ? {} : { trace_id: about.trace };
  const [first, ...more] = about.traces;
  if (first === undefined) return {};
  return more.length === 0 ? { trace_id: first } : { trace_ids: about.traces };
}

/** What was thrown, as a line takes it. */
export const asError = (err: unknown): Error => (err instanceof Error ? err : new Error(String(err)));
