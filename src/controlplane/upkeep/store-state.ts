/**
 * How one manager's store stands against its bounds, and what of that a user is told. Pure. The store has two bounds: etcd's
 * quota, beyond which the whole cluster writes nothing, and the disk under this manager's part of it, beyond which this part
 * ends. Both are answered before they are met: what makes the store larger is refused while there is still room for all that
 * goes on by itself, and for what makes it smaller.
 */
import { SkepError } from '../../model/errors.js';

export interface StoreState {
  /** Of the newest write. */
  readonly revision: number;
  /** Of the database file, and of what in it holds something. */
  readonly databaseBytes: number;
  readonly usedBytes: number;
  readonly quotaBytes: number;
  /** Left on the disk under the data directory. */
  readonly diskFreeBytes: number;
  /** etcd has met its quota, and writes nothing until there is room and the alarm is taken back. */
  readonly isFull: boolean;
  /** The members hold different things (etcd's alarm), and none writes any more. */
  readonly isCorrupt: boolean;
  /** The data directory is where etcd made it. */
  readonly hasDirectory: boolean;
}

/** Of the quota: above, nothing is created. */
const createShareMax = 0.8;
/** etcd writes its log in files of 64 MiB, the next of which is made before the last one is full. */
const logFileBytes = 64 * 1024 * 1024;
const diskBytesToWarn = 8 * logFileBytes;
const diskBytesToCreate = 2 * logFileBytes;

/** What users are told, in `docker info` and the log: one sentence each, with what mends it. */
export function storeWarnings(state: StoreState): readonly string[] {
  const { usedBytes, quotaBytes, diskFreeBytes, isFull, isCorrupt, hasDirectory } = state;
  const warnings: string[] = [];
  if (isCorrupt)
    warnings.push(
      'The managers hold different copies of the swarm, and none of them takes changes. On the manager to keep run ' +
        '"docker swarm init --force-new-cluster"; the others come back with its copy.',
    );
  if (!hasDirectory)
    warnings.push(
      'The directory of this manager\'s store was removed while it is in use. Run "skep backup FILE" now: what is not ' +
        'copied is lost with the next start.',
    );
  if (isFull || usedBytes >= createShareMax * quotaBytes)
    warnings.push(
      `The store of the swarm holds ${mebibytes(usedBytes)} of at most ${mebibytes(quotaBytes)}: ` +
        (isFull ? 'it takes no changes but removals. ' : 'nothing more is created. ') +
        'Remove what is not needed ("docker service rm", "docker network rm") or keep less history ' +
        '("docker swarm update --task-history-limit 1"); the room is taken back within a minute.',
    );
  if (diskFreeBytes < diskBytesToWarn)
    warnings.push(
      `The disk under this manager's store has ${mebibytes(diskFreeBytes)} left: the store ends when it is full. ` +
        'Make room on it ("docker system prune" if the engine shares it).',
    );
  return warnings;
}

/** Refuses what would make the store larger while it is nearly full; what goes on by itself may use the rest. */
export function requireRoom(state: StoreState | undefined): void {
  if (!state) return;
  const { usedBytes, quotaBytes, diskFreeBytes, isFull } = state;
  if (isFull || usedBytes >= createShareMax * quotaBytes || diskFreeBytes < diskBytesToCreate)
    throw new SkepError('unavailable', storeWarnings(state).join(' '));
}

const mebibytes = (bytes: number): string => `${Math.floor(bytes / (1024 * 1024))} MiB`;
