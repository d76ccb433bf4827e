/** Users' containers on the swarm's networks, through the API: what is asked of whom, in which order, and what is refused. */
import type { IncomingMessage } from 'node:http';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { AttachedNetwork } from '../../../src/controlplane/attach-control.js';
import { SkepError } from '../../../src/model/errors.js';
import { Harness } from './harness.js';

let api: Harness;
/** What was done, in order. */
let done: string[];
/** Why the managers refuse, if they do. */
let refusal: SkepError | undefined;
/** The body that the engine was sent last. */
let engineBody: unknown;
let engineStatus: number;
const containerId = 'c'.repeat(64);

const networks = [
  { Name: 'bridge', Id: 'b'.repeat(64), Driver: 'bridge', Scope: 'local', Options: {}, Labels: {} },
  { Name: 'mine', Id: 'd'.repeat(64), Driver: 'bridge', Scope: 'local', Options: {}, Labels: {} },
];
/** The engine's instance of a network of the swarm. */
const instance = (id: string, name = 'open') => ({
  ...{ Name: name, Id: 'e'.repeat(64), Driver: 'skep', Scope: 'local', Labels: {} },
  Options: { 'skep.network.id': id },
});
const place: AttachedNetwork = {
  attachmentId: 'a1',
  networkId: 'n1',
  networkName: 'open',
  address: '10.5.0.7',
  ownAddress: '10.5.0.2',
  engineNetworkId: 'e'.repeat(64),
};

beforeEach(async () => {
  api = await Harness.start();
  done = [];
  refusal = undefined;
  engineStatus = 201;
  engineBody = undefined;
  api.control.attachControl = {
    attach: async ({ network, containerId: id, containerName, aliases, address }) => {
      done.push(`attach ${network} ${id.slice(0, 1)}/${containerName} ${aliases.join()} ${address}`.trim());
      if (refusal) throw refusal;
      return place;
    },
    lacks: (_, address) => address !== '10.5.0.7',
    settle: async (ids = []) => void done.push(`settle ${ids.join()}`.trim()),
  };
  playEngine();
});
afterEach(async () => {
  await api[Symbol.asyncDispose]();
});

function playEngine(...more: readonly object[]): void {
  const all = [...networks, ...more] as { Name: string; Id: string; Driver: string }[];
  api.behaviour = (request, reply) => {
    const url = request.url ?? '';
    const answer = (status: number, body: unknown): void => {
      reply.writeHead(status, { 'Content-Type': 'application/json' });
      reply.end(JSON.stringify(body));
    };
    if (request.method === 'GET' && url.startsWith('/networks?'))
      return answer(
        200,
        all.filter(({ Driver }) => Driver === 'skep'),
      );
    const named = /^\/networks\/([^/]+)$/.exec(url)?.[1];
    if (request.method === 'GET' && named !== undefined) {
      const found = all.find(({ Name, Id }) => Name === named || Id === named);
      return found ? answer(200, found) : answer(404, { message: `network ${named} not found` });
    }
    if (/^\/containers\/box\/json$/.test(url))
      return answer(200, {
        Id: containerId,
        Name: '/box',
        State: { Running: true },
        NetworkSettings: { Networks: { bridge: {} } },
      });
    if (request.method === 'GET') return answer(404, { message: 'No such container' });
    void bodyOf(request).then((body) => {
      done.push(`engine ${request.method} ${url}`);
      engineBody = body.startsWith('{') && body.endsWith('}') ? JSON.parse(body) : body;
      answer(engineStatus, { Id: containerId });
    });
  };
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

const run = (mode: string, endpoint?: object) =>
  api.call('POST', '/containers/create?name=box', {
    Image: 'busybox',
    HostConfig: { NetworkMode: mode },
    ...(endpoint ? { NetworkingConfig: { EndpointsConfig: { [mode]: endpoint } } } : {}),
  });

describe('create', () => {
  test('a place first, then the container, then the managers hear of it, then the client', async () => {
    await api.createNetwork('open', { Attachable: true });
    const reply = await run('open', { Aliases: ['db'], IPAMConfig: { IPv4Address: '10.5.0.7' } });
    expect(reply.status).toBe(201);
    expect(done.slice(0, 3)).toEqual([
      'attach open /box db 10.5.0.7',
      'engine POST /containers/create?name=box',
      'settle a1',
    ]);
    expect(engineBody).toEqual({
      Image: 'busybox',
      HostConfig: { NetworkMode: 'open', Dns: ['10.5.0.2'] },
      NetworkingConfig: {
        EndpointsConfig: {
          open: { IPAMConfig: { IPv4Address: '10.5.0.7' }, DriverOpts: { 'skep.aliases': 'db' } },
        },
      },
    });
  });

  test('by the network’s id, and by a part of it', async () => {
    const id = await api.createNetwork('open', { Attachable: true });
    for (const argument of [id, id.slice(0, 10)]) {
      await run(argument);
      expect(done[0]).toBe(`attach ${id} /box`);
      expect(engineBody).toMatchObject({ HostConfig: { NetworkMode: 'open' } });
      done.length = 0;
    }
  });

  test.each(['bridge', 'mine', 'none', 'container:other', ''])(
    'with the engine’s own network "%s" nothing is changed',
    async (mode) => {
      await run(mode);
      expect(done).toEqual(['engine POST /containers/create?name=box']);
      expect(engineBody).toEqual({ Image: 'busybox', HostConfig: { NetworkMode: mode } });
    },
  );

  test('what the engine refuses gives its place back', async () => {
    await api.createNetwork('open', { Attachable: true });
    engineStatus = 409;
    expect((await run('open')).status).toBe(409);
    expect(done.slice(0, 3)).toEqual([
      'attach open /box',
      'engine POST /containers/create?name=box',
      'settle a1',
    ]);
  });

  test('of a malformed body the engine speaks', async () => {
    await api.call('POST', '/containers/create', '{"Image":');
    expect(done).toEqual(['engine POST /containers/create']);
    expect(engineBody).toBe('{"Image":');
  });

  test('a network that is nowhere is for the start to fail on: the CLI takes a 404 here for a missing image', async () => {
    refusal = new SkepError('notFound', 'network nosuch not found');
    expect((await run('nosuch')).status).toBe(201);
    expect(engineBody).toEqual({ Image: 'busybox', HostConfig: { NetworkMode: 'nosuch' } });
  });

  test.each<[SkepError, number, string]>([
    [
      new SkepError('permissionDenied', 'network open not manually attachable'),
      403,
      'Could not attach to network open: rpc error: code = PermissionDenied desc = network open not manually attachable',
    ],
    [
      new SkepError('permissionDenied', 'Address already in use'),
      403,
      'Could not attach to network open: rpc error: code = PermissionDenied desc = Address already in use',
    ],
    [
      new SkepError(
        'invalidArgument',
        "Invalid address 10.9.0.2: It does not belong to any of this network's subnets",
      ),
      400,
      "Could not attach to network open: rpc error: code = InvalidArgument desc = Invalid address 10.9.0.2: It does not belong to any of this network's subnets",
    ],
    [new SkepError('deadlineExceeded', 'attaching to network failed'), 500, 'attaching to network failed'],
  ])('refused by the managers, and no container is made: %s', async (why, status, message) => {
    await api.createNetwork('open', { Attachable: true });
    refusal = why;
    expect(await run('open')).toMatchObject({ status, json: { message } });
    expect(done).toEqual(['attach open /box']);
  });

  test('a MAC of the user’s choice is refused before anything is asked', async () => {
    await api.createNetwork('open', { Attachable: true });
    expect((await run('open', { MacAddress: '02:00:00:00:00:01' })).status).toBe(400);
    expect(done).toEqual([]);
  });
});

describe('connect', () => {
  const connect = (network: string, container = 'box', endpoint?: object) =>
    api.call('POST', `/networks/${network}/connect`, {
      Container: container,
      ...(endpoint ? { EndpointConfig: endpoint } : {}),
    });

  test('gives the container a place, and the engine its own id of the network', async () => {
    await api.createNetwork('open', { Attachable: true });
    await connect('open', 'box', { Aliases: ['db'] });
    expect(done.slice(0, 3)).toEqual([
      'attach open c/box db',
      `engine POST /networks/${'e'.repeat(64)}/connect`,
      'settle a1',
    ]);
    expect(engineBody).toEqual({
      Container: 'box',
      EndpointConfig: { IPAMConfig: { IPv4Address: '10.5.0.7' }, DriverOpts: { 'skep.aliases': 'db' } },
    });
  });

  test('to a network of the engine’s own nothing is changed', async () => {
    await connect('mine');
    expect(done).toEqual(['engine POST /networks/mine/connect', 'settle']);
    expect(engineBody).toEqual({ Container: 'box' });
  });

  test('refusals: no such container, no such network', async () => {
    await api.createNetwork('open', { Attachable: true });
    expect(await connect('open', 'nosuch')).toMatchObject({
      status: 404,
      json: { message: 'No such container: nosuch' },
    });
    expect(done).toEqual([]);
    refusal = new SkepError('notFound', 'network none not found');
    expect(await connect('none.such')).toMatchObject({
      status: 404,
      json: {
        message:
          'Could not attach to network none.such: rpc error: code = NotFound desc = network none not found',
      },
    });
  });

  test.each([
    ['is connected already', { second: {} }, undefined, 409, 'box is already attached to network second'],
    [
      'is a task',
      { mynet: {} },
      { 'com.docker.swarm.task.id': 't' },
      403,
      "box is a task's: its networks are those of its service (docker service update --network-add)",
    ],
  ])('what %s is refused before a place is taken', async (_, Networks, Labels, status, message) => {
    const id = await api.createNetwork('second', { Attachable: true });
    const before = api.behaviour;
    api.behaviour = (request, reply) => {
      if (request.url !== '/containers/box/json') return before(request, reply);
      reply.end(
        JSON.stringify({
          Id: containerId,
          Name: '/box',
          State: { Running: true },
          Config: { Labels },
          NetworkSettings: { Networks },
        }),
      );
    };
    expect(await connect(id)).toMatchObject({ status, json: { message } });
    expect(done).toEqual([]);
  });
});

describe('on a worker', () => {
  beforeEach(() => api.leaveSwarm({ localNodeState: 'active' }));

  test('a network that this node does not know yet is asked of the managers', async () => {
    await run('open');
    expect(done[0]).toBe('attach open /box');
    expect(engineBody).toMatchObject({ HostConfig: { NetworkMode: 'open', Dns: ['10.5.0.2'] } });
  });

  test('one that it knows is named by name or id', async () => {
    playEngine(instance('overlayaaaaaaaaaaaaaaaaaa'));
    await run('open');
    await run('overlayaaaaaaaaaaaaaaaaaa');
    expect(done.filter((what) => what.startsWith('attach'))).toEqual([
      'attach open /box',
      'attach overlayaaaaaaaaaaaaaaaaaa /box',
    ]);
  });
});

describe('start', () => {
  /** A stopped container with these endpoints. */
  const stopped = (Networks: object, AutoRemove = false): void => {
    const before = api.behaviour;
    api.behaviour = (request, reply) => {
      if (request.url !== '/containers/box/json') return before(request, reply);
      reply.end(
        JSON.stringify({
          Id: containerId,
          Name: '/box',
          State: { Running: false },
          HostConfig: { AutoRemove },
          NetworkSettings: { Networks },
        }),
      );
    };
  };
  const start = () => api.call('POST', '/containers/box/start');
  const at = (IPv4Address: string) => ({ IPAMConfig: { IPv4Address }, DriverOpts: { 'skep.aliases': 'db' } });

  test('a container with its places is the engine’s to start', async () => {
    const id = await api.createNetwork('open', { Attachable: true });
    playEngine(instance(id));
    stopped({ open: at('10.5.0.7'), bridge: {}, mine: {} });
    await start();
    expect(done).toEqual(['engine POST /containers/box/start']);
  });

  test('one that was made before its network gets a place now', async () => {
    await api.createNetwork('open', { Attachable: true });
    stopped({ open: {} });
    await start();
    const path = `/networks/${'e'.repeat(64)}`;
    expect(done).toEqual([
      expect.stringMatching(/^attach \w{25} c\/box$/),
      `engine POST ${path}/disconnect`,
      `engine POST ${path}/connect`,
      'engine POST /containers/box/start',
      'settle a1',
    ]);
  });

  test('one whose place is somebody else’s gets another', async () => {
    const id = await api.createNetwork('open', { Attachable: true });
    playEngine(instance(id));
    stopped({ open: at('10.5.0.9') });
    const { attachControl } = api.control;
    api.control.attachControl = {
      ...attachControl!,
      attach: (request, signal) => {
        refusal =
          request.address === '' ? undefined : new SkepError('permissionDenied', 'Address already in use');
        return attachControl!.attach(request, signal);
      },
    };
    await start();
    expect(done.slice(0, 2)).toEqual([`attach ${id} c/box db 10.5.0.9`, `attach ${id} c/box db`]);
    expect(done.at(-2)).toBe('engine POST /containers/box/start');
  });

  test('a network that is nowhere, in Swarm’s words', async () => {
    stopped({ nosuch: {} });
    refusal = new SkepError('notFound', 'network nosuch not found');
    expect(await start()).toMatchObject({
      status: 404,
      json: {
        message:
          'Could not attach to network nosuch: rpc error: code = NotFound desc = network nosuch not found',
      },
    });
    expect(done).toEqual(['attach nosuch c/box']);
  });

  test('of docker run --rm: what gets no place is removed, for which the CLI waits', async () => {
    stopped({ nosuch: {} }, true);
    refusal = new SkepError('notFound', 'network nosuch not found');
    expect(await start()).toMatchObject({ status: 404 });
    expect(done).toEqual(['attach nosuch c/box', `engine DELETE /containers/${containerId}?force=1&v=1`]);
  });
});

test('without a swarm all is the engine’s', async () => {
  api.leaveSwarm();
  api.control.attachControl = undefined;
  await run('open');
  await api.call('DELETE', '/containers/box');
  expect(done).toEqual(['engine POST /containers/create?name=box', 'engine DELETE /containers/box']);
});

test.each([
  ['DELETE', '/containers/box?force=1'],
  ['POST', '/containers/box/rename?name=jar'],
  ['POST', '/containers/prune'],
])('%s %s: the managers hear of it before the client', async (method, path) => {
  await api.call(method, path);
  expect(done).toEqual([`engine ${method} ${path}`, 'settle']);
});

test('disconnect goes to the instance, and the managers hear of it', async () => {
  const id = await api.createNetwork('open', { Attachable: true });
  playEngine(instance(id));
  await api.call('POST', '/networks/open/disconnect', { Container: 'box', Force: true });
  expect(done).toEqual([`engine POST /networks/${'e'.repeat(64)}/disconnect`, 'settle']);
  expect(engineBody).toEqual({ Container: 'box', Force: true });
});

test('whom to disconnect from a network that is not here is the engine’s to look for first, in its own words', async () => {
  await api.createNetwork('elsewhere', { Attachable: true });
  await api.call('POST', '/networks/elsewhere/disconnect', { Container: 'nobody' });
  expect(done).toEqual(['engine POST /networks/elsewhere/disconnect', 'settle']);
});
