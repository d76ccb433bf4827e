/** What clients get that ask oddly: as `test/swarm/http` found it of Docker's own Swarm. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ServiceId } from '../../../src/model/ids.js';
import type { ServiceEndpoint } from '../../../src/model/objects.js';
import { Harness, filters, nodeId } from './harness.js';

let api: Harness;
beforeEach(async () => {
  api = await Harness.start();
});
afterEach(async () => {
  await api[Symbol.asyncDispose]();
});

describe('paths', () => {
  test.each<[method: string, path: string, status: number, headers: object]>([
    ['OPTIONS', '/services', 200, { 'api-version': '1.41' }],
    ['GET', '//nodes', 301, { location: '/nodes' }],
    ['GET', '/v1.41//nodes?filters=x', 301, { location: '/v1.41/nodes?filters=x' }],
  ])('%s %s', async (method, path, status, headers) => {
    expect(await api.call(method, path)).toMatchObject({ status, headers, text: '' });
  });

  test('a version of one number is a version', async () => {
    expect(await api.call('GET', '/v1/nodes')).toMatchObject({
      status: 400,
      text: expect.stringContaining('client version 1 is too old') as string,
    });
  });
});

test.each<[text: string, status: number, message: string | undefined]>([
  ['null', 200, undefined],
  ['[]', 500, 'json: cannot unmarshal array into Go value of type map[string]map[string]bool'],
  ['7', 500, 'json: cannot unmarshal number into Go value of type map[string]map[string]bool'],
  ['{"name":"x"}', 500, 'json: cannot unmarshal string into Go value of type map[string]bool'],
  ['{"name":{"x":7}}', 500, 'json: cannot unmarshal number into Go value of type bool'],
  ['{"role":{"":true}}', 200, undefined],
  ['{"role":{"MANAGER":true}}', 200, undefined],
])('filters %s', async (text, status, message) => {
  const reply = await api.call('GET', `/nodes?filters=${encodeURIComponent(text)}`);
  expect(reply.status).toBe(status);
  if (message === undefined) expect(reply.json).toHaveLength(1);
  else expect(reply.json).toEqual({ message });
});

test('who is no manager says so before it looks at the names of filters, and after it has read them', async () => {
  const { store: _, ...worker } = api.control.state;
  api.control.state = { ...worker, isManager: false };
  const asked = async (query: string): Promise<number> =>
    (await api.call('GET', `/services?${query}`)).status;
  expect(await asked(filters({ nonsense: ['a'] }))).toBe(503);
  expect(await asked('filters=nonsense')).toBe(400);
  expect(await asked('status=zzz')).toBe(400);
});

test('roles and availabilities may be written in capitals', async () => {
  const { version } = api.store.view().get('node', nodeId)!;
  const body = { Role: 'MANAGER', Availability: 'Pause' };
  expect((await api.call('POST', `/nodes/${nodeId}/update?version=${version}`, body)).status).toBe(200);
  expect(api.store.view().get('node', nodeId)!.spec).toMatchObject({
    role: 'manager',
    availability: 'pause',
  });
});

test('an endpoint shows every port of the spec, and nothing where nothing is held', async () => {
  const spec = { Name: 'web', TaskTemplate: { ContainerSpec: { Image: 'a' } } };
  const { ID } = (await api.call('POST', '/services/create', spec)).json as { ID: ServiceId };
  const shown = async (endpoint: ServiceEndpoint): Promise<unknown> => {
    await api.store.update((tx) => tx.update('service', { ...tx.get('service', ID)!, endpoint }));
    return ((await api.call('GET', `/services/${ID}`)).json as { Endpoint: unknown }).Endpoint;
  };
  const dns = { protocol: 'udp', targetPort: 53, publishMode: 'host' } as const;
  const http = { protocol: 'tcp', targetPort: 80, publishMode: 'ingress' } as const;
  expect(await shown({ spec: { mode: 'vip', ports: [] }, ports: [], virtualIps: [] })).toEqual({ Spec: {} });
  expect(
    await shown({
      spec: { mode: 'vip', ports: [dns, http] },
      ports: [{ ...http, publishedPort: 30_000 }],
      virtualIps: [],
    }),
  ).toMatchObject({
    Ports: [
      { Protocol: 'udp', TargetPort: 53, PublishMode: 'host' },
      { Protocol: 'tcp', TargetPort: 80, PublishedPort: 30_000, PublishMode: 'ingress' },
    ],
  });
});

test('`is-task` means the containers that Skep made for tasks', async () => {
  const asked: string[] = [];
  api.behaviour = (request, reply) => {
    asked.push(decodeURIComponent(request.url ?? ''));
    const of = (labels: object): object => ({ Id: 'x', Labels: labels });
    reply.end(JSON.stringify([of({ 'com.docker.swarm.task.id': 't' }), of({}), { Id: 'y', Labels: null }]));
  };
  const listed = async (filter: object): Promise<unknown> =>
    (await api.call('GET', `/v1.41/containers/json?all=1&${filters(filter)}`)).json;
  expect(await listed({ 'is-task': ['true'], name: ['web'] })).toHaveLength(1);
  expect(asked.at(-1)).toBe('/v1.41/containers/json?all=1&filters={"name":["web"]}');
  expect(await listed({ 'is-task': { false: true } })).toHaveLength(2);
  expect(await listed({ name: ['web'] })).toHaveLength(3);
});
