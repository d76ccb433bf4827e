/** What can be told of etcd's data directory without an etcd. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * True when Raft's log is there. Without it etcd would start as a member that has never been one, and give its vote a second
 * time.
 */
export const hasLog = (dataDir: string): Promise<boolean> =>
  readdir(join(dataDir, 'member', 'wal')).then(
    (names) => names.some((name) => name.endsWith('.wal')),
    () => false,
  );
