/** The engine's calls against a table on disk and a programmer that is told what to say. */
import assert from 'node:assert';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'vitest';
import { NodeNetwork } from '../../../../src/dataplane/node-network.js';
import { parseNodeNetworkState } from '../../../../src/dataplane/parse-state.js';
import { ipamDriver } from '../../../../src/dataplane/plugin/ipam-driver.js';
import { networkDriver } from '../../../../src/dataplane/plugin/network-driver.js';
import { openEngineTableFile } from '../../../../src/dataplane/state-file.js';
import { isDriverGone } from '../../../../src/model/driver-call.js';
import { StateLog } from '../../../../src/dataplane/state-log.js';
import { stateValue } from '../state/state-value.js';

/** The engine sends no request with these, or one that nobody reads. */
const needNone = [
  ...['IpamDriver.GetCapabilities', 'IpamDriver.GetDefaultAddressSpaces'],
  ...['IpamDriver.ReleasePool', 'IpamDriver.ReleaseAddress'],
  ...['NetworkDriver.GetCapabilities', 'NetworkDriver.DiscoverNew', 'NetworkDriver.DiscoverDelete'],
  ...['NetworkDriver.ProgramExternalConnectivity', 'NetworkDriver.RevokeExternalConnectivity'],
  ...['NetworkDriver.AllocateNetwork', 'NetworkDriver.FreeNetwork'],
];

const ipam = (method: string, request: object): unknown => ipamDriver[`IpamDriver.${method}`]?.(request);

describe('IpamDriver', () => {
  const pool = { PoolID: 'skep/10.0.1.0/24', Pool: '10.0.1.0/24', Data: {} };
  const { PoolID } = pool;
  const asksGateway = { RequestAddressType: 'com.docker.network.gateway' };

  test('gives the pool that is asked for, to as many as ask', () => {
    const request = {
      AddressSpace: 'skep-local',
      Pool: '10.0.1.0/24',
      SubPool: '',
      Options: null,
      V6: false,
    };
    assert.deepEqual(ipam('RequestPool', request), pool);
    assert.deepEqual(ipam('RequestPool', request), pool);
    assert.deepEqual(ipam('RequestPool', { ...request, SubPool: '10.0.1.128/25' }), pool);
  });

  const answered: [name: string, request: object, address: string][] = [
    ['the wanted address', { PoolID, Address: '10.0.1.9' }, '10.0.1.9/24'],
    ['a gateway that is named', { PoolID, Address: '10.0.1.254', Options: asksGateway }, '10.0.1.254/24'],
    ['a gateway that is not named', { PoolID, Address: '', Options: asksGateway }, '10.0.1.1/24'],
  ];
  for (const [name, request, address] of answered)
    test(`answers ${name}`, () => {
      assert.deepEqual(ipam('RequestAddress', request), { Address: address, Data: {} });
    });

  const refused: [name: string, method: string, request: object, message: RegExp][] = [
    ['a pool without a subnet', 'RequestPool', { Pool: '' }, /chooses no subnet by itself/],
    ['a pool that is none', 'RequestPool', { Pool: 'x' }, /invalid CIDR/],
    [
      'a range outside of the pool',
      'RequestPool',
      { Pool: '10.0.1.0/24', SubPool: '10.0.0.0/16' },
      /SubPool/,
    ],
    [
      'an address of its own choice',
      'RequestAddress',
      { PoolID, Address: '' },
      /chooses no address by itself/,
    ],
    [
      'an address outside of the pool',
      'RequestAddress',
      { PoolID, Address: '10.0.2.9' },
      /is not in 10\.0\.1\.0\/24/,
    ],
    [
      'a strange pool',
      'RequestAddress',
      { PoolID: 'LocalDefault/10.0.1.0/24', Address: '10.0.1.9' },
      /PoolID/,
    ],
  ];
  for (const [name, method, request, message] of refused)
    test(`refuses ${name}`, () => {
      assert.throws(() => ipam(method, request), message);
    });
});

describe('NetworkDriver', () => {
  let directory: string;
  let network: NodeNetwork;
  let existingSandboxes: string[];
  let programmed: (endpointId: string, signal: AbortSignal) => Promise<void>;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'skep-driver-'));
    network = await NodeNetwork.load(
      new StateLog(join(directory, 'state.json')),
      openEngineTableFile(join(directory, 'endpoints.json')),
      'boot1',
      (err) => assert.fail(String(err)),
    );
    existingSandboxes = [];
    programmed = async () => undefined;
  });
  afterEach(() => rm(directory, { recursive: true }));

  const never = new AbortController().signal;
  const call = async (method: string, request: object): Promise<unknown> =>
    networkDriver({
      network,
      waitVeth: (endpointId, signal) => programmed(endpointId, signal),
      sandboxExists: async (key) => existingSandboxes.includes(key),
      waitMs: 100,
    })[`NetworkDriver.${method}`]?.(request, never);

  const NetworkID = 'n1';
  const options = (id: string) => ({ 'com.docker.network.generic': { 'skep.network.id': id } });
  const createNetwork = () => call('CreateNetwork', { NetworkID, Options: options('net1'), IPv4Data: [] });
  const createEndpoint = (EndpointID: string, Address = '10.0.1.5/24', MacAddress = '') =>
    call('CreateEndpoint', {
      NetworkID,
      EndpointID,
      Interface: { Address, AddressIPv6: '', MacAddress },
      Options: {},
    });
  const join_ = (EndpointID: string, SandboxKey = '/run/docker/netns/abc') =>
    call('Join', { NetworkID, EndpointID, SandboxKey, Options: {} });
  const held = () => network.endpoints.map((one) => `${one.endpointId} ${one.address} ${one.sandboxKey}`);

  test('a call whose request the engine has lost is refused so that it is known as that', async () => {
    const drivers = { ...ipamDriver, ...networkDriver({ network } as never) };
    const refused: string[] = [];
    for (const [method, call] of Object.entries(drivers))
      try {
        await Promise.resolve().then(() => call(undefined, never));
      } catch (err) {
        assert.ok(isDriverGone((err as Error).message), `${method}: ${String(err)}`);
        refused.push(method);
      }
    assert.deepEqual(
      refused.sort(),
      Object.keys(drivers)
        .filter((method) => !needNone.includes(method))
        .sort(),
    );
  });

  test('a container comes and goes; every call may be repeated', async () => {
    await network.setState(parseNodeNetworkState(stateValue()));
    for (let i = 0; i < 2; i++) assert.deepEqual(await createNetwork(), {});
    for (let i = 0; i < 2; i++)
      assert.deepEqual(await createEndpoint('e1'), { Interface: { MacAddress: '02:00:0a:00:01:05' } });
    for (let i = 0; i < 2; i++)
      assert.deepEqual(await join_('e1'), { InterfaceName: { SrcName: 'skce1', DstPrefix: 'eth' } });
    assert.deepEqual(held(), ['e1 10.0.1.5 /run/docker/netns/abc']);
    assert.deepEqual(await createEndpoint('e1'), { Interface: { MacAddress: '02:00:0a:00:01:05' } });
    assert.deepEqual(held(), ['e1 10.0.1.5 /run/docker/netns/abc'], 'a repeated call undoes no later one');
    for (let i = 0; i < 2; i++) assert.deepEqual(await call('Leave', { NetworkID, EndpointID: 'e1' }), {});
    assert.deepEqual(held(), ['e1 10.0.1.5 null']);
    for (let i = 0; i < 2; i++)
      assert.deepEqual(await call('DeleteEndpoint', { NetworkID, EndpointID: 'e1' }), {});
    for (let i = 0; i < 2; i++) assert.deepEqual(await call('DeleteNetwork', { NetworkID }), {});
    assert.deepEqual([network.networks, network.endpoints], [[], []]);
  });

  test('a container of one subnet is told that the others are on the same link', async () => {
    const value = stateValue();
    const further = [{ subnet: '10.0.9.0/24', gateway: '10.0.9.1' }];
    Object.assign(value.overlays[0]!, { furtherSubnets: further });
    Object.assign(value.overlays[0]!.endpoints[0]!, { address: '10.0.9.5' });
    await network.setState(parseNodeNetworkState(value));
    await createNetwork();
    await createEndpoint('e1', '10.0.9.5/24');
    assert.deepEqual(await join_('e1'), {
      InterfaceName: { SrcName: 'skce1', DstPrefix: 'eth' },
      StaticRoutes: [{ Destination: '10.0.1.0/24', RouteType: 1 }],
    });
    await assert.rejects(createEndpoint('e2', '10.0.8.5/24'), /not in 10\.0\.1\.0\/24 or 10\.0\.9\.0\/24/);
  });

  test('CreateEndpoint waits for the state that has the address', async () => {
    await createNetwork();
    const created = createEndpoint('e1');
    await network.setState(parseNodeNetworkState(stateValue()));
    assert.deepEqual(await created, { Interface: { MacAddress: '02:00:0a:00:01:05' } });
  });

  test('a MAC that the engine names must be the cluster’s, and is not answered again', async () => {
    await network.setState(parseNodeNetworkState(stateValue()));
    await createNetwork();
    assert.deepEqual(await createEndpoint('e1', '10.0.1.5/24', '02:00:0a:00:01:05'), { Interface: {} });
    await assert.rejects(
      createEndpoint('e2', '10.0.1.5/24', '02:42:00:00:00:01'),
      /assigned 02:00:0a:00:01:05 to/,
    );
  });

  test('an address has one container; a dead one makes way', async () => {
    await network.setState(parseNodeNetworkState(stateValue()));
    await createNetwork();
    await createEndpoint('e1');
    await join_('e1');
    existingSandboxes = ['/run/docker/netns/abc'];
    await assert.rejects(createEndpoint('e2'), /address 10\.0\.1\.5 is in use by endpoint e1/);
    existingSandboxes = [];
    await createEndpoint('e2');
    assert.deepEqual(held(), ['e2 10.0.1.5 null']);
  });

  test('Join fails in bounded time when nothing programs', async () => {
    await network.setState(parseNodeNetworkState(stateValue()));
    await createNetwork();
    await createEndpoint('e1');
    programmed = (_, signal) =>
      new Promise((_resolve, reject) =>
        signal.addEventListener('abort', () => reject(signal.reason as Error)),
      );
    await assert.rejects(
      join_('e1'),
      /the interface of endpoint e1 on overlay net1 was not programmed within 0\.1 s/,
    );
  });

  const refused: [name: string, attempt: () => Promise<unknown>, message: RegExp][] = [
    [
      'a network without an overlay',
      () => call('CreateNetwork', { NetworkID, Options: {} }),
      /needs the option skep\.network\.id/,
    ],
    [
      'a network’s change of overlay',
      () => call('CreateNetwork', { NetworkID, Options: options('net2') }),
      /stands for overlay net1/,
    ],
    [
      'an id that is none',
      () => call('CreateNetwork', { NetworkID: '../x', Options: options('net1') }),
      /NetworkID: not an identifier/,
    ],
    [
      'an endpoint on an unknown network',
      () => call('CreateEndpoint', { NetworkID: 'n9', EndpointID: 'e', Interface: {} }),
      /network n9 is not known/,
    ],
    ['an endpoint without an address', () => createEndpoint('e1', ''), /needs the address/],
    [
      'an address of another node',
      () => createEndpoint('e1', '10.0.1.6/24'),
      /not assigned to this node within 0\.1 s/,
    ],
    [
      'an address of no subnet',
      () => createEndpoint('e1', '10.0.2.6/24'),
      /is not in 10\.0\.1\.0\/24 of overlay mynet/,
    ],
    ['Join of an unknown endpoint', () => join_('e9'), /endpoint e9 is not known/],
    ['a sandbox that is no path', async () => (await createEndpoint('e1'), join_('e1', 'abc')), /SandboxKey/],
  ];
  for (const [name, attempt, message] of refused)
    test(`refuses ${name}`, async () => {
      await network.setState(parseNodeNetworkState(stateValue()));
      await createNetwork();
      await assert.rejects(attempt(), message);
    });
});
