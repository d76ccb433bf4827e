/** A node that registers just as a term of office begins. */
import { EventEmitter } from 'node:events';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { allocateLeg } from '../../../src/controlplane/allocator/leg.js';
import { createManagerServices } from '../../../src/controlplane/dispatcher/manager-services.js';
import type { Store } from '../../../src/controlplane/store/store.js';
import type { Ip } from '../../../src/model/addresses.js';
import type { NodeId } from '../../../src/model/ids.js';
import type { Node } from '../../../src/model/objects.js';
import { systemClock } from '../../../src/runtime/clock.js';
import { node, seededBytes, storeOf } from '../../support/cluster-objects.js';

const description = {
  ...{
    hostname: 'n1',
    architecture: '',
    os: '',
    nanoCpus: 0,
    memoryBytes: 0,
    engineVersion: '',
    engineLabels: {},
  },
  ...{ plugins: [], genericResources: [], routes: [], espEpoch: 0, tlsInfo: null },
};

const silent = node('n1');
/** As the store has it once it has said all of the above. */
const known: Node = {
  ...silent,
  description: {
    hostname: 'n1',
    platform: { architecture: '', os: '' },
    resources: { nanoCpus: 0, memoryBytes: 0 },
    engine: { engineVersion: '', labels: {}, plugins: [] },
    tlsInfo: { trustRoot: '', certIssuerSubject: '', certIssuerPublicKey: '' },
    routes: [],
  },
  status: { state: 'ready', message: '', addr: '192.0.2.1' },
  dataPathAddr: '192.0.2.1' as Ip,
};

test.each([
  ['for the first time', silent],
  ['and says nothing new', known],
])(
  'a node that registers %s while its leader takes stock of silent nodes is not unknown ever after',
  async (_, before) => {
    const store = await storeOf({ node: [before] });
    const services = createManagerServices({
      ...{ store, clock: systemClock, random: seededBytes(1), log: pino({ enabled: false }), allocateLeg },
      peerOf: () => ({ nodeId: 'n1', role: 'worker', clusterId: 'cluster', certificate: Buffer.alloc(0) }),
      isTrusted: () => true,
      shownIdentity: async () => undefined,
      issueCertificate: () => expect.fail('nobody joins here'),
    });
    // The stock is written once the node has been, and no moment later.
    let isFirst = true;
    const registered = new Promise<void>((resolve) => store.subscribe(() => resolve()));
    const slow: Store = {
      ...{ view: () => store.view(), close: async () => undefined },
      subscribe: (listener) => store.subscribe(listener),
      update: async (body) => {
        const waits = isFirst;
        isFirst = false;
        if (waits) await registered;
        return store.update(body);
      },
    };
    const over = new AbortController();
    const leading = services.lead(slow, over.signal);
    const call = Object.assign(new EventEmitter(), {
      ...{
        request: { description, dataPathAddr: '' },
        getPeer: () => '192.0.2.1:1',
        getPath: () => 'Session',
      },
      ...{ write: () => true, end: () => undefined },
    });
    call.on('error', () => undefined);
    for (const { implementation } of services.services)
      (implementation['session'] as undefined | ((stream: EventEmitter) => void))?.(call);
    const status = () => store.view().get('node', 'n1' as NodeId)?.status;
    await registered;
    await systemClock.sleep(50);
    expect(status()).toMatchObject({ state: 'ready', addr: '192.0.2.1' });
    over.abort();
    await leading;
  },
);
