import 'reflect-metadata'; // First: @peculiar/x509 needs it when it is loaded.
import assert from 'node:assert/strict';
import { X509Certificate, createPublicKey, webcrypto } from 'node:crypto';
import { mkdtemp, readdir, rm, stat, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Pkcs10CertificateRequestGenerator } from '@peculiar/x509';
import { beforeAll, test } from 'vitest';
import {
  createCsr,
  createRootCa,
  identityOfCertificate,
  issueNodeCertificate,
  renewAtMs,
  tlsInfoOf,
  validityOf,
  verifyIssued,
} from '../../../src/controlplane/ca/certificates.js';
import type { KeyedCertificate } from '../../../src/controlplane/ca/certificates.js';
import {
  identityFromPem,
  removeIdentityFiles,
  writeIdentityFiles,
} from '../../../src/controlplane/ca/node-identity.js';
import type { ClusterId, NodeId } from '../../../src/model/ids.js';

const nowMs = Date.UTC(2030, 0, 1);
const hourMs = 3_600_000;
const day90Ms = 90 * 24 * hourMs;
const who = { nodeId: 'node1' as NodeId, clusterId: 'cluster1' as ClusterId };
let rootCa: KeyedCertificate;
let otherCa: KeyedCertificate;

beforeAll(async () => {
  [rootCa, otherCa] = await Promise.all([createRootCa(nowMs), createRootCa(nowMs)]);
});

const issue = (role: 'worker' | 'manager', csrPem: string, ca = rootCa): Promise<string> =>
  issueNodeCertificate({ rootCa: ca, csrPem, ...who, role, nowMs, validMs: day90Ms });

test('the root is Swarm’s: swarm-ca, P-256, a CA, 20 years', () => {
  const root = new X509Certificate(rootCa.certPem);
  assert.equal(root.subject, 'CN=swarm-ca');
  assert.equal(root.ca, true);
  assert(root.verify(root.publicKey));
  assert.equal(root.publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1');
  const years = (Date.parse(root.validTo) - nowMs) / (365 * 24 * hourMs);
  assert.equal(Math.round(years), 20);
  assert.match(rootCa.keyPem, /^-----BEGIN PRIVATE KEY-----\n/);
  assert.match(rootCa.certPem, /-----END CERTIFICATE-----\n$/);
});

const roles: Array<[role: 'worker' | 'manager', names: string]> = [
  ['worker', 'DNS:swarm-worker, DNS:node1'],
  ['manager', 'DNS:swarm-manager, DNS:node1, DNS:swarm-ca'],
];
for (const [role, names] of roles)
  test(`a ${role}'s certificate says cluster, role and node, and whom it may be called`, async () => {
    const { csrPem, keyPem } = await createCsr();
    const certPem = await issue(role, csrPem);
    const certificate = new X509Certificate(certPem);
    assert.equal(certificate.subject, `O=cluster1\nOU=swarm-${role}\nCN=node1`);
    assert.equal(certificate.subjectAltName, names);
    assert.equal(certificate.ca, false);
    assert.deepEqual(certificate.keyUsage, ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
    assert.deepEqual(validityOf(certPem), { notBeforeMs: nowMs - hourMs, notAfterMs: nowMs + day90Ms });
    assert.deepEqual(identityOfCertificate(certPem), { ...who, role });
    verifyIssued(rootCa.certPem, certPem, keyPem);
    assert.throws(() => verifyIssued(otherCa.certPem, certPem, keyPem), /not issued by the root CA/);
    assert.throws(() => verifyIssued(rootCa.certPem, certPem, otherCa.keyPem), /another key/);
    assert.throws(
      () => identityFromPem(rootCa.certPem, rootCa.keyPem, rootCa.certPem),
      /not one of a swarm node/,
    );
  });

test('a request that is none, or whose signature is not its own, is refused', async () => {
  const { csrPem } = await createCsr();
  const der = Buffer.from(csrPem.replace(/-----[^-]+-----|\n/g, ''), 'base64');
  der[der.length - 1] = (der.at(-1) ?? 0) ^ 1;
  const forged = `-----BEGIN CERTIFICATE REQUEST-----\n${der.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`;
  for (const bad of ['', 'garbage', rootCa.certPem, forged, csrPem.slice(0, 200)])
    await assert.rejects(issue('manager', bad), { kind: 'invalidArgument' });
});

const foreignKeys = [
  { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' },
  {
    name: 'RSASSA-PKCS1-v1_5',
    modulusLength: 2048,
    publicExponent: Uint8Array.of(1, 0, 1),
    hash: 'SHA-256',
  },
];
for (const signingAlgorithm of foreignKeys)
  test(`a key that is not ECDSA P-256 is not certified: ${signingAlgorithm.name}, ${signingAlgorithm.hash}`, async () => {
    const keys = await webcrypto.subtle.generateKey(signingAlgorithm, true, ['sign', 'verify']);
    const csr = await Pkcs10CertificateRequestGenerator.create({ name: 'CN=x', keys, signingAlgorithm });
    await assert.rejects(issue('worker', csr.toString('pem')), { kind: 'invalidArgument' });
  });

test('a node says whom it trusts, and who signed for it: subject and key, as DER in base64', async () => {
  const { csrPem } = await createCsr();
  const info = tlsInfoOf({ certPem: await issue('worker', csrPem), rootPem: rootCa.certPem });
  const spki = createPublicKey(rootCa.certPem).export({ type: 'spki', format: 'der' });
  assert.deepEqual(info, {
    trustRoot: rootCa.certPem,
    // SEQUENCE { SET { SEQUENCE { 2.5.4.3, "swarm-ca" } } }, the value Swarm shows.
    certIssuerSubject: 'MBMxETAPBgNVBAMTCHN3YXJtLWNh',
    certIssuerPublicKey: spki.toString('base64'),
  });
});

test('renewal is between 50 and 80 % of the validity', () => {
  const validity = { notBeforeMs: 1_000, notAfterMs: 2_000 };
  assert.deepEqual(
    [0, 0.5, 1].map((draw) => renewAtMs(validity, () => draw)),
    [1_500, 1_650, 1_800],
  );
});

test('an identity is written for etcd in files that only root reads, each replaced whole', async () => {
  const directory = join(await mkdtemp(join(tmpdir(), 'skep-ca-')), 'etcd-tls');
  try {
    for (let round = 0; round < 2; round++) {
      const { csrPem, keyPem } = await createCsr();
      const identity = identityFromPem(await issue('worker', csrPem), keyPem, rootCa.certPem);
      const { certFile, keyFile } = await writeIdentityFiles(directory, identity);
      const texts = await Promise.all([certFile, keyFile].map((file) => readFile(file, 'utf8')));
      assert.deepEqual(texts, [identity.certPem, identity.keyPem]);
    }
    for (const file of await readdir(directory))
      assert.equal((await stat(join(directory, file))).mode & 0o777, 0o600, file);
    assert.equal((await stat(directory)).mode & 0o777, 0o700);
    assert.equal((await readdir(directory)).length, 2);
    await removeIdentityFiles(directory);
    await assert.rejects(stat(directory), /ENOENT/);
  } finally {
    await rm(join(directory, '..'), { recursive: true });
  }
});
