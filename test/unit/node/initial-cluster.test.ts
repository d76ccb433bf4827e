import { expect, test } from 'vitest';
import { clusterSpecDefaults, initialObjects } from '../../../src/controlplane/node/initial-cluster.js';
import type { CheckedInitRequest } from '../../../src/controlplane/node/initial-cluster.js';
import type { NodeAddresses } from '../../../src/controlplane/node/node-addresses.js';
import type { NodeDescription } from '../../../src/model/objects.js';
import { initRequest } from './init-request.js';

const objects = (over: Partial<CheckedInitRequest>) =>
  initialObjects(
    { ...initRequest, ...over },
    {
      clusterId: 'c' as never,
      nodeId: 'n' as never,
      ingressId: 'i' as never,
      rootCa: { certPem: '', keyPem: '' },
      joinTokens: { worker: 'w', manager: 'm' },
      managersLock: undefined,
    },
    {
      listenHost: '0.0.0.0',
      listenPort: 2377,
      advertiseHost: '192.0.2.1',
      advertisePort: 2377,
      dataPathHost: '192.0.2.9',
    } as unknown as NodeAddresses,
    {} as NodeDescription,
  );

test('what an init request leaves out or zero is the default, nested fields too', () => {
  // The CLI sends every field, most of them zero.
  const zero = {
    snapshotInterval: 0,
    keepOldSnapshots: 0,
    logEntriesForSlowFollowers: 0,
    electionTick: 0,
    heartbeatTick: 0,
  };
  const sent = { name: '', heartbeatPeriodNs: 2e9, nodeCertExpiryNs: 0, raft: { ...zero, electionTick: 3 } };
  expect(objects({ spec: sent }).cluster.spec).toEqual({
    ...clusterSpecDefaults,
    heartbeatPeriodNs: 2e9,
    raft: { ...clusterSpecDefaults.raft, electionTick: 3 },
  });
});

test('pool, subnet size and data path: defaults and given ones', () => {
  expect(objects({}).cluster).toMatchObject({
    defaultAddrPool: ['10.0.0.0/8'],
    subnetSize: 24,
    dataPathPort: 4789,
  });
  expect(
    objects({ defaultAddrPool: ['172.30.1.9/16'], subnetSize: 26, dataPathPort: 5000 }).cluster,
  ).toMatchObject({ defaultAddrPool: ['172.30.0.0/16'], subnetSize: 26, dataPathPort: 5000 });
  expect(objects({}).node).toMatchObject({
    managerStatus: { leader: true, addr: '192.0.2.1:2377' },
    dataPathAddr: '192.0.2.9',
  });
});
