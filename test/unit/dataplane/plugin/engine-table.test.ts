import assert from 'node:assert';
import { test } from 'vitest';
import type { EngineView } from '../../../../src/dataplane/plugin/engine-table.js';
import { repairTable } from '../../../../src/dataplane/plugin/engine-table.js';
import type { EngineEndpoint, EngineTable } from '../../../../src/dataplane/state-file.js';
import type { Ip, Mac } from '../../../../src/model/addresses.js';
import type { NetworkId } from '../../../../src/model/ids.js';

const overlayId = 'net1' as NetworkId;
const network = (engineNetworkId: string) => ({ engineNetworkId, overlayId });
const endpoint = (endpointId: string): EngineEndpoint => ({
  endpointId,
  engineNetworkId: 'n1',
  overlayId,
  address: '10.0.1.5' as Ip,
  mac: '02:00:0a:00:01:05' as Mac,
  sandboxKey: '/run/docker/netns/abc',
});
const table = (networks: string[], endpoints: string[], whole = true): EngineTable => ({
  bootId: 'boot1',
  whole,
  networks: networks.map(network),
  endpoints: endpoints.map(endpoint),
});
const view = (networks: string[], endpoints: string[], unjoined: string[] = []): EngineView => ({
  networks: networks.map(network),
  endpoints: endpoints.map(endpoint),
  unjoined,
});
const text = ({ networks, endpoints, whole }: EngineTable): string =>
  [...networks.map((one) => one.engineNetworkId), ...endpoints.map((one) => one.endpointId), whole ? '' : '?']
    .join(' ')
    .trim();

const cases: [name: string, table: EngineTable, views: EngineView[], looks: string[]][] = [
  ['equal', table(['n1'], ['e1']), [view(['n1'], ['e1'])], ['n1 e1']],
  [
    'an endpoint that the engine lost goes at the second look',
    table(['n1'], ['e1', 'e2']),
    [view(['n1'], ['e1']), view(['n1'], ['e1'])],
    ['n1 e1 e2', 'n1 e1'],
  ],
  [
    'one that was on its way stays',
    table(['n1'], ['e1']),
    [view(['n1'], []), view(['n1'], ['e1']), view(['n1'], [])],
    ['n1 e1', 'n1 e1', 'n1 e1'],
  ],
  [
    'one without a sandbox yet stays',
    table(['n1'], ['e1']),
    [view(['n1'], [], ['e1']), view(['n1'], [], ['e1'])],
    ['n1 e1', 'n1 e1'],
  ],
  [
    'one that we lost comes at the second look',
    table(['n1'], []),
    [view(['n1'], ['e1']), view(['n1'], ['e1'])],
    ['n1', 'n1 e1'],
  ],
  ['networks alike', table(['n1'], []), [view(['n2'], []), view(['n2'], [])], ['n1', 'n2']],
  ['after damage the engine is believed at once', table([], [], false), [view(['n1'], ['e1'])], ['n1 e1']],
  ['after damage, an engine that has nothing is believed too', table([], [], false), [view([], [])], ['']],
];

for (const [name, before, views, looks] of cases)
  test(`repairTable: ${name}`, () => {
    let held = before;
    let suspects: ReadonlySet<string> = new Set();
    const seen = views.map((one) => {
      const repair = repairTable(held, one, suspects);
      ({ table: held, suspects } = repair);
      return text(held);
    });
    assert.deepEqual(seen, looks);
    const last = views.at(-1)!;
    const settled = repairTable(held, last, suspects);
    const again = repairTable(settled.table, last, settled.suspects);
    assert.equal(again.table, settled.table, 'nothing is left to do');
  });
