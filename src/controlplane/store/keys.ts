/** Where things are in etcd: `/skep/v1/<kind>/<id>` and `/skep/v1/name/<kind>/<keyed hash of the name>`. */
import type { Kind, NamedKind } from './store.js';
import { nameKey } from './view.js';
import type { Sealer } from './seal.js';

/** Everything of ours. */
export const keyPrefix = '/skep/v1/';

/**
 * What is added to etcd's revisions: there in a swarm that was restored, whose etcd counts from the begin while its nodes remember
 * revisions of before. First of all keys of ours, so that it is read before any object.
 */
export const revisionBaseKey = `${keyPrefix}.revision-base`;

/** Whose turn it is to be out of the way for a while: see etcd/turn.ts. */
export const upkeepTurnKey = `${keyPrefix}upkeep`;

const kinds: Readonly<Record<Kind, true>> = {
  cluster: true,
  node: true,
  service: true,
  task: true,
  network: true,
  secret: true,
  config: true,
  manager: true,
  leader: true,
};

/** Every kind there is. */
export const allKinds = Object.keys(kinds) as readonly Kind[];

export const objectKey = (kind: Kind, id: string): string => `${kindPrefix(kind)}${id}`;

/** Of the keys of all objects of the kind. */
export const kindPrefix = (kind: Kind): string => `${keyPrefix}${kind}/`;

/** The index entry that holds a name; the same for names that differ only in case. */
export const nameEntryKey = (sealer: Sealer, kind: NamedKind, name: string): string =>
  `${keyPrefix}name/${kind}/${sealer.indexEntry(kind, nameKey(name))}`;

/** What object a key is for; undefined for index entries and for keys that are not ours. */
export function parseObjectKey(key: string): { readonly kind: Kind; readonly id: string } | undefined {
  if (!key.startsWith(keyPrefix)) return undefined;
  const [kind, id, ...more] = key.slice(keyPrefix.length).split('/');
  if (kind === undefined || id === undefined || more.length > 0 || !Object.hasOwn(kinds, kind))
    return undefined;
  return { kind: kind as Kind, id };
}
