/** What `docker swarm ca --rotate` may ask for, and what comes of it; with an external CA that speaks as cfssl does. */
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  createCsr,
  createRootCa,
  crossSign,
  identityOfCertificate,
  issueNodeCertificate,
} from '../../../src/controlplane/ca/certificates.js';
import type { KeyedCertificate } from '../../../src/controlplane/ca/certificates.js';
import { certificatesOf, leadsTo } from '../../../src/controlplane/ca/chain.js';
import { ClusterCa } from '../../../src/controlplane/ca/cluster-ca.js';
import type { SigningOrder } from '../../../src/controlplane/ca/external-ca.js';
import { identityFromPem } from '../../../src/controlplane/ca/node-identity.js';
import type { NodeIdentity } from '../../../src/controlplane/ca/node-identity.js';
import type { ClusterId, NodeId } from '../../../src/model/ids.js';
import type { Cluster, ExternalCa } from '../../../src/model/objects.js';
import { cluster, clusterSpec } from '../../support/cluster-objects.js';

const nowMs = Date.now();
const hourMs = 3_600_000;
const who = { nodeId: 'm1' as NodeId, role: 'manager' as const, clusterId: 'c1' as ClusterId };
const directory = mkdtempSync(join(tmpdir(), 'skep-roots-'));
afterAll(() => rmSync(directory, { recursive: true }));

/** A root as a user would make it, with openssl. @param constraints openssl's words for what a CA may do */
function ownRoot(
  name: string,
  algorithm: readonly string[],
  days = 3650,
  constraints = 'CA:TRUE',
): KeyedCertificate {
  const [key, cert, config] = ['key', 'crt', 'cnf'].map((kind) => join(directory, `${name}.${kind}`)) as [
    string,
    string,
    string,
  ];
  writeFileSync(
    config,
    `[req]\ndistinguished_name=dn\nx509_extensions=ca\n[dn]\n[ca]\nsubjectKeyIdentifier=hash\n` +
      `basicConstraints=critical,${constraints}\nkeyUsage=critical,keyCertSign,cRLSign\n`,
  );
  const subject = ['-subj', `/O=Example/CN=${name}`, '-days', String(days)];
  const files = ['-keyout', key, '-out', cert, '-config', config];
  execFileSync('openssl', ['req', '-x509', '-nodes', ...algorithm, ...files, ...subject], {
    stdio: 'ignore',
  });
  return { certPem: readFileSync(cert, 'utf8'), keyPem: readFileSync(key, 'utf8') };
}
const p256 = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'];
const p384 = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-384'];
const rsa = ['-newkey', 'rsa:2048'];

let current: KeyedCertificate;
let identity: NodeIdentity;
let server: Server;
let external: KeyedCertificate;
let url: string;
/** What the external CA was asked, and by whom. */
const asked: { readonly order: SigningOrder; readonly by: string }[] = [];
/** What it answers instead. */
let misbehave: ((order: SigningOrder) => Promise<string> | string) | undefined;

const issue = async (rootCa: KeyedCertificate): Promise<NodeIdentity> => {
  const { csrPem, keyPem } = await createCsr();
  const request = { rootCa, csrPem, ...who, nowMs, validMs: hourMs, address: '127.0.0.1' };
  return identityFromPem(await issueNodeCertificate(request), keyPem, rootCa.certPem);
};
const signed = (certificate: string): string =>
  JSON.stringify({ success: true, result: { certificate }, errors: [] });

/** As cfssl would: the order's subject and hosts, and a CA for the profile that is for CAs. */
async function sign({ certificate_request: csrPem, subject, profile }: SigningOrder): Promise<string> {
  if (profile === 'CA') {
    const csr = join(directory, 'order.csr');
    writeFileSync(csr, csrPem);
    writeFileSync(join(directory, 'ca.crt'), external.certPem);
    writeFileSync(join(directory, 'ca.key'), external.keyPem);
    writeFileSync(
      join(directory, 'ca.ext'),
      'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n',
    );
    const from = ['-in', csr, '-CA', join(directory, 'ca.crt'), '-CAkey', join(directory, 'ca.key')];
    const as = ['-extfile', join(directory, 'ca.ext'), '-days', '3000', '-set_serial', '77'];
    return signed(
      execFileSync('openssl', ['x509', '-req', ...from, ...as], {
        stdio: ['ignore', 'pipe', 'ignore'],
      }).toString(),
    );
  }
  const [names] = subject?.names ?? [];
  return signed(
    await issueNodeCertificate({
      rootCa: external,
      csrPem,
      nodeId: subject?.CN as NodeId,
      role: names?.OU === 'swarm-manager' ? 'manager' : 'worker',
      clusterId: names?.O as ClusterId,
      nowMs,
      validMs: hourMs,
    }),
  );
}

beforeAll(async () => {
  current = await createRootCa(nowMs);
  external = ownRoot('external', p256);
  identity = await issue(current);
  const { certPem, keyPem } = identity;
  server = createServer(
    { cert: certPem, key: keyPem, ca: current.certPem, requestCert: true, rejectUnauthorized: true },
    (request, reply) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const order = JSON.parse(Buffer.concat(chunks).toString()) as SigningOrder;
        asked.push({ order, by: (request.socket as TLSSocket).getPeerCertificate().subject.CN as string });
        void Promise.resolve((misbehave ?? sign)(order)).then((text) => reply.end(text));
      });
    },
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `https://127.0.0.1:${(server.address() as AddressInfo).port}/api/v1/cfssl/sign`;
});
afterAll(() => server.close());

const ca = (): ClusterCa => new ClusterCa({ clock: { nowMs: () => nowMs }, identity: () => identity });
const externalCa = (caCert: string, at = url): ExternalCa => ({
  protocol: 'cfssl',
  url: at,
  options: {},
  caCert,
});
const nothing = { signingCaCert: '', signingCaKey: '', externalCas: [], forceRotate: 0 };
const ofRoot = (rootCa: KeyedCertificate, over: Partial<Cluster> = {}): Cluster =>
  cluster({ rootCa, id: who.clusterId, ...over });

/** That a node of the next root is believed by who trusts the one before alone, and the other way round by who trusts the next. */
async function expectBelieved(next: Cluster, address = '127.0.0.1'): Promise<void> {
  const { csrPem } = await createCsr();
  const chain = await ca().issueCertificate({ cluster: next, csrPem, ...who, address });
  for (const root of [next.rootCa, next.rootRotation!])
    expect(leadsTo(certificatesOf(chain), certificatesOf(root.certPem), Date.now())).toBe(true);
  const file = join(directory, 'chain.pem');
  writeFileSync(file, chain);
  for (const { certPem } of [next.rootCa, next.rootRotation!]) {
    const trusted = join(directory, 'trusted.pem');
    writeFileSync(trusted, certPem);
    // By openssl's own judgement, too.
    const verify = ['verify', '-x509_strict', '-CAfile', trusted, '-untrusted', file, file];
    expect(execFileSync('openssl', verify).toString()).toContain(': OK');
  }
}

describe('a rotation', () => {
  test('nothing new is no rotation', async () => {
    expect(await ca().changeRoots(ofRoot(current), nothing)).toEqual({ rootCa: current });
  });

  test('to a root that is made here', async () => {
    const of = ofRoot(current);
    const roots = await ca().changeRoots(of, { ...nothing, forceRotate: 1 });
    expect(roots.rootCa).toEqual(current);
    await expectBelieved({ ...of, ...roots });
  });

  test.each([
    ['P-256', p256],
    ['P-384', p384],
    ['RSA', rsa],
  ])('to a user’s own root, %s, and on from it', async (name, algorithm) => {
    const own = ownRoot(name, algorithm);
    const of = ofRoot(current);
    const wanted = { ...nothing, signingCaCert: own.certPem, signingCaKey: own.keyPem };
    const roots = await ca().changeRoots(of, wanted);
    await expectBelieved({ ...of, ...roots });
    const { certPem, keyPem } = roots.rootRotation!;
    const then = ofRoot({ certPem, keyPem });
    await expectBelieved({ ...then, ...(await ca().changeRoots(then, { ...nothing, forceRotate: 1 })) });
  });

  test('another one during it takes its place, and the first is remembered while certificates of it are about', async () => {
    const of = ofRoot(current);
    const first = { ...of, ...(await ca().changeRoots(of, { ...nothing, forceRotate: 1 })) };
    const second = await ca().changeRoots(first, { ...nothing, forceRotate: 2 });
    expect(second.rootRotation?.abandoned).toEqual([first.rootRotation!.certPem]);
    await expectBelieved({ ...first, ...second });
  });

  test('back to the present root', async () => {
    const of = ofRoot(current);
    const first = { ...of, ...(await ca().changeRoots(of, { ...nothing, forceRotate: 1 })) };
    const wanted = { ...nothing, signingCaCert: current.certPem, signingCaKey: current.keyPem };
    const back = await ca().changeRoots(first, wanted);
    expect(back.rootRotation).toEqual({
      ...current,
      abandoned: [first.rootRotation!.certPem],
      toldAtMs: 0,
    });
  });

  test('not without end', async () => {
    let of = ofRoot(current);
    const rotate = async (i: number): Promise<void> => {
      of = { ...of, ...(await ca().changeRoots(of, { ...nothing, forceRotate: i })) };
    };
    for (let i = 1; i <= 9; i++) await rotate(i);
    await expect(rotate(10)).rejects.toMatchObject({ kind: 'failedPrecondition' });
  });
});

describe('refused', () => {
  const refusals: readonly [
    string,
    () => Promise<Partial<Parameters<ClusterCa['changeRoots']>[1]>>,
    string | RegExp,
  ][] = [
    [
      'a key alone',
      async () => ({ signingCaKey: current.keyPem }),
      'if a signing CA key is provided, the signing CA cert must also be provided',
    ],
    [
      'a key with what is no certificate',
      async () => ({ signingCaCert: 'x', signingCaKey: 'x' }),
      'if a signing CA key is provided, the signing CA cert must also be provided',
    ],
    [
      'what is no certificate',
      async () => ({ signingCaCert: 'x' }),
      /^could not parse the desired CA certificate: /,
    ],
    [
      'several',
      async () => ({ signingCaCert: current.certPem + external.certPem }),
      'the desired CA certificate cannot contain multiple certificates',
    ],
    ['no root', async () => ({ signingCaCert: identity.certPem }), /is not that of a root/],
    [
      'one that ends within a year',
      async () => {
        const { certPem, keyPem } = ownRoot('short', p256, 300);
        return { signingCaCert: certPem, signingCaKey: keyPem };
      },
      'CA certificate expires too soon',
    ],
    [
      'one that no other can follow',
      async () => {
        const { certPem, keyPem } = ownRoot('last', p256, 3650, 'CA:TRUE,pathlen:0');
        return { signingCaCert: certPem, signingCaKey: keyPem };
      },
      /allows no CA below it/,
    ],
    [
      'another key',
      async () => ({ signingCaCert: external.certPem, signingCaKey: current.keyPem }),
      'certificate key mismatch',
    ],
    [
      'the present key with another certificate',
      async () => {
        const path = join(directory, 'same.key');
        writeFileSync(path, current.keyPem);
        const same = ['req', '-x509', '-key', path, '-subj', '/CN=same', '-days', '3650'];
        const certPem = execFileSync('openssl', same).toString();
        return { signingCaCert: certPem, signingCaKey: current.keyPem };
      },
      'Cannot update to a cert with an identical key',
    ],
    [
      'a root whose CA nobody reaches',
      async () => ({
        signingCaCert: external.certPem,
        externalCas: [externalCa(new X509Certificate(external.certPem).toString(), 'https://127.0.0.1:1/')],
      }),
      'there must be at least one valid, reachable external CA corresponding to the desired CA certificate',
    ],
    [
      'an Ed25519 key',
      async () => {
        const { certPem, keyPem } = ownRoot('ed', ['-newkey', 'ed25519']);
        return { signingCaCert: certPem, signingCaKey: keyPem };
      },
      /neither ECDSA/,
    ],
  ];
  test.each(refusals)('%s', async (_, request, message) => {
    const refused = ca().changeRoots(ofRoot(current), { ...nothing, ...(await request()) });
    await expect(refused).rejects.toMatchObject({
      kind: 'invalidArgument',
      message: typeof message === 'string' ? message : (expect.stringMatching(message) as string),
    });
  });

  test('an external root: without its CA, and for another external one', async () => {
    const normal = new X509Certificate(external.certPem).toString();
    const of = ofRoot({ certPem: normal, keyPem: '' });
    await expect(ca().changeRoots(of, { ...nothing, forceRotate: 1 })).rejects.toMatchObject({
      message:
        'there must be at least one valid, reachable external CA corresponding to the current CA certificate',
    });
    const other = new X509Certificate(ownRoot('other', p256).certPem).toString();
    const externalCas = [externalCa(''), externalCa(other)];
    await expect(
      ca().changeRoots(of, { ...nothing, signingCaCert: other, externalCas }),
    ).rejects.toMatchObject({
      message: 'rotating from one external CA to a different external CA is not supported',
    });
  });
});

describe('an external CA', () => {
  const normal = (): string => new X509Certificate(external.certPem).toString();
  const ofExternal = (): Cluster =>
    ofRoot({ certPem: normal(), keyPem: '' }, { spec: { ...clusterSpec, externalCas: [externalCa('')] } });

  test('takes over from the cluster’s own key, and is asked with the node’s certificate', async () => {
    const of = ofRoot(current);
    const externalCas = [externalCa(normal())];
    const roots = await ca().changeRoots(of, { ...nothing, signingCaCert: external.certPem, externalCas });
    asked.splice(0);
    await expectBelieved({ ...of, ...roots, spec: { ...of.spec, externalCas } });
    expect(asked).toMatchObject([
      {
        by: 'm1',
        order: {
          hosts: ['swarm-manager', 'm1', 'swarm-ca', '127.0.0.1'],
          subject: { CN: 'm1', names: [{ O: 'c1', OU: 'swarm-manager' }] },
        },
      },
    ]);
  });

  test('gives way to a key of the cluster’s own, which it cross-signs', async () => {
    const of = ofExternal();
    const externalCas = [externalCa('')];
    const roots = await ca().changeRoots(of, { ...nothing, forceRotate: 1, externalCas });
    await expectBelieved({ ...of, ...roots });
  });

  const lies: readonly [string, (order: SigningOrder) => Promise<string> | string, RegExp][] = [
    [
      'signs with another root',
      async (order) =>
        signed(
          await issueNodeCertificate({
            ...who,
            rootCa: current,
            csrPem: order.certificate_request,
            nowMs,
            validMs: hourMs,
          }),
        ),
      /not of the root CA/,
    ],
    [
      'signs for another node',
      async (order) => sign({ ...order, subject: { CN: 'm2', names: [{ O: 'c1', OU: 'swarm-manager' }] } }),
      /not the one asked for/,
    ],
    [
      'signs another key',
      async (order) => sign({ ...order, certificate_request: (await createCsr()).csrPem }),
      /not the one asked for/,
    ],
    [
      'refuses',
      () => JSON.stringify({ success: false, result: null, errors: [{ code: 1, message: 'no more' }] }),
      /no more/,
    ],
    ['talks nonsense', () => 'nonsense', /no JSON/],
    ['talks without end', () => 'x'.repeat(2 * 1024 * 1024), /1 MiB|aborted|socket/],
  ];
  test.each(lies)('that %s is not believed', async (_, answer, reason) => {
    misbehave = answer;
    try {
      const { csrPem } = await createCsr();
      const issued = ca().issueCertificate({ cluster: ofExternal(), csrPem, ...who });
      await expect(issued).rejects.toMatchObject({
        kind: 'unavailable',
        message: expect.stringMatching(reason) as string,
      });
    } finally {
      misbehave = undefined;
    }
  });

  test('is not asked by a host whose certificate it does not know', async () => {
    const stranger = await issue(external);
    const theirs = new ClusterCa({
      clock: { nowMs: () => nowMs },
      identity: () => ({ ...stranger, rootPem: current.certPem }),
    });
    const { csrPem } = await createCsr();
    await expect(theirs.issueCertificate({ cluster: ofExternal(), csrPem, ...who })).rejects.toMatchObject({
      kind: 'unavailable',
    });
  });
});

test('a cross-signed root lasts no longer than either, and says its own name', async () => {
  const next = ownRoot('next', p256, 800);
  const [cross] = certificatesOf(await crossSign(current, next.certPem, nowMs));
  expect(cross!.subject).toBe(new X509Certificate(next.certPem).subject);
  expect(cross!.issuer).toBe('CN=swarm-ca');
  expect(Date.parse(cross!.validTo)).toBe(Date.parse(new X509Certificate(next.certPem).validTo));
  expect(identityOfCertificate(identity.certPem)).toEqual(who);
});
