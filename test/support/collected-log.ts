/** A log whose lines a test reads, bounded as a daemon's is. */
import { createLogTo } from '../../src/runtime/log.js';
import type { Log } from '../../src/runtime/log.js';

export type LogLine = Readonly<Record<string, unknown>>;

/** @param steadyMs by which lines are bounded; by default no time passes */
export function collectedLog(
  level = 'debug',
  steadyMs: () => number = () => 0,
): { readonly log: Log; readonly lines: LogLine[] } {
  const lines: LogLine[] = [];
  const log = createLogTo({ write: (text) => void lines.push(JSON.parse(text) as LogLine) }, level, steadyMs);
  return { log, lines };
}

/** Of the events with these names; each without what every line has. */
export const eventsIn = (lines: readonly LogLine[], ...names: readonly string[]): LogLine[] =>
  lines
    .filter(({ event }) => names.length === 0 || names.includes(String(event)))
    .map(({ time: _t, pid: _p, hostname: _h, msg: _m, level: _l, ...rest }) => rest);
