/** Logs are objects: one child logger per loop, network or task. */
import { pino } from 'pino';
import type { Logger } from 'pino';

export type Log = Logger;

/** JSON lines on standard error, where systemd keeps them. `SKEP_LOG` sets the level. */
export const createLog = (name: string): Log =>
  pino({ name, level: process.env['SKEP_LOG'] ?? 'info' }, pino.destination({ fd: 2, sync: true }));
