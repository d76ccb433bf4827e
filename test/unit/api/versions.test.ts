/**
 * What hangs on the versions of client and engine. The texts and shapes of newer engines are those of Swarm 28.5.2, which
 * `test/swarm/http` asks by every version since 1.41.
 */
import { describe, expect, test } from 'vitest';
import { decodeAs } from '../../../src/controlplane/api/convert/codec.js';
import { parseJson } from '../../../src/controlplane/api/convert/json.js';
import { createdService } from '../../../src/controlplane/api/convert/objects.js';
import { serviceSpec } from '../../../src/controlplane/api/convert/service.js';
import { faultOfMediaType } from '../../../src/controlplane/api/media-type.js';
import { faultsOfIpam } from '../../../src/controlplane/api/network-ipam-faults.js';
import type { ServiceId } from '../../../src/model/ids.js';
import { Harness } from './harness.js';

const newest = 51;

/** What a service of this container or task shows once a client and an engine of these versions have had it. */
function kept(taskTemplate: object, request: number, engine: number): unknown {
  const text = JSON.stringify({ Name: 'a', TaskTemplate: taskTemplate });
  const json = parseJson(text, { truncated: 'unexpected EOF', allowTrailing: false });
  return serviceSpec.encode(decodeAs(serviceSpec, json, request, '', engine), engine);
}

const container = (more: object): object => ({ ContainerSpec: { Image: 'b', ...more } });
const mount = (options: object): object =>
  container({ Mounts: [{ Type: 'bind', Target: '/a', ...options }] });

describe('fields of a service, by the version that brought them', () => {
  /** `request`: clients before that cannot set it; `engine`: engines before that have none such. */
  const fields: [name: string, template: object, request: number, engine: number][] = [
    ['Configs', container({ Configs: [{ File: { Name: 'f' }, ConfigID: 'i', ConfigName: 'n' }] }), 30, 30],
    ['Sysctls', container({ Sysctls: { a: '1' } }), 40, 40],
    ['MaxReplicas', { ...container({}), Placement: { MaxReplicas: 1 } }, 40, 40],
    ['CapabilityAdd', container({ CapabilityAdd: ['CAP_CHOWN'] }), 41, 41],
    ['CapabilityDrop', container({ CapabilityDrop: ['CAP_CHOWN'] }), 41, 41],
    ['Ulimits', container({ Ulimits: [{ Name: 'nofile', Hard: 2, Soft: 1 }] }), 41, 41],
    ['Pids', { ...container({}), Resources: { Limits: { Pids: 7 } } }, 41, 41],
    ['CreateMountpoint', mount({ BindOptions: { CreateMountpoint: true } }), 42, 42],
    ['ReadOnlyNonRecursive', mount({ BindOptions: { ReadOnlyNonRecursive: true } }), 44, 44],
    ['ReadOnlyForceRecursive', mount({ BindOptions: { ReadOnlyForceRecursive: true } }), 44, 44],
    ['StartInterval', container({ Healthcheck: { StartInterval: 1e6 } }), 44, 44],
    ['Seccomp', container({ Privileges: { Seccomp: { Mode: 'unconfined' } } }), 44, 44],
    ['AppArmor', container({ Privileges: { AppArmor: { Mode: 'disabled' } } }), 44, 44],
    ['NoNewPrivileges":true', container({ Privileges: { NoNewPrivileges: true } }), 44, 44],
    ['Subpath', mount({ Type: 'volume', VolumeOptions: { Subpath: 's' } }), 0, 45],
    ['OomScoreAdj', container({ OomScoreAdj: 5 }), 46, 46],
    ['Options', mount({ Type: 'tmpfs', TmpfsOptions: { Options: [['noexec']] } }), 46, 46],
  ];
  test.each(fields)('%s', (name, template, request, engine) => {
    const has = (requestMinor: number, engineMinor: number): boolean =>
      JSON.stringify(kept(template, requestMinor, engineMinor)).includes(`"${name}`);
    expect(has(request, newest)).toBe(true);
    expect(has(request, engine)).toBe(true);
    expect(has(newest, engine - 1)).toBe(false);
    if (request > 0) expect(has(request - 1, newest)).toBe(false);
  });

  test('one that was set is hidden by an engine that has none such, and is not lost', () => {
    const spec = decodeAs(
      serviceSpec,
      parseJson('{"TaskTemplate":{"ContainerSpec":{"Image":"b","OomScoreAdj":5}}}', {
        truncated: 'unexpected EOF',
        allowTrailing: false,
      }),
      newest,
    );
    expect(JSON.stringify(serviceSpec.encode(spec, 45))).not.toContain('OomScoreAdj');
    expect(JSON.stringify(serviceSpec.encode(spec, 46))).toContain('"OomScoreAdj":5');
  });

  test.each([
    [43, false],
    [44, true],
  ])('NoNewPrivileges that nobody asked for, on an engine of 1.%d', (engine, isShown) => {
    const shown = JSON.stringify(kept(container({ Privileges: {} }), 41, engine));
    expect(shown.includes('"NoNewPrivileges":false')).toBe(isShown);
  });
});

test.each<[engine: number, warnings: string[], shown: object]>([
  [43, [], { ID: 'x' }],
  [43, ['w'], { ID: 'x', Warnings: ['w'] }],
  [44, [], { ID: 'x', Warnings: null }],
  [44, ['w'], { ID: 'x', Warnings: ['w'] }],
])('a service that was created, on an engine of 1.%d, with %j', (engine, warnings, shown) => {
  expect(createdService.encode({ id: 'x' as ServiceId, warnings }, engine)).toEqual(shown);
});

test.each<[type: string, fault: string | undefined, of2010: string | undefined]>([
  ['application/json', undefined, undefined],
  ['APPLICATION/JSON', undefined, undefined],
  ['application/json; charset=utf-8', undefined, undefined],
  ['text/plain', "unsupported Content-Type header (text/plain): must be 'application/json'", 'text/plain'],
  ['json', "unsupported Content-Type header (json): must be 'application/json'", 'json'],
  ['', 'malformed Content-Type header (): mime: no media type', ''],
  ['a b', 'malformed Content-Type header (a b): mime: expected slash after first token', 'a b'],
  ['a/', 'malformed Content-Type header (a/): mime: expected token after slash', 'a/'],
  ['a/b/c', 'malformed Content-Type header (a/b/c): mime: unexpected content after media subtype', 'a/b/c'],
])('Content-Type %j', (type, fault, of2010) => {
  expect(faultOfMediaType(type, true)).toBe(fault);
  expect(faultOfMediaType(type, false)).toBe(
    of2010 === undefined ? undefined : `Content-Type specified (${of2010}) must be 'application/json'`,
  );
});

describe('addresses of networks, as 28 refuses them', () => {
  const none = { subnet: '10.9.0.0/24', range: '', gateway: '', auxiliaryAddresses: {} };
  const parent = 'parent subnet 10.9.0.0/24';
  test.each<[given: Partial<typeof none>, faults: string[]]>([
    [{}, []],
    [{ range: '10.9.0.128/25', gateway: '10.9.0.1', auxiliaryAddresses: { x: '10.9.0.2' } }, []],
    [{ subnet: '' }, []],
    [{ subnet: 'nonsense' }, ['invalid subnet nonsense: invalid CIDR block notation']],
    [{ subnet: '10.9.0.7/24' }, ['invalid subnet 10.9.0.7/24: it should be 10.9.0.0/24']],
    [{ range: 'nonsense' }, ['invalid ip-range nonsense: invalid CIDR block notation']],
    [{ range: 'fd00::/64' }, ['invalid ip-range fd00::/64: parent subnet is an IPv4 block']],
    [{ range: '10.8.0.0/25' }, [`invalid ip-range 10.8.0.0/25: ${parent} doesn't contain ip-range`]],
    [{ range: '10.9.0.7/25' }, ['invalid ip-range 10.9.0.7/25: it should be 10.9.0.0/25']],
    [{ range: '10.9.0.0/16' }, [`invalid ip-range 10.9.0.0/16: CIDR block is bigger than its ${parent}`]],
    [{ gateway: 'nonsense' }, ['invalid gateway nonsense: invalid address']],
    [{ gateway: 'fd00::1' }, ['invalid gateway fd00::1: parent subnet is an IPv4 block']],
    [{ gateway: '10.8.0.1' }, [`invalid gateway 10.8.0.1: ${parent} doesn't contain this address`]],
    [
      { auxiliaryAddresses: { x: '10.8.0.1' } },
      [`invalid auxiliary address x: ${parent} doesn't contain this address`],
    ],
    [
      { range: 'nonsense', gateway: 'nonsense' },
      ['invalid ip-range nonsense: invalid CIDR block notation', 'invalid gateway nonsense: invalid address'],
    ],
  ])('%j', (given, faults) => {
    expect(faultsOfIpam([{ ...none, ...given }], false)).toEqual(faults);
  });

  test('those of IPv6 count for nothing where it is not asked for', () => {
    const config = { ...none, subnet: 'fd00::7/64' };
    expect(faultsOfIpam([config], false)).toEqual([]);
    expect(faultsOfIpam([config], true)).toEqual(['invalid subnet fd00::7/64: it should be fd00::/64']);
  });
});

describe('in front of an engine of 1.51', () => {
  const start = (): Promise<Harness> =>
    Harness.start((harness) => {
      harness.engineVersion = { ...harness.engineVersion, Version: '28.5.2', ApiVersion: '1.51' };
    });

  test('a body must be said to be JSON on every route that reads one', async () => {
    await using api = await start();
    const message = "unsupported Content-Type header (text/plain): must be 'application/json'";
    for (const path of [
      '/swarm/init',
      '/swarm/update?version=1',
      '/services/create',
      '/services/x/update?version=1',
      '/nodes/x/update?version=1',
      '/secrets/create',
      '/configs/create',
      '/networks/create',
      '/networks/x/connect',
    ])
      expect(await api.call('POST', path, '{}', { 'Content-Type': 'text/plain' }), path).toMatchObject({
        status: 400,
        json: { message },
      });
  });

  test('networks have IPv4, and say so to clients of any version', async () => {
    await using api = await start();
    expect(
      await api.call('POST', '/networks/create', { Name: 'a', Driver: 'overlay', EnableIPv4: false }),
    ).toMatchObject({ status: 400, json: { message: 'IPv4 cannot be disabled in a Swarm scoped network' } });
    const older = { Name: 'a', Driver: 'overlay', EnableIPv4: false };
    expect(await api.call('POST', '/v1.47/networks/create', older)).toMatchObject({ status: 201 });
    for (const path of ['/networks/a', '/v1.24/networks/a'])
      expect((await api.call('GET', path)).json).toMatchObject({ EnableIPv4: true });
  });

  test.each<[gateway: string, faults: string, more?: object]>([
    ['10.8.0.1', "invalid gateway 10.8.0.1: parent subnet 10.9.0.0/24 doesn't contain this address"],
    [
      'x',
      '* invalid ip-range y: invalid CIDR block notation\n* invalid gateway x: invalid address',
      { IPRange: 'y' },
    ],
  ])('all that is wrong with a network’s addresses is told: %j', async (gateway, faults, more = {}) => {
    await using api = await start();
    const config = { Subnet: '10.9.0.0/24', Gateway: gateway, ...more };
    const body = { Name: 'a', Driver: 'overlay', IPAM: { Config: [config] } };
    expect(await api.call('POST', '/networks/create', body)).toMatchObject({
      status: 400,
      json: { message: `invalid network config:\n${faults}` },
    });
  });

  test('a network that only configures others goes to the engine without a driver of the swarm', async () => {
    await using api = await start();
    let sent = '';
    api.behaviour = (request, reply) => {
      request.on('data', (chunk: Buffer) => (sent += chunk.toString()));
      request.on('end', () => reply.writeHead(201).end('{}'));
    };
    const body = { Name: 'a', Driver: 'overlay', ConfigOnly: true, Labels: { l: '1' } };
    expect((await api.call('POST', '/networks/create', body)).status).toBe(201);
    expect(JSON.parse(sent)).toEqual({ Name: 'a', ConfigOnly: true, Labels: { l: '1' } });
  });

  const ofCluster = { Name: 'v', ClusterVolumeSpec: {} };
  test.each<[method: string, path: string, body: object | undefined, status: number, message: string]>([
    ['POST', '/volumes/create', ofCluster, 501, 'cluster volumes are not supported'],
    ['POST', '/v1.41/volumes/create', ofCluster, 404, 'page not found'],
    ['POST', '/volumes/create', { Name: 'v' }, 404, 'page not found'],
    ['PUT', '/volumes/v?version=1', {}, 404, 'volume v not found'],
    [
      'PUT',
      '/volumes/v?version=x',
      {},
      400,
      `invalid swarm object version 'x': strconv.ParseUint: parsing "x": invalid syntax`,
    ],
    ['PUT', '/v1.41/volumes/v?version=1', {}, 404, 'volume v not found'],
  ])('%s %s', async (method, path, body, status, message) => {
    await using api = await start();
    expect(await api.call(method, path, body)).toMatchObject({ status, json: { message } });
  });

  test('an engine of 1.41 updates no volumes', async () => {
    await using api = await Harness.start();
    expect(await api.call('PUT', '/volumes/v?version=1', {})).toMatchObject({
      status: 404,
      json: { message: 'page not found' },
    });
  });

  test('outside a swarm, volumes of a cluster have no manager', async () => {
    await using api = await start();
    api.leaveSwarm();
    expect(await api.call('POST', '/volumes/create', ofCluster)).toMatchObject({
      status: 503,
      json: { message: expect.stringContaining('This node is not a swarm manager.') as string },
    });
  });
});
