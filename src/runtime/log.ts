/** Logs are objects: one child logger per loop, network or task. */
import { pino } from 'pino';
import type { Logger } from 'pino';

export type Log = Logger;

/** JSON lines on standard error, where systemd keeps them. A daemon sets `level` to what its options say. */
export const createLog = (name: string, level = 'info'): Log =>
  pino({ name, level }, pino.destination({ fd: 2, sync: true }));
