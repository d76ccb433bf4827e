/**
 * Logs are objects: one child logger per loop, network or task. Lines of events (model/events.ts) are bounded here, for the whole
 * process, whoever writes them.
 */
import { pino } from 'pino';
import type { DestinationStream, Logger, LoggerOptions } from 'pino';
import { burstDefault, eventRow } from '../model/events.js';
import { LogThrottle } from './log-throttle.js';

export type Log = Logger;

/** JSON lines on standard error, where systemd keeps them. A daemon sets `level` to what its options say. */
export const createLog = (name: string, level = 'info'): Log =>
  pino({ name, level, hooks: boundedHooks() }, pino.destination({ fd: 2, sync: true }));

/** As {@link createLog} writes, to somewhere else. @param steadyMs by which the bounds are, of a clock that is not set */
export const createLogTo = (
  destination: DestinationStream,
  level: string,
  steadyMs: () => number = () => performance.now(),
): Log => pino({ level, hooks: boundedHooks(steadyMs) }, destination);

function boundedHooks(steadyMs: () => number = () => performance.now()): NonNullable<LoggerOptions['hooks']> {
  const throttle = new LogThrottle();
  return {
    logMethod(line, write) {
      const [fields, ...rest] = line as unknown as [Readonly<Record<string, unknown>>, ...unknown[]];
      const event = typeof fields === 'object' && fields !== null ? fields['event'] : undefined;
      const row = typeof event === 'string' ? eventRow(event) : undefined;
      if (row === undefined) return write.apply(this, line);
      const object = row.of === null ? '' : String(fields[row.of]);
      const { isWritten, leftOut } = throttle.admit(
        `${String(event)} ${object}`,
        row.burst ?? burstDefault,
        steadyMs(),
      );
      if (!isWritten) return;
      const said = leftOut === 0 ? fields : { ...fields, left_out: leftOut };
      write.apply(this, [said, ...rest] as unknown as typeof line);
    },
  };
}
