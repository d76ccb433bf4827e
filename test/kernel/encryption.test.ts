/**
 * Encrypted overlays on this machine's own kernel, which may have no ESP: then nothing of such a network is programmed, the
 * rest is, and whoever asks hears why. What ESP does where there is one is in test/uml/encryption.test.ts.
 */
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { EspCapability, tryEsp } from '../../src/dataplane/kernel/esp-probe.js';
import { encryptedPort } from '../../src/model/encryption.js';
import { MeshCluster } from '../support/mesh-cluster.js';
import { ingressVni, mynetVni, stateOf } from '../unit/dataplane/plan/network-state.js';

const log = pino({ level: 'silent' });
let cluster: MeshCluster;
/** The kernel's refusal; null where it has ESP. */
let refusal: Error | null;

beforeAll(async () => {
  refusal = await tryEsp().then(
    () => null,
    (err: unknown) => err as Error,
  );
  cluster = await MeshCluster.create({
    name: 'enck',
    nodes: [1, 2],
    containers: [],
    outsiders: {},
    bare: true,
  });
});
afterAll(() => cluster[Symbol.asyncDispose]());

test('is asked of the kernel, and asked again only while the answer is no', async () => {
  let nowMs = 0;
  let asked = 0;
  const capability = new EspCapability({ nowMs: () => nowMs }, log, () => {
    asked += 1;
    return tryEsp();
  });
  expect(await Promise.all([capability.has(), capability.has()])).toEqual([
    refusal === null,
    refusal === null,
  ]);
  nowMs += 10_000;
  await capability.has();
  expect(asked).toBe(refusal === null ? 1 : 2);
});

test('without ESP nothing of the network is programmed, and all the rest is', async () => {
  const encrypted = stateOf(1, { ingress: true, keys: [1, 2], sends: 1 });
  const reconciler = cluster.reconciler(1);
  reconciler.setDesired({ state: encrypted, sandboxes: [] });
  await reconciler.pass();
  const { lastError } = reconciler.status();
  const links = async (vni: number): Promise<string> =>
    cluster.runAt(cluster.overlayPath(1, vni), 'ip', '-d', 'link', 'show', 'vxlan0').catch(() => '');
  expect(await links(ingressVni)).toContain(`id ${ingressVni}`);
  const found = await links(mynetVni);
  if (refusal === null) expect(found).toContain(`dstport ${encryptedPort(4789)}`);
  else {
    expect(lastError).toContain('network mynet is encrypted: + esp-state');
    expect(found).toBe('');
    // What the reader of the error needs is in it, and nothing of a key.
    for (const { key } of encrypted.encryptionKeys ?? [])
      expect(lastError).not.toContain(key.reveal().toString('hex'));
  }
  reconciler.setDesired({ state: null, sandboxes: [] });
  await reconciler.pass();
});
