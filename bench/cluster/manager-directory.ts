/**
 * Where a simulated manager has its files, owned by the process that started it: its etcd outlasts it by design, and would outlast
 * one that is killed for good, on an address that the next run needs.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { endEtcd, endProcess, etcdProgram } from '../../src/controlplane/etcd/running-etcd.js';
import { findProcesses } from '../../src/controlplane/etcd/process-table.js';
import { StoreDirectory } from '../../src/controlplane/node/store-directory.js';
import { etcdPeerPort } from '../../src/model/swarm-ports.js';
import type { CleanupStack } from '../../src/runtime/cleanup-stack.js';
import { systemClock } from '../../src/runtime/clock.js';

const prefix = join(tmpdir(), 'skep-manager-');

export const swarmDirIn = (directory: string): string => join(directory, 'swarm');

/** Makes one; with `undo` the etcd in it ends and it is gone. */
export async function makeManagerDirectory(undo: CleanupStack): Promise<string> {
  const directory = await mkdtemp(prefix);
  undo.defer(() => rm(directory, { recursive: true, force: true }));
  undo.defer(() => endEtcd(new StoreDirectory(swarmDirIn(directory)).path));
  return directory;
}

/** Ends what a run that was killed has left on this address of loopback. */
export async function endOrphans(host: string): Promise<void> {
  const url = `--initial-advertise-peer-urls=https://${host}:${etcdPeerPort}`;
  const orphans = await findProcesses(([program, ...args]) => program === etcdProgram && args.includes(url));
  for (const orphan of orphans) {
    await endProcess(orphan, systemClock);
    const dataDir = orphan.args.find((arg) => arg.startsWith(`--data-dir=${prefix}`));
    const [name] = dataDir?.slice(`--data-dir=${prefix}`.length).split('/') ?? [];
    if (name) await rm(`${prefix}${name}`, { recursive: true, force: true });
  }
}
