/**
 * The life of a daemon's process: signals ask it to stop, a bug ends it at once. Its supervisor starts it again, and it
 * reads everything anew; nothing that it made is undone by either.
 */
import type { Log } from './log.js';

/** sysexits.h: an internal software error. */
const EX_SOFTWARE = 70;

/** Ends the process as a crash. */
export function crash(log: Log, err: unknown): never {
  log.fatal({ err }, 'bug');
  process.exit(EX_SOFTWARE);
}

/** Runs `main` until it returns (exit 0) or throws (exit 1); SIGTERM and SIGINT abort the signal it gets. */
export async function runDaemon(log: Log, main: (stop: AbortSignal) => Promise<void>): Promise<never> {
  process.on('uncaughtException', (err) => crash(log, err));
  process.on('unhandledRejection', (err) => crash(log, err));
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const)
    process.once(signal, () => stop.abort(new Error(signal)));
  try {
    await main(stop.signal);
    process.exit(0);
  } catch (err) {
    log.fatal({ err }, 'cannot run');
    process.exit(1);
  }
}
