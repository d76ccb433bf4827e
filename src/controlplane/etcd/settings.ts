/**
 * What of etcd the cluster's spec decides (`docker swarm update --snapshot-interval`, `--max-snapshots`). etcd takes it at its start
 * only, when the spec cannot be read yet: so it is remembered in `<state>/swarm/etcd-settings.json`, which nothing else depends
 * on. A file that is missing or makes no sense means Swarm's defaults until the spec is read.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '../../runtime/atomic-file.js';

export interface EtcdSettings {
  /** Entries of Raft's log between two snapshots: what is not in one is kept in memory and in the log. */
  readonly snapshotCount: number;
  /** Snapshot files kept, the newest among them. */
  readonly snapshotsMax: number;
}

/** Swarm's: a snapshot each 10,000 entries, none but the newest kept. */
export const etcdSettingsDefaults: EtcdSettings = { snapshotCount: 10_000, snapshotsMax: 1 };
/** More often costs more than the entries do. */
const snapshotCountMin = 100;
/** etcd would keep every one for 0, and count in 32 bits. */
const snapshotsMaxMax = 1_000;

/** Swarm counts the snapshots kept beside the newest; an interval of 0 is the default. */
export const etcdSettings = (raft: {
  readonly snapshotInterval: number;
  readonly keepOldSnapshots: number;
}): EtcdSettings => ({
  snapshotCount:
    raft.snapshotInterval === 0
      ? etcdSettingsDefaults.snapshotCount
      : Math.max(snapshotCountMin, raft.snapshotInterval),
  snapshotsMax: Math.min(snapshotsMaxMax, raft.keepOldSnapshots + 1),
});

const pathIn = (swarmDir: string): string => join(swarmDir, 'etcd-settings.json');

export async function readEtcdSettings(swarmDir: string): Promise<EtcdSettings> {
  try {
    const { snapshotCount, snapshotsMax } = JSON.parse(
      await readFile(pathIn(swarmDir), 'utf8'),
    ) as EtcdSettings;
    if ([snapshotCount, snapshotsMax].every((count) => Number.isSafeInteger(count) && count > 0))
      return { snapshotCount, snapshotsMax };
  } catch {
    // As if it were not there: see above.
  }
  return etcdSettingsDefaults;
}

export const writeEtcdSettings = (swarmDir: string, settings: EtcdSettings): Promise<void> =>
  writeFileAtomic(pathIn(swarmDir), `${JSON.stringify(settings)}\n`);
