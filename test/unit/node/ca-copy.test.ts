/** A manager whose certificate has expired while all were off renews it by itself. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createCsr, createRootCa, issueNodeCertificate } from '../../../src/controlplane/ca/certificates.js';
import type { KeyedCertificate } from '../../../src/controlplane/ca/certificates.js';
import { ClusterCa } from '../../../src/controlplane/ca/cluster-ca.js';
import { identityFromPem } from '../../../src/controlplane/ca/node-identity.js';
import {
  hasExpired,
  issueOwn,
  keepCaCopy,
  readCaCopy,
  removeCaCopy,
} from '../../../src/controlplane/node/ca-copy.js';
import { newDataKey, Sealer } from '../../../src/controlplane/store/seal.js';
import type { ClusterId, NodeId } from '../../../src/model/ids.js';
import { cluster, storeOf } from '../../support/cluster-objects.js';

const nowMs = Date.now();
const sealer = new Sealer(newDataKey());
const log = pino({ level: 'silent' });
let directory: string;
let rootCa: KeyedCertificate;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'skep-ca-copy-'));
  rootCa = await createRootCa(nowMs);
});
afterEach(() => rm(directory, { recursive: true }));

test('the copy follows the store, and only its data key opens it', async () => {
  const store = await storeOf({ cluster: [cluster({ rootCa })] });
  const end = keepCaCopy(directory, store, sealer, log);
  const next = await createRootCa(nowMs);
  await store.update((tx) => tx.update('cluster', { ...tx.cluster(), rootCa: next }));
  await end();
  expect((await readCaCopy(directory, sealer))?.rootCa).toEqual(next);
  expect(await readCaCopy(directory, new Sealer(newDataKey()))).toBeUndefined();
  const onDisk = (await readFile(join(directory, 'root-ca.sealed'))).toString('latin1');
  for (const line of next.keyPem.split('\n').filter((text) => text.length > 20 && !text.startsWith('---')))
    expect(onDisk).not.toContain(line);
  await removeCaCopy(directory);
  expect(await readCaCopy(directory, sealer)).toBeUndefined();
});

test('an expired manager is what it was, with another key, and believed by the others', async () => {
  const { csrPem, keyPem } = await createCsr();
  const who = { nodeId: 'm1' as NodeId, clusterId: 'c1' as ClusterId, role: 'manager' as const };
  const request = { rootCa, csrPem, ...who, nowMs: nowMs - 7_200_000, validMs: 3_600_000 };
  const expired = identityFromPem(await issueNodeCertificate(request), keyPem, rootCa.certPem);
  expect(hasExpired(expired, nowMs)).toBe(true);
  const own = await issueOwn(
    expired,
    '192.0.2.1',
    cluster({ rootCa }),
    new ClusterCa({ clock: { nowMs: () => nowMs } }),
  );
  expect(own).toMatchObject(who);
  expect(own.keyPem).not.toBe(keyPem);
  expect(hasExpired(own, nowMs)).toBe(false);
});
