/** Root rotation, planned on a view: who is told when, when it is over, and that it converges whatever is changed meanwhile. */
import { beforeAll, describe, expect, test } from 'vitest';
import { createRootCa, crossSign, issuerInfo } from '../../../src/controlplane/ca/certificates.js';
import type { KeyedCertificate } from '../../../src/controlplane/ca/certificates.js';
import { trustName } from '../../../src/controlplane/ca/etcd-trust.js';
import { isRotating } from '../../../src/controlplane/ca/root-trust.js';
import { planRootRotation, toldEveryMs } from '../../../src/controlplane/ca/rotation.js';
import { writePlan } from '../../../src/controlplane/plan.js';
import type { MemoryStore } from '../../../src/controlplane/store/memory.js';
import type { NodeId } from '../../../src/model/ids.js';
import type { Node, RootRotation } from '../../../src/model/objects.js';
import { cluster, node, presence, seededBytes, storeOf } from '../../support/cluster-objects.js';

const tokens = { worker: 'worker token', manager: 'manager token' };
let [before, next, other] = [] as unknown as [KeyedCertificate, KeyedCertificate, KeyedCertificate];
beforeAll(async () => {
  [before, next, other] = await Promise.all([createRootCa(0), createRootCa(0), createRootCa(0)]);
});

const towards = async (
  root: KeyedCertificate,
  abandoned: readonly KeyedCertificate[] = [],
): Promise<RootRotation> => ({
  ...root,
  ...(root !== before && { crossSigned: await crossSign(before, root.certPem, 0) }),
  abandoned: abandoned.map(({ certPem }) => certPem),
  toldAtMs: 0,
});
const reports = (of: Node, root: KeyedCertificate): Node => ({
  ...of,
  description: { ...of.description!, tlsInfo: { trustRoot: '', ...issuerInfo(root.certPem) } },
});
const keyOf = (root: KeyedCertificate): string => issuerInfo(root.certPem).certIssuerPublicKey;
const managed = (id: string): Node => ({
  ...reports(node(id), before),
  managerStatus: { leader: false, reachability: 'reachable', addr: `${id}:2377` },
});

async function pass(store: MemoryStore, nowMs: number): Promise<{ told: string[]; wakeAtMs?: number }> {
  const plan = planRootRotation(store.view(), nowMs, seededBytes(1));
  await store.update((tx) => writePlan(tx, plan.writes));
  const told = plan.writes.flatMap((write) =>
    write.kind === 'node' && write.op === 'update' ? [write.object.id] : [],
  );
  return { told, ...(plan.wakeAtMs !== undefined && { wakeAtMs: plan.wakeAtMs }) };
}
/** The nodes do as they were told. */
const follow = (store: MemoryStore, roots: readonly KeyedCertificate[]): Promise<void> =>
  store.update((tx) => {
    for (const each of tx.list('node')) {
      const root = roots.find((known) => keyOf(known) === each.wantedIssuer);
      if (root) tx.update('node', reports(each, root));
    }
  });
const restartEtcd = (store: MemoryStore, id: string): Promise<void> =>
  store.update((tx) => {
    const found = tx.get('manager', id as NodeId);
    if (found) tx.update('manager', { ...found, etcdTrust: trustName(tx.cluster().rootCa.certPem) });
  });

describe('root rotation', () => {
  test('thirty nodes are told, and thirty more after three seconds', async () => {
    const nodes = Array.from({ length: 70 }, (_, i) =>
      reports(node(`n${String(i).padStart(2, '0')}`), before),
    );
    const store = await storeOf({
      cluster: [cluster({ rootCa: before, rootRotation: await towards(next), joinTokens: tokens })],
      node: nodes,
    });
    const told: number[] = [];
    for (const nowMs of [10_000, 10_100, 10_000 + toldEveryMs, 10_000 + 2 * toldEveryMs]) {
      const { told: now, wakeAtMs } = await pass(store, nowMs);
      told.push(now.length);
      if (told.length < 4) expect(wakeAtMs).toBeLessThanOrEqual(nowMs + toldEveryMs);
    }
    expect(told).toEqual([30, 0, 30, 10]);
    expect(
      store
        .view()
        .list('node')
        .every(({ wantedIssuer }) => wantedIssuer === keyOf(next)),
    ).toBe(true);
  });

  test('ends when every node has a certificate of the new root, one that is down too, unless it was removed', async () => {
    const store = await storeOf({
      cluster: [cluster({ rootCa: before, rootRotation: await towards(next), joinTokens: tokens })],
      node: [reports(node('n1'), before), reports(node('down', { state: 'down' }), before)],
    });
    await pass(store, 10_000);
    await store.update((tx) => tx.update('node', reports(tx.get('node', 'n1' as NodeId)!, next)));
    await pass(store, 20_000);
    expect(store.view().cluster()).toMatchObject({ rootCa: before, joinTokens: tokens });
    await store.update((tx) => tx.delete('node', 'down'));
    await pass(store, 30_000);
    const { rootCa, rootRotation, joinTokens } = store.view().cluster();
    expect(rootCa).toMatchObject(next);
    expect(rootRotation).toBeUndefined();
    const digests = [joinTokens.worker, joinTokens.manager].map((token) => token.split('-')[2]);
    expect(digests[0]).toBe(digests[1]);
    expect(joinTokens.worker).not.toBe(joinTokens.manager);
    expect(joinTokens).not.toMatchObject(tokens);
  });

  test('goes on until the etcd of every manager trusts the new root alone', async () => {
    const store = await storeOf({
      cluster: [cluster({ rootCa: before, rootRotation: await towards(next), joinTokens: tokens })],
      node: [managed('m1'), managed('m2')],
      manager: ['m1', 'm2'].map((id) => ({ ...presence(id), etcdTrust: trustName(before.certPem) })),
    });
    await pass(store, 10_000);
    await follow(store, [next]);
    await pass(store, 20_000);
    const seen = [isRotating(store.view().cluster())];
    for (const id of ['m1', 'm2']) {
      await restartEtcd(store, id);
      await pass(store, 30_000);
      seen.push(isRotating(store.view().cluster()));
    }
    expect(seen).toEqual([true, true, false]);
    expect(store.view().cluster().rootCa).toEqual(next);
  });

  const ways: readonly [string, () => readonly KeyedCertificate[]][] = [
    ['is made once', () => [next]],
    ['gets another target', () => [next, other]],
    ['is taken back', () => [next, before]],
    ['is taken back and made again', () => [next, before, next]],
    ['is made twice', () => [next, other, next]],
  ];
  test.each(ways)(
    '%s, at any moment: it ends with the last target, everybody at it, and rests',
    async (_, targets) => {
      // How many passes each target has before the next one comes.
      for (const passes of [0, 1, 2, 3]) {
        const nodes = [
          managed('m1'),
          managed('m2'),
          reports(node('w1'), before),
          reports(node('w2'), before),
        ];
        const store = await storeOf({
          cluster: [cluster({ rootCa: before, joinTokens: tokens })],
          node: nodes,
          manager: ['m1', 'm2'].map((id) => ({ ...presence(id), etcdTrust: trustName(before.certPem) })),
        });
        let nowMs = 100_000;
        const left: KeyedCertificate[] = [];
        for (const target of targets()) {
          const rotation = await towards(target, left);
          await store.update((tx) => {
            // As root-change.ts, whose part this is not.
            if (tx.cluster().rootCa.certPem !== target.certPem || tx.cluster().rootRotation)
              tx.update('cluster', { ...tx.cluster(), rootRotation: rotation });
          });
          left.push(target);
          for (let i = 0; i < passes; i++) {
            await pass(store, (nowMs += toldEveryMs));
            await follow(store, [next, other, before]);
            if (i === 2) await restartEtcd(store, 'm1');
          }
        }
        for (let i = 0; i < 8; i++) {
          await pass(store, (nowMs += toldEveryMs));
          await follow(store, [next, other, before]);
          for (const id of ['m1', 'm2']) await restartEtcd(store, id);
        }
        const last = targets().at(-1)!;
        expect(store.view().cluster().rootCa).toEqual(last);
        expect(isRotating(store.view().cluster())).toBe(false);
        for (const each of store.view().list('node'))
          expect(each.description?.tlsInfo.certIssuerPublicKey).toBe(keyOf(last));
        expect(planRootRotation(store.view(), nowMs + toldEveryMs, seededBytes(1)).writes).toEqual([]);
      }
    },
  );
});
