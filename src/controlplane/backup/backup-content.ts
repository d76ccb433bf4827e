/**
 * What a backup holds: every object of the store at one revision, root key and tokens among them, as lines of JSON behind a head
 * line. Not who leads and who is alive, which is of the moment, and nothing that a node keeps for itself. Pure.
 */
import type { ClusterId, NodeId } from '../../model/ids.js';
import { SkepError } from '../../model/errors.js';
import type { Cluster } from '../../model/objects.js';
import { allKinds } from '../store/keys.js';
import type { Kind, StoredObject, View } from '../store/store.js';

export interface BackupHead {
  readonly what: 'skep swarm';
  readonly clusterId: ClusterId;
  /** The manager that it was taken of. */
  readonly nodeId: NodeId;
  readonly revision: number;
  readonly takenAtMs: number;
  /** How many lines follow. */
  readonly objects: number;
}

export interface Backup {
  readonly head: BackupHead;
  readonly cluster: Cluster;
  /** The cluster among them. */
  readonly objects: readonly StoredObject[];
}

const ofTheMoment: readonly Kind[] = ['manager', 'leader'];
const kept = allKinds.filter((kind) => !ofTheMoment.includes(kind));

/** The head of a backup of this view. */
export const backupHead = (view: View, nodeId: NodeId, takenAtMs: number): BackupHead => ({
  what: 'skep swarm',
  clusterId: view.cluster().id,
  nodeId,
  revision: view.revision,
  takenAtMs,
  objects: kept.reduce((count, kind) => count + view.list(kind).length, 0),
});

/** A line a piece. */
export function* backupLines(view: View, head: BackupHead): Generator<Buffer> {
  const line = (value: object): Buffer => Buffer.from(`${JSON.stringify(value)}\n`);
  yield line(head);
  for (const kind of kept) for (const object of view.list(kind)) yield line({ kind, object });
}

/** Throws `invalidArgument` for what {@link backupLines} did not make, or one of a version that knew more kinds. */
export function parseBackup(pieces: readonly Buffer[]): Backup {
  const [first, ...rest] = Array.from(linesOf(pieces), (line) => JSON.parse(line) as unknown);
  const head = first as BackupHead | undefined;
  const objects = rest as readonly StoredObject[];
  if (head?.what !== 'skep swarm' || objects.length !== head.objects)
    throw new SkepError('invalidArgument', 'the backup does not hold a swarm');
  const unknown = objects.find(({ kind }) => !kept.includes(kind));
  if (unknown)
    throw new SkepError(
      'invalidArgument',
      `this backup was made by a newer version of skep: it holds objects of kind ${unknown.kind}`,
    );
  const cluster = objects.find((each) => each.kind === 'cluster')?.object;
  if (cluster?.id !== head.clusterId)
    throw new SkepError('invalidArgument', 'the backup does not hold a swarm');
  return { head, cluster, objects };
}

/** Lines may go on from one piece to the next. */
function* linesOf(pieces: readonly Buffer[]): Generator<string> {
  let begin: Buffer[] = [];
  for (const piece of pieces) {
    let from = 0;
    for (let end = piece.indexOf(10); end >= 0; end = piece.indexOf(10, from)) {
      yield Buffer.concat([...begin, piece.subarray(from, end)]).toString('utf8');
      begin = [];
      from = end + 1;
    }
    begin.push(piece.subarray(from));
  }
}
