/** Who is taken in as a member. */
import pino from 'pino';
import { expect, test } from 'vitest';
import type { EtcdMember } from '../../../src/controlplane/etcd/members.js';
import { ManagersService } from '../../../src/controlplane/managers/managers-service.js';
import { MemoryStore } from '../../../src/controlplane/store/memory.js';
import { newDataKey } from '../../../src/controlplane/store/seal.js';
import type { Node, NodeRole } from '../../../src/model/objects.js';
import { node, seededBytes } from '../../support/cluster-objects.js';

const peerUrl = 'https://192.0.2.2:2380';
const manager = (wanted: NodeRole): Node => {
  const made = node('b');
  return { ...made, role: 'manager', spec: { ...made.spec, role: wanted } };
};

/** A service, and the addresses it has given to etcd. */
function serving() {
  const added: string[] = [];
  const service = new ManagersService({
    store: new MemoryStore(),
    members: {
      list: async () => [],
      addLearner: async (url): Promise<EtcdMember[]> => {
        added.push(url);
        return [{ id: 'm', name: '', peerUrls: [url], isLearner: true }];
      },
      remove: async () => undefined,
    },
    dataKey: newDataKey(1, seededBytes(1)),
    log: pino({ level: 'silent' }),
  });
  return { service, added };
}

test('a manager is taken in as a learner', async () => {
  const { service, added } = serving();
  expect((await service.join(manager('manager'), { peerUrl })).members).toEqual([{ name: 'b', peerUrl }]);
  expect(added).toEqual([peerUrl]);
});

test('a demoted manager whose member was removed before it heard of it is not taken in again', async () => {
  const { service, added } = serving();
  await expect(service.join(manager('worker'), { peerUrl })).rejects.toMatchObject({
    kind: 'permissionDenied',
  });
  expect(added).toEqual([]);
});
