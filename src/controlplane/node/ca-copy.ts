/**
 * The cluster's CA as a manager knew it last, beside its store and sealed with the same key. Only for a manager whose certificate
 * has expired and that nobody renews: when all managers have been off for so long, their etcd do not believe each other, and no
 * store can be read before they do. What lies in the store already is no secret more for lying here (ADR 27).
 */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Cluster } from '../../model/objects.js';
import { writeFileAtomic } from '../../runtime/atomic-file.js';
import type { Log } from '../../runtime/log.js';
import { createCsr, validityOf } from '../ca/certificates.js';
import type { ClusterCa } from '../ca/cluster-ca.js';
import { identityFromPem } from '../ca/node-identity.js';
import type { NodeIdentity } from '../ca/node-identity.js';
import { trustOf } from '../ca/root-trust.js';
import type { Sealer } from '../store/seal.js';
import type { Store } from '../store/store.js';
import { TurnQueue } from '../store/turn-queue.js';

/** What certificates are issued from. */
type Ca = Pick<Cluster, 'rootCa' | 'rootRotation' | 'spec'>;

/** What the value is sealed for; no key of the store is called so. */
const sealedFor = 'file/root-ca';
const fileIn = (swarmDir: string): string => join(swarmDir, 'root-ca.sealed');

const caOf = ({ rootCa, rootRotation, spec }: Cluster): Ca => ({
  rootCa,
  spec,
  ...(rootRotation && { rootRotation }),
});

/** Keeps the copy as the store is, from now on. @returns ends that */
export function keepCaCopy(
  swarmDir: string,
  store: Store,
  sealer: Pick<Sealer, 'seal'>,
  log: Log,
): () => Promise<void> {
  const turns = new TurnQueue();
  let written: Ca | undefined;
  const write = (): Promise<void> =>
    turns.run(async () => {
      const ca = caOf(store.view().cluster());
      if (isDeepStrictEqual(ca, written)) return;
      await writeFileAtomic(fileIn(swarmDir), sealer.seal(sealedFor, Buffer.from(JSON.stringify(ca))));
      written = ca;
    });
  const follow = (): void => {
    write().catch((err: unknown) => log.warn({ err }, 'the copy of the CA cannot be written'));
  };
  const unsubscribe = store.subscribe(({ changes }) => {
    if (changes.some(({ kind }) => kind === 'cluster')) follow();
  });
  follow();
  return async () => {
    unsubscribe();
    await turns.run(async () => undefined);
  };
}

/** Undefined where there is none that this key opens. */
export async function readCaCopy(swarmDir: string, sealer: Pick<Sealer, 'open'>): Promise<Ca | undefined> {
  try {
    return JSON.parse(sealer.open(sealedFor, await readFile(fileIn(swarmDir))).toString('utf8')) as Ca;
  } catch {
    return undefined;
  }
}

/** Of a node that is no manager any more. */
export const removeCaCopy = (swarmDir: string): Promise<void> => rm(fileIn(swarmDir), { force: true });

/** A new certificate for a manager whose own has expired, and key, by the CA of the copy. */
export async function issueOwn(
  { nodeId, clusterId }: NodeIdentity,
  address: string,
  cluster: Ca,
  ca: Pick<ClusterCa, 'issueCertificate'>,
): Promise<NodeIdentity> {
  const { csrPem, keyPem } = await createCsr();
  const request = { cluster, csrPem, nodeId, clusterId, address, role: 'manager' as const };
  return identityFromPem(await ca.issueCertificate(request), keyPem, trustOf(cluster));
}

export const hasExpired = ({ certPem }: Pick<NodeIdentity, 'certPem'>, nowMs: number): boolean =>
  validityOf(certPem).notAfterMs <= nowMs;
