/** A real etcd for a measurement, as a manager runs it but for TLS: alone on loopback, with a new store. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { EtcdSupervisor } from '../src/controlplane/etcd/supervisor.js';
import type { CleanupStack } from '../src/runtime/cleanup-stack.js';

export interface BenchEtcdOptions {
  /** Made, and removed in the end. */
  readonly directory: string;
  readonly peerPort: number;
  readonly log: Logger;
}

/** Starts it, and ends it and removes its directory with `undo`. */
export async function startEtcd(
  { directory, peerPort, log }: BenchEtcdOptions,
  undo: CleanupStack,
): Promise<{ readonly etcd: EtcdSupervisor; readonly dataDir: string }> {
  undo.defer(() => rm(directory, { recursive: true, force: true }));
  const dataDir = join(directory, 'data');
  const etcd = new EtcdSupervisor({
    config: {
      ...{ dataDir, name: 'm1', clusterToken: 'c1' },
      socketDir: join(directory, 'run'),
      peerUrl: `http://127.0.0.1:${peerPort}`,
    },
    logFile: join(directory, 'etcd.log'),
    log,
  });
  await etcd.start('new');
  undo.defer(() => etcd.stop());
  return { etcd, dataDir };
}
