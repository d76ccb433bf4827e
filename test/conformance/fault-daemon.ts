/**
 * A node's daemon as a process of its own, as far as the kernel is concerned: it may be killed at any instruction, and nobody
 * else's work delays it. Told once over IPC what it is to keep; tells when that is so, and what it has repaired.
 */
import { Writable } from 'node:stream';
import { pino } from 'pino';
import type { EngineName } from '../../src/dataplane/plan/balancing.js';
import type { Desired } from '../../src/dataplane/plan/node.js';
import { LinuxKernel } from '../../src/dataplane/kernel/linux-kernel.js';
import { Reconciler } from '../../src/dataplane/reconcile/reconciler.js';
import { systemClock } from '../../src/runtime/clock.js';
import { openEngineOf } from './engines.js';

export interface DaemonOrder {
  readonly engine: EngineName;
  readonly pinDirectory: string;
  readonly hostNetns: string;
  readonly netnsDirectory: string;
  readonly desired: Desired;
}

export type DaemonWord =
  | { readonly programmed: true }
  /** All that it has counted, and what it says of the newest. */
  | { readonly driftRepairs: number; readonly log: string };

const tell = (word: DaemonWord): void => void process.send?.(word);

process.once('message', (message) => void keep(message as DaemonOrder));
// Whoever has started it is gone.
process.once('disconnect', () => process.exit(0));

async function keep({ engine, pinDirectory, desired, ...places }: DaemonOrder): Promise<void> {
  const said = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      tell({ driftRepairs: reconciler.status().driftRepairs, log: chunk.toString().trim() });
      done();
    },
  });
  const kernel = new LinuxKernel({ ...places, engine: openEngineOf(engine, pinDirectory) });
  const log = pino({ level: process.env['SKEP_LOG'] ?? 'warn' }, said);
  const reconciler = new Reconciler({ kernel, clock: systemClock, log });
  reconciler.setDesired(desired);
  const { signal } = new AbortController();
  const running = reconciler.run(signal);
  await Promise.race([running, reconciler.waitProgrammed(desired.state?.revision ?? 0, signal)]);
  tell({ programmed: true });
  await running;
}
