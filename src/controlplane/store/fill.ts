/** Puts objects that were a swarm's into an etcd that is empty, before a store is opened on it. */
import assert from 'node:assert';
import type { EtcdClient, WriteOp } from '../etcd/client.js';
import { nameEntryKey, objectKey, revisionBaseKey } from './keys.js';
import type { Sealer } from './seal.js';
import { isNamed } from './view.js';
import { maxWrites } from './store.js';
import type { Kind, NamedKind, Objects, StoredObject } from './store.js';

type PutOp = Extract<WriteOp, { readonly op: 'put' }>;

/** What one transaction carries; etcd takes 10 MiB (etcd/arguments.ts), and a config may be of 1.3. */
const batchBytesMax = 4 * 1024 * 1024;

/** What etcd is given for an object. */
export function objectPut(sealer: Sealer, kind: Kind, object: Objects[Kind]): PutOp {
  const key = objectKey(kind, object.id);
  // The version is the revision etcd gives.
  const { version: _, ...stored } = object;
  return { op: 'put', key, value: sealer.seal(key, Buffer.from(JSON.stringify(stored))) };
}

/**
 * Times of creation and of change stay; versions are new.
 * @param revisionBase what is added to each revision of this etcd from now on
 */
export async function fillStore(
  client: Pick<EtcdClient, 'txn'>,
  sealer: Sealer,
  { objects, revisionBase }: { readonly objects: readonly StoredObject[]; readonly revisionBase: number },
): Promise<void> {
  assert(Number.isSafeInteger(revisionBase), 'a revision is a whole number');
  const put = async (ops: readonly WriteOp[]): Promise<void> => {
    const compares = ops.map(({ key }) => ({ key, modRevision: 0 }));
    const { succeeded } = await client.txn(compares, ops);
    assert(succeeded, 'the store to be filled is not empty');
  };
  const base = Buffer.from(String(revisionBase));
  await put([{ op: 'put', key: revisionBaseKey, value: sealer.seal(revisionBaseKey, base) }]);
  let ops: WriteOp[] = [];
  let bytes = 0;
  const flush = async (): Promise<void> => {
    if (ops.length > 0) await put(ops);
    ops = [];
    bytes = 0;
  };
  for (const { kind, object } of objects) {
    const puts = objectPuts(sealer, kind, object);
    const size = puts.reduce((sum, { value }) => sum + value.length, 0);
    if (ops.length + puts.length > 2 * maxWrites || bytes + size > batchBytesMax) await flush();
    ops.push(...puts);
    bytes += size;
  }
  await flush();
}

/** The object, and the entry that holds its name. */
function objectPuts(sealer: Sealer, kind: Kind, object: Objects[Kind]): readonly PutOp[] {
  const put = objectPut(sealer, kind, object);
  if (!isNamed(kind)) return [put];
  const key = nameEntryKey(sealer, kind, (object as Objects[NamedKind]).spec.name);
  return [put, { op: 'put', key, value: sealer.seal(key, Buffer.from(object.id)) }];
}
