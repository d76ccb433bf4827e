/** Puts objects that were a swarm's into an etcd that is empty, before a store is opened on it. */
import assert from 'node:assert';
import type { EtcdClient, WriteOp } from '../etcd/client.js';
import { nameEntryKey, objectKey, revisionBaseKey } from './keys.js';
import type { Sealer } from './seal.js';
import { isNamed } from './view.js';
import { maxWrites } from './store.js';
import type { Kind, Objects, StoredObject } from './store.js';

/** What etcd is given for an object. */
export function objectPut(sealer: Sealer, kind: Kind, object: Objects[Kind]): WriteOp {
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
  for (let i = 0; i < objects.length; i += maxWrites)
    await put(
      objects.slice(i, i + maxWrites).flatMap(({ kind, object }): readonly WriteOp[] => {
        const ops = [objectPut(sealer, kind, object)];
        if (!isNamed(kind)) return ops;
        const { name } = (object as Objects['service' | 'network']).spec;
        const key = nameEntryKey(sealer, kind, name);
        return [...ops, { op: 'put', key, value: sealer.seal(key, Buffer.from(object.id)) }];
      }),
    );
}
