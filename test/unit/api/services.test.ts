/** Statuses and texts as recorded from dockerd 20.10.24, over a real socket. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ServiceId } from '../../../src/model/ids.js';
import type { Ip } from '../../../src/model/addresses.js';
import { attachment } from '../../support/cluster-objects.js';
import { Harness, filters, ingressId, nodeId, taskOf } from './harness.js';

let api: Harness;
beforeEach(async () => {
  api = await Harness.start();
});
afterEach(async () => {
  await api[Symbol.asyncDispose]();
});

const template = (more: object = {}, task: object = {}): object => ({
  TaskTemplate: { ContainerSpec: { Image: 'busybox', ...more }, ...task },
});
const service = (id: string) => {
  const found = api.store.view().get('service', id as ServiceId);
  if (!found) throw new Error(`no service ${id}`);
  return found;
};
const versionOf = (id: string): number => service(id).version;

describe('create refuses', () => {
  const invalid = 'rpc error: code = InvalidArgument desc = ';
  const port = { TargetPort: 80, PublishedPort: 8081 };
  const cases: [body: unknown, status: number, message: string][] = [
    ['', 400, 'got EOF while reading request body'],
    ['{"a":}', 400, "invalid character '}' looking for beginning of value"],
    [{}, 400, 'mismatched Runtime and *Spec fields'],
    [{ Name: '-l', ...template() }, 400, `${invalid}name must be valid as a DNS name component`],
    [{ Name: 'x'.repeat(64), ...template() }, 400, `${invalid}name must be 63 characters or fewer`],
    [
      { Name: 'TAKEN', ...template() },
      409,
      'rpc error: code = AlreadyExists desc = name conflicts with an existing object: service TAKEN already exists',
    ],
    [
      { Name: 'a', ...template({ Image: '' }) },
      400,
      `${invalid}ContainerSpec: image reference must be provided`,
    ],
    [
      { Name: 'a', ...template({ Image: 'FOO:' }) },
      400,
      `${invalid}ContainerSpec: "FOO:" is not a valid repository/tag`,
    ],
    [
      { Name: 'a', ...template(), Labels: { 'skep.privileged': 'yes' } },
      400,
      `${invalid}invalid label skep.privileged="yes": must be true or false`,
    ],
    [
      { Name: 'a', ...template({ Mounts: [{ Target: '/x' }, { Target: '/x' }] }) },
      400,
      `${invalid}ContainerSpec: duplicate mount point: /x`,
    ],
    [
      { Name: 'a', ...template({ Mounts: [{ Target: '/1' }, { Target: '/{{.Task.Slot}}' }] }) },
      400,
      `${invalid}ContainerSpec: duplicate mount point: /1`,
    ],
    [
      { Name: 'a', ...template({ Env: ['A={{.Nope}}'], Hostname: '{{.Nope}}' }) },
      400,
      `${invalid}expanding env failed: expanding env "A={{.Nope}}": template: expansion:1:2: executing "expansion" at <.Nope>: can't evaluate field Nope in type *template.Context`,
    ],
    [
      { Name: 'a', ...template({ Healthcheck: { Interval: 1 } }) },
      400,
      `${invalid}ContainerSpec: Interval in HealthConfig cannot be less than 1ms`,
    ],
    [
      { Name: 'a', ...template({ Healthcheck: { Retries: -1 } }) },
      400,
      `${invalid}ContainerSpec: Retries in HealthConfig cannot be negative`,
    ],
    [
      { Name: 'a', ...template({}, { Resources: { Limits: { NanoCPUs: 10 } } }) },
      400,
      `${invalid}invalid cpu value 1e-08: Must be at least 0.001`,
    ],
    [
      { Name: 'a', ...template({}, { Resources: { Reservations: { MemoryBytes: 100 } } }) },
      400,
      `${invalid}invalid memory value 100: Must be at least 4MiB`,
    ],
    ...[
      { NamedResourceSpec: { Kind: 'gpu', Value: 'a' } },
      { DiscreteResourceSpec: { Kind: 'gpu', Value: -1 } },
    ].map((one): [body: unknown, status: number, message: string] => [
      { Name: 'a', ...template({}, { Resources: { Reservations: { GenericResources: [one] } } }) },
      400,
      `${invalid}invalid argument for resource gpu`,
    ]),
    [
      { Name: 'a', ...template({}, { Placement: { Constraints: ['node.role==a,b'] } }) },
      500,
      "rpc error: code = Unknown desc = value 'a,b' is invalid",
    ],
    [
      { Name: 'a', ...template({}, { RestartPolicy: { Delay: -1 } }) },
      400,
      `${invalid}TaskSpec: restart-delay cannot be negative`,
    ],
    [
      { Name: 'a', ...template(), Labels: { 'skep.rebalance': 'true' } },
      400,
      `${invalid}invalid label skep.rebalance="true": must be on, off or a number of tasks from 1 to 100 per minute or hour, such as 2/minute`,
    ],
    [
      { Name: 'a', ...template({}, { Placement: { Constraints: ['a'] } }) },
      500,
      'rpc error: code = Unknown desc = constraint expected one operator from ==, !=',
    ],
    [
      { Name: 'a', ...template(), UpdateConfig: { MaxFailureRatio: 2 } },
      400,
      `${invalid}TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1`,
    ],
    [
      { Name: 'a', ...template(), EndpointSpec: { Mode: 'dnsrr', Ports: [{ TargetPort: 80 }] } },
      400,
      `${invalid}EndpointSpec: port published with ingress mode can't be used with dnsrr mode`,
    ],
    [
      {
        Name: 'a',
        ...template(),
        EndpointSpec: {
          Ports: [
            { ...port, Protocol: 'udp' },
            { ...port, Protocol: 'udp' },
          ],
        },
      },
      400,
      `${invalid}EndpointSpec: duplicate published ports provided`,
    ],
    [
      { Name: 'a', ...template(), EndpointSpec: { Ports: [port, { ...port, PublishMode: 'host' }] } },
      400,
      `${invalid}EndpointSpec: duplicate published ports provided`,
    ],
    [
      { Name: 'a', ...template(), EndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort: 70000 }] } },
      400,
      `${invalid}EndpointSpec: invalid published port 70000`,
    ],
    [
      { Name: 'a', ...template(), EndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort: 8080 }] } },
      400,
      `${invalid}port '8080' is already in use by service 'taken' (ID) as an ingress port`,
    ],
    [
      {
        Name: 'a',
        ...template(),
        EndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort: 8080, PublishMode: 'host' }] },
      },
      400,
      `${invalid}port '8080' is already in use by service 'taken' (ID) as an ingress port`,
    ],
    [
      { Name: 'a', ...template(), EndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort: 9090 }] } },
      400,
      `${invalid}port '9090' is already in use by service 'taken' (ID) as a host-published port`,
    ],
    [
      { Name: 'a', ...template(), Labels: { 'skep.lb.scheduler': 'random' } },
      400,
      `${invalid}invalid label skep.lb.scheduler="random": must be one of rr, wrr, lc, mh`,
    ],
    [
      { Name: 'a', ...template({ Labels: { 'skep.lb.weight': '0' } }) },
      400,
      `${invalid}invalid label skep.lb.weight="0": must be a whole number from 1 to 1000`,
    ],
    [
      { Name: 'a', ...template({ Labels: { 'skep.lb.scheduler': 'rr' } }) },
      400,
      `${invalid}unknown label "skep.lb.scheduler": expected skep.lb.weight`,
    ],
    [
      { Name: 'a', ...template(), Labels: { 'skep.publish.cidrs': '10.0.0.1/8' } },
      400,
      `${invalid}invalid label skep.publish.cidrs="10.0.0.1/8": must be 1 to 64 networks or addresses with commas between, such as 10.0.0.0/8,192.0.2.1`,
    ],
    ...[
      ['', '""'],
      ['a b', '"a b"'],
      ['a..b', '"a..b"'],
      ['a.', '"a."'],
      ['bücher', '"bücher"'],
      ['x'.repeat(64), `"${'x'.repeat(64)}"`],
      ['x.'.repeat(127), `"${'x.'.repeat(126)}x"`],
    ].map(([alias, shown]): [unknown, number, string] => [
      { Name: 'a', ...template({}, { Networks: [{ Target: ingressId, Aliases: ['good', alias] }] }) },
      400,
      `${invalid}invalid alias ${shown} on network ${ingressId}: must be printable ASCII, 1 to 63 characters between dots and 253 or fewer in all`,
    ]),
    [
      { Name: 'a', ...template(), Networks: [{ Target: ingressId, Aliases: Array(65).fill('a') }] },
      400,
      `${invalid}65 aliases on network ${ingressId}: must be 64 or fewer`,
    ],
    [{ Name: 'a', ...template({}, { Networks: [{ Target: 'nope' }] }) }, 500, 'network nope not found'],
    // Ingress, host and bridge: Swarm looks for networks that begin with nothing.
    [
      { Name: 'a', ...template({}, { Networks: [{ Target: '' }] }) },
      400,
      'network  is ambiguous (3 matches found)',
    ],
    [
      { Name: 'a', ...template({}, { Networks: [{ Target: 'ingress' }] }) },
      400,
      `${invalid}Service cannot be explicitly attached to the ingress network "ingress"`,
    ],
    [
      { Name: 'a', ...template({}, { Networks: [{ Target: 'localnet' }] }) },
      403,
      'The network localnet cannot be used with services. Only networks scoped to the swarm can be used, such as those created with the overlay driver.',
    ],
    [
      { Name: 'a', ...template({}, { Networks: [{ Target: 'host' }, { Target: 'bridge' }] }) },
      400,
      `${invalid}network host cannot be used together with other networks`,
    ],
    [
      {
        Name: 'a',
        ...template({}, { Networks: [{ Target: 'host' }] }),
        EndpointSpec: { Ports: [{ TargetPort: 80 }] },
      },
      400,
      `${invalid}ports of a service on network host cannot be published in ingress mode; use mode=host`,
    ],
    [
      { Name: 'a', ...template(), Networks: [{ Target: 'host' }] },
      400,
      `${invalid}network host must be given in TaskTemplate.Networks`,
    ],
    [
      { Name: 'a', ...template({ Secrets: [{ SecretID: 'q', SecretName: 'q', File: { Name: 'q' } }] }) },
      400,
      `${invalid}secret not found: q`,
    ],
    [
      { Name: 'a', ...template({ Secrets: [{ SecretID: 'q', SecretName: 'q' }] }) },
      400,
      `${invalid}malformed secret reference, no target provided`,
    ],
    [
      {
        Name: 'a',
        ...template({
          Configs: [
            { ConfigID: 'a', ConfigName: 'a', File: { Name: '/a' } },
            { ConfigID: 'b', ConfigName: 'b', File: { Name: '/b' } },
          ],
        }),
      },
      400,
      `${invalid}configs not found: a, b`,
    ],
    [
      { Name: 'a', ...template(), Mode: { ReplicatedJob: {} }, UpdateConfig: { Parallelism: 1 } },
      400,
      `${invalid}Jobs may not have an update config`,
    ],
    [
      { Name: 'a', ...template(), Mode: { GlobalJob: {} }, Labels: { 'skep.schedule': '* * *' } },
      400,
      `${invalid}invalid label skep.schedule="* * *": must be five fields: minute, hour, day of the month, month, day of the week`,
    ],
    [
      { Name: 'a', ...template(), Labels: { 'skep.schedule': '* * * * *' } },
      400,
      `${invalid}invalid label skep.schedule="* * * * *": only jobs have a schedule, this service is replicated`,
    ],
  ];
  test.each(cases)('%j', async (body, status, message) => {
    api.behaviour = (request, reply) => {
      const local = request.url === '/networks/localnet';
      reply.statusCode = local ? 200 : 404;
      reply.end(local ? '{"Name":"localnet","Id":"x","Driver":"bridge","Scope":"local"}' : '{}');
    };
    const id = await api.createService({
      Name: 'taken',
      EndpointSpec: {
        Ports: [
          { TargetPort: 80, PublishedPort: 8080 },
          { TargetPort: 90, PublishedPort: 9090, PublishMode: 'host' },
        ],
      },
    });
    const before = api.store.view().revision;
    const reply = await api.call('POST', '/v1.41/services/create', body);
    expect([reply.status, reply.json]).toEqual([status, { message: message.replace('ID', id) }]);
    expect(reply.text.endsWith('}\n')).toBe(true);
    expect(api.store.view().revision, 'nothing was written').toBe(before);
  });

  // As dockerd's Swarm was seen to answer `-p 53:53/udp -p 53:53/tcp -p 54:54/sctp`, and then `-p 53:53/udp` once more.
  test('a port number once for each protocol, over all services', async () => {
    const published = (...ports: [number, string, string?][]): object => ({
      Ports: ports.map(([number, Protocol, PublishMode = 'ingress']) => ({
        Protocol,
        TargetPort: number,
        PublishedPort: number,
        PublishMode,
      })),
    });
    const spec = published([53, 'udp'], [53, 'tcp'], [54, 'sctp']);
    const id = await api.createService({ Name: 'dns', EndpointSpec: { Mode: 'vip', ...spec } });
    expect((await api.call('GET', '/services/dns')).json).toMatchObject({
      Spec: { EndpointSpec: { Mode: 'vip', ...spec } },
    });
    const create = async (name: string, ports: object): Promise<[number, unknown]> => {
      const body = { Name: name, ...template(), EndpointSpec: ports };
      const { status, json } = await api.call('POST', '/services/create', body);
      return [status, json];
    };
    const inUse = {
      message: `${invalid}port '53' is already in use by service 'dns' (${id}) as an ingress port`,
    };
    expect(await create('other', published([53, 'udp']))).toEqual([400, inUse]);
    expect(await create('other', published([53, 'udp', 'host']))).toEqual([400, inUse]);
    expect(await create('other', published([53, 'sctp'], [54, 'udp']))).toEqual([201, expect.anything()]);
  });

  // Published, they would be every node's for its tasks: nodes lose their managers or each other's tasks for good.
  test.each([
    ['tcp', 2377, 'managers'],
    ['tcp', 2380, 'managers’ stores'],
    ['udp', 4789, 'VXLAN'],
    ['udp', 4790, 'VXLAN of encrypted networks'],
  ])('a port on which nodes talk to one another: %s %i', async (Protocol, PublishedPort, use) => {
    const create = (over: object): ReturnType<typeof api.call> =>
      api.call('POST', '/services/create', {
        Name: 'a',
        ...template(),
        EndpointSpec: { Ports: [{ Protocol, PublishedPort, TargetPort: 80, ...over }] },
      });
    for (const PublishMode of ['ingress', 'host'])
      expect(await create({ PublishMode })).toMatchObject({
        status: 400,
        json: { message: `${invalid}port '${PublishedPort}' is already in use by the swarm itself (${use})` },
      });
    expect((await create({ Protocol: Protocol === 'tcp' ? 'udp' : 'tcp' })).status).toBe(201);
  });

  test('an ingress port without an ingress network', async () => {
    await api.store.update((tx) => tx.delete('network', ingressId));
    const reply = await api.call('POST', '/services/create', {
      Name: 'a',
      ...template(),
      EndpointSpec: { Ports: [{ TargetPort: 80 }] },
    });
    expect([reply.status, reply.json]).toEqual([
      400,
      {
        message:
          'rpc error: code = FailedPrecondition desc = service needs ingress network, but no ingress network is present',
      },
    ]);
  });

  test('a dynamic port that another service was allocated', async () => {
    const id = await api.createService({ Name: 'dynamic', EndpointSpec: { Ports: [{ TargetPort: 80 }] } });
    await api.store.update((tx) => {
      const current = service(id);
      tx.update('service', {
        ...current,
        endpoint: {
          spec: { mode: 'vip', ports: [] },
          ports: [{ protocol: 'tcp', targetPort: 80, publishedPort: 30000, publishMode: 'ingress' }],
          virtualIps: [{ networkId: ingressId, address: '10.0.0.3' as Ip, prefixLength: 24 }],
        },
      });
    });
    const reply = await api.call('POST', '/services/create', {
      Name: 'a',
      ...template(),
      EndpointSpec: { Ports: [{ TargetPort: 1, PublishedPort: 30000 }] },
    });
    expect(reply.status).toBe(400);
    expect(reply.text).toContain("port '30000' is already in use by service 'dynamic'");
    const shown = (await api.call('GET', `/services/${id}`)).json as { Endpoint: unknown };
    expect(shown.Endpoint).toEqual({
      Spec: { Mode: 'vip' },
      Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 30000, PublishMode: 'ingress' }],
      VirtualIPs: [{ NetworkID: ingressId, Addr: '10.0.0.3/24' }],
    });
  });
});

describe('create', () => {
  test('answers 201 with the id, stores networks by id, keeps credentials to itself', async () => {
    const net = await api.createNetwork('mynet');
    const reply = await api.call(
      'POST',
      '/v1.41/services/create',
      { Name: 'web', ...template({}, { Networks: [{ Target: 'mynet', Aliases: ['w'] }] }) },
      { 'X-Registry-Auth': 'hush' },
    );
    expect(reply.status).toBe(201);
    expect(reply.json).toEqual({ ID: expect.stringMatching(/^[0-9a-z]{25}$/) as string });
    const { ID } = reply.json as { ID: string };
    expect(service(ID).spec.taskTemplate.networks).toEqual([{ target: net, aliases: ['w'] }]);
    expect(service(ID).spec.taskTemplate.container.registryAuth).toBe('hush');
    const shown = await api.call('GET', '/services/web');
    expect(shown.text).not.toContain('hush');
    expect(shown.json).toMatchObject({ ID, Version: { Index: versionOf(ID) }, Endpoint: { Spec: {} } });
  });

  test("an engine's own network stays a name, whatever the engine says of it", async () => {
    const id = await api.createService({
      Name: 'web',
      ...template({}, { Networks: [{ Target: 'host' }] }),
      EndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort: 80, PublishMode: 'host' }] },
    });
    expect((await api.call('GET', '/services/web')).json).toMatchObject({
      ID: id,
      Spec: { TaskTemplate: { Networks: [{ Target: 'host' }] } },
    });
  });

  test('invents a name', async () => {
    const id = await api.createService({});
    expect(service(id).spec.name).toMatch(/^[a-z]+_[a-z]+$/);
  });

  test('host ports may be shared', async () => {
    const ports = { EndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort: 80, PublishMode: 'host' }] } };
    await api.createService({ Name: 'a', ...ports });
    await api.createService({ Name: 'b', ...ports });
  });

  test('of two racing for one port one is refused', async () => {
    const ports = { EndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort: 80 }] } };
    const replies = await Promise.all(
      ['a', 'b', 'c'].map((Name) => api.call('POST', '/services/create', { Name, ...template(), ...ports })),
    );
    expect(replies.map(({ status }) => status).sort()).toEqual([201, 400, 400]);
  });

  test('in the words of 28 when the engine is one', async () => {
    await using modern = await Harness.start((harness) => {
      harness.engineVersion = {
        ...harness.engineVersion,
        Version: '28.0',
        ApiVersion: '1.48',
        MinAPIVersion: '1.24',
      };
    });
    const messages = async (body: string): Promise<unknown> =>
      (await modern.call('POST', '/services/create', body)).json;
    expect(await messages('{"a":}')).toEqual({
      message: "invalid JSON: invalid character '}' looking for beginning of value",
    });
    expect(await messages('{"Name":5}')).toEqual({
      message:
        'invalid JSON: json: cannot unmarshal number into Go struct field ServiceSpec.Name of type string',
    });
    expect(await messages('{} x')).toEqual({ message: 'unexpected content after JSON' });
    expect(await messages('')).toEqual({ message: 'mismatched Runtime and *Spec fields' });
    expect((await modern.call('GET', '/services?filters=x')).json).toEqual({ message: 'invalid filter' });
    expect((await modern.call('GET', `/services?${filters({ x: ['y'] })}`)).json).toEqual({
      message: "invalid filter 'x'",
    });
  });
});

describe('update', () => {
  const update = (id: string, query: string, body: unknown) =>
    api.call('POST', `/services/${id}/update?${query}`, body);

  test.each<[query: string, body: object, status: number, message: string]>([
    ['', {}, 400, `invalid service version '': strconv.ParseUint: parsing "": invalid syntax`],
    ['version=x', {}, 400, `invalid service version 'x': strconv.ParseUint: parsing "x": invalid syntax`],
    [
      'version=1',
      { Name: 'a', ...template() },
      500,
      'rpc error: code = Unknown desc = update out of sequence',
    ],
    [
      'version=1',
      { Name: 'b', ...template() },
      501,
      'rpc error: code = Unimplemented desc = renaming services is not supported',
    ],
    [
      'version=V',
      { Name: 'a', Mode: { Global: {} }, ...template() },
      501,
      'rpc error: code = Unimplemented desc = service mode change is not allowed',
    ],
    [
      'version=V&rollback=previous',
      { Name: 'a', ...template() },
      400,
      'rpc error: code = FailedPrecondition desc = service ID does not have a previous spec',
    ],
    [
      'version=V',
      { Name: 'a', ...template(), Labels: { 'skep.lb.affinity': '25h' } },
      400,
      'rpc error: code = InvalidArgument desc = invalid label skep.lb.affinity="25h": must be a duration from 1s to ' +
        '24h, such as 300s or 5m',
    ],
    ['version=V&rollback=zz', { Name: 'a', ...template() }, 500, 'unrecognized rollback option zz'],
    [
      'version=V&registryAuthFrom=zz',
      { Name: 'a', ...template() },
      500,
      'unsupported registryAuthFrom value',
    ],
    [
      'version=V&registryAuthFrom=previous-spec',
      { Name: 'a', ...template() },
      500,
      'service does not have a previous spec',
    ],
    [
      'version=V',
      { Name: 'a', ...template(), Networks: [{ Target: 'ingress' }] },
      501,
      'rpc error: code = Unimplemented desc = networks must be migrated to TaskSpec before being changed',
    ],
  ])('refuses %s %j', async (query, body, status, message) => {
    const id = await api.createService({ Name: 'a' });
    const reply = await update('a', query.replace('V', String(versionOf(id))), body);
    expect([reply.status, reply.json]).toEqual([status, { message: message.replace('ID', id) }]);
  });

  test('keeps the previous spec; rollback swaps the two and a second one toggles back', async () => {
    const id = await api.createService({ Name: 'a' });
    const first = service(id).specVersion;
    const reply = await update(id, `version=${versionOf(id)}`, {
      Name: 'a',
      ...template({ Image: 'busybox:2' }),
    });
    expect([reply.status, reply.json]).toEqual([200, { Warnings: null }]);
    const second = service(id).specVersion;
    expect(second).toBeGreaterThan(first);
    expect(service(id).previousSpec?.taskTemplate.container.image).toBe('busybox');

    await update(id, `version=${versionOf(id)}&rollback=previous`, {
      Name: 'a',
      ...template({ Image: 'busybox:2' }),
    });
    expect(service(id)).toMatchObject({
      specVersion: first,
      previousSpecVersion: second,
      updateStatus: { state: 'rollback_started', message: 'manually requested rollback' },
    });
    expect(service(id).spec.taskTemplate.container.image).toBe('busybox');

    await update(id, `version=${versionOf(id)}&rollback=previous`, { Name: 'a', ...template() });
    expect(service(id).specVersion).toBe(second);

    // A new spec after a rollback must not get the number of the one rolled back.
    await update(id, `version=${versionOf(id)}`, { Name: 'a', ...template({ Image: 'busybox:3' }) });
    expect(service(id).specVersion).toBeGreaterThan(second);
    expect(service(id).updateStatus).toBeUndefined();
  });

  describe('images of clients that cannot ask for digests', () => {
    const digest = `sha256:${'1'.repeat(64)}`;
    let asked: string[];
    const withRegistry = (): void => {
      asked = [];
      api.behaviour = ({ url = '', headers }, reply) => {
        asked.push(`${url} ${String(headers['x-registry-auth'])}`);
        if (!url.startsWith('/distribution/known')) return reply.writeHead(401).end('{}');
        reply.end(JSON.stringify({ Descriptor: { digest } }));
      };
    };
    const imageOf = (name: string): string =>
      api.store.view().byName('service', name)?.spec.taskTemplate.container.image ?? '';
    const make = (version: string, Name: string, Image: string) =>
      api.call(
        'POST',
        `${version}/services/create`,
        { Name, ...template({ Image }) },
        { 'X-Registry-Auth': 'me' },
      );
    const warning =
      'image private could not be accessed on a registry to record\nits digest. Each node will access private independently,\n' +
      'possibly leading to different nodes running different\nversions of the image.\n';

    test('are pinned when a service is made, or the client is warned', async () => {
      withRegistry();
      const made = await make('/v1.29', 'a', 'known:2');
      expect(made.json).toEqual({ ID: expect.any(String) as string });
      expect(imageOf('a')).toBe(`known:2@${digest}`);
      expect((await make('/v1.24', 'b', 'private')).json).toMatchObject({ Warnings: [warning] });
      expect(imageOf('b')).toBe('private');
      expect(asked).toEqual(['/distribution/known:2/json me', '/distribution/private/json me']);
    });

    test('are taken as they are of newer clients, and where they have a digest', async () => {
      withRegistry();
      expect((await make('/v1.30', 'a', 'known:2')).json).not.toHaveProperty('Warnings');
      expect((await make('/v1.29', 'b', `known@${digest}`)).json).not.toHaveProperty('Warnings');
      expect([imageOf('a'), imageOf('b'), ...asked]).toEqual(['known:2', `known@${digest}`]);
      expect((await make('/v1.29', 'c', 'UPPER')).status).toBe(400);
      expect(asked).toEqual([]);
    });

    test('are asked for with the stored credentials when a service is updated', async () => {
      withRegistry();
      await make('/v1.41', 'a', 'first');
      const change = async (Image: string): Promise<unknown> => {
        const { version } = api.store.view().byName('service', 'a')!;
        const body = { Name: 'a', ...template({ Image }) };
        return (await api.call('POST', `/v1.29/services/a/update?version=${version}`, body)).json;
      };
      expect(await change('known')).toEqual({ Warnings: null });
      expect(imageOf('a')).toBe(`known:latest@${digest}`);
      expect(await change('private')).toEqual({ Warnings: [warning] });
      expect(asked).toEqual(['/distribution/known/json me', '/distribution/private/json me']);
    });
  });

  test('carries the stored credentials over', async () => {
    await api.call('POST', '/services/create', { Name: 'a', ...template() }, { 'X-Registry-Auth': 'one' });
    const id = api.store.view().byName('service', 'a')?.id ?? '';
    const auth = (): string | undefined => service(id).spec.taskTemplate.container.registryAuth;
    await update(id, `version=${versionOf(id)}&registryAuthFrom=spec`, {
      Name: 'a',
      ...template({ Image: 'b' }),
    });
    expect(auth()).toBe('one');
    await api.call(
      'POST',
      `/services/a/update?version=${versionOf(id)}`,
      { Name: 'a', ...template() },
      { 'X-Registry-Auth': 'two' },
    );
    expect(auth()).toBe('two');
    await update(id, `version=${versionOf(id)}&registryAuthFrom=previous-spec`, { Name: 'a', ...template() });
    expect(auth()).toBe('one');
  });
});

describe('list, inspect and remove', () => {
  test('filters', async () => {
    const web = await api.createService({ Name: 'web', Labels: { tier: 'front', stack: 's' } });
    const db = await api.createService({ Name: 'db', Labels: { stack: 's' }, Mode: { Global: {} } });
    const names = async (query: object): Promise<unknown> =>
      ((await api.call('GET', `/services?${filters(query)}`)).json as { Spec: { Name: string } }[])
        .map(({ Spec }) => Spec.Name)
        .sort();
    expect(await names({})).toEqual(['db', 'web']);
    expect(await names({ name: ['we'] })).toEqual(['web']);
    expect(await names({ name: { we: true, d: true } })).toEqual(['db', 'web']);
    expect(await names({ id: [web.slice(0, 6)] })).toEqual(['web']);
    expect(await names({ label: ['stack'] })).toEqual(['db', 'web']);
    expect(await names({ label: ['stack=s', 'tier=front'] })).toEqual(['web']);
    expect(await names({ mode: ['global'] })).toEqual(['db']);
    expect(await names({ mode: ['bogus'] })).toEqual([]);
    expect(await names({ runtime: ['plugin'] })).toEqual([]);
    expect((await api.call('GET', '/services')).json).toHaveLength(2);
    expect(db < web ? [db, web] : [web, db]).toEqual(
      ((await api.call('GET', '/services')).json as { ID: string }[]).map(({ ID }) => ID),
    );
  });

  test.each<[path: string, status: number, message: string]>([
    ['/services?filters=x', 400, "invalid character 'x' looking for beginning of value"],
    [`/services?${filters({ x: ['y'] })}`, 400, "Invalid filter 'x'"],
    [
      '/services?status=zzz',
      400,
      'invalid value for status: zzz: strconv.ParseBool: parsing "zzz": invalid syntax',
    ],
    [
      '/services/a?insertDefaults=zzz',
      400,
      'invalid value for insertDefaults: zzz: strconv.ParseBool: parsing "zzz": invalid syntax',
    ],
    ['/services/zz', 404, 'service zz not found'],
    ['/nodes?filters=x', 500, "invalid character 'x' looking for beginning of value"],
  ])('%s', async (path, status, message) => {
    const reply = await api.call('GET', path);
    expect([reply.status, reply.json]).toEqual([status, { message }]);
  });

  test('an ambiguous prefix', async () => {
    await api.store.update((tx) => {
      const spec = { name: '', labels: {}, taskTemplate: {}, mode: { kind: 'global' } };
      for (const id of ['qqq1', 'qqq2'])
        tx.create('service', { id, spec: { ...spec, name: id.toUpperCase() }, specVersion: 1 } as never);
    });
    const reply = await api.call('GET', '/services/qqq');
    expect([reply.status, reply.json]).toEqual([
      400,
      { message: 'service qqq is ambiguous (2 matches found)' },
    ]);
  });

  test('status counts running and desired tasks', async () => {
    const id = await api.createService({ Name: 'web', Mode: { Replicated: { Replicas: 3 } } });
    await api.store.update((tx) => {
      tx.create('task', taskOf(service(id), 'task1'));
      tx.create(
        'task',
        taskOf(service(id), 'task2', {
          status: { timestampMs: 1, appliedAtMs: 1, state: 'starting', message: '' },
        }),
      );
    });
    const [shown] = (await api.call('GET', '/services?status=true')).json as { ServiceStatus: unknown }[];
    expect(shown?.ServiceStatus).toEqual({ RunningTasks: 1, DesiredTasks: 3, CompletedTasks: 0 });
    expect((await api.call('GET', '/services')).text).not.toContain('ServiceStatus');
  });

  test('a task of a global service that waits to be started again is one of those desired', async () => {
    const id = await api.createService({ Name: 'everywhere', Mode: { Global: {} } });
    await api.store.update((tx) => {
      tx.create('task', taskOf(service(id), 'runs'));
      tx.create('task', taskOf(service(id), 'failed', { desiredState: 'shutdown' }));
      tx.create('task', taskOf(service(id), 'waits', { desiredState: 'ready' }));
    });
    const [shown] = (await api.call('GET', '/services?status=true')).json as { ServiceStatus: unknown }[];
    expect(shown?.ServiceStatus).toMatchObject({ DesiredTasks: 2 });
  });

  test('delete answers 200 with nothing, by prefix too', async () => {
    const id = await api.createService({ Name: 'web' });
    const reply = await api.call('DELETE', `/services/${id.slice(0, 10)}`);
    expect([reply.status, reply.text]).toEqual([200, '']);
    expect((await api.call('DELETE', '/services/web')).status).toBe(404);
  });
});

describe('tasks', () => {
  test('show networks in full, no runtime, and answer _up-to-date', async () => {
    const id = await api.createService({ Name: 'web', Labels: { a: 'b' } });
    await api.store.update((tx) => {
      tx.create(
        'task',
        taskOf(service(id), 'task1', {
          networks: [
            {
              networkId: ingressId,
              address: '10.0.0.5' as Ip,
              prefixLength: 24,
              mac: '' as never,
              aliases: [],
            },
          ],
          status: {
            timestampMs: 1_700_000_000_000,
            appliedAtMs: 1,
            state: 'running',
            message: 'started',
            container: { containerId: 'c', pid: 7, exitCode: 0 },
          },
        }),
      );
    });
    const list = (await api.call('GET', `/tasks?${filters({ service: ['web'] })}`)).json;
    expect(list).toMatchObject([
      {
        ID: 'task1',
        Labels: {},
        Spec: { ContainerSpec: { Image: 'busybox', Isolation: 'default' }, ForceUpdate: 0 },
        ServiceID: id,
        Slot: 1,
        Status: {
          Timestamp: '2023-11-14T22:13:20Z',
          State: 'running',
          Message: 'started',
          ContainerStatus: { ContainerID: 'c', PID: 7, ExitCode: 0 },
          PortStatus: {},
        },
        DesiredState: 'running',
        NetworksAttachments: [
          {
            Network: {
              ID: ingressId,
              Spec: {
                Name: 'ingress',
                Labels: {},
                DriverConfiguration: {},
                Ingress: true,
                IPAMOptions: { Driver: {} },
                Scope: 'swarm',
              },
              DriverState: {
                Name: 'overlay',
                Options: { 'com.docker.network.driver.overlay.vxlanid_list': '4096' },
              },
              IPAMOptions: {
                Driver: { Name: 'default' },
                Configs: [{ Subnet: '10.0.0.0/24', Gateway: '10.0.0.1' }],
              },
            },
            Addresses: ['10.0.0.5/24'],
          },
        ],
      },
    ]);
    expect(JSON.stringify(list)).not.toContain('Runtime');
    expect(JSON.stringify(list)).not.toContain('Volumes');

    const upToDate = async (): Promise<number> =>
      (
        (await api.call('GET', `/tasks?${filters({ service: [id], '_up-to-date': ['true'] })}`))
          .json as unknown[]
      ).length;
    expect(await upToDate()).toBe(1);
    await api.call('POST', `/services/web/update?version=${versionOf(id)}`, {
      Name: 'web',
      Labels: { a: 'c' },
      ...template(),
    });
    expect(await upToDate(), 'a label dates no task').toBe(1);
    const placed = (constraint: string): object => template({}, { Placement: { Constraints: [constraint] } });
    for (const [constraint, expected] of [
      [`node.id==${nodeId}`, 1],
      ['node.id==another', 0],
    ] as const) {
      await api.call('POST', `/services/web/update?version=${versionOf(id)}`, {
        Name: 'web',
        ...placed(constraint),
      });
      // Or the CLI would wait for tasks that no update is going to replace.
      expect(await upToDate(), constraint).toBe(expected);
    }
    await api.call('POST', `/services/web/update?version=${versionOf(id)}`, {
      Name: 'web',
      ...template({ Image: 'b:2' }),
    });
    expect(await upToDate()).toBe(0);
  });

  test.each<[query: object, status: number, answer: unknown]>([
    [{ service: ['zz'] }, 404, { message: 'service zz not found' }],
    [{ node: ['zz'] }, 404, { message: 'node zz not found' }],
    [{ 'desired-state': ['zz'] }, 500, { message: "Invalid desired-state filter: 'zz'" }],
    [{ 'desired-state': ['shutdown'] }, 200, []],
    [{ name: ['web.1'] }, 200, [{ ID: 'task1' }]],
    [{ label: ['a=b'], node: ['node1'] }, 200, [{ ID: 'task1' }]],
    [{ label: ['a=c'] }, 200, []],
    [{ runtime: ['attachment'] }, 200, []],
  ])('filter %j', async (query, status, answer) => {
    const id = await api.createService({ Name: 'web', Labels: { a: 'b' } });
    await api.store.update((tx) => tx.create('task', taskOf(service(id), 'task1')));
    const reply = await api.call('GET', `/tasks?${filters(query)}`);
    expect(reply.status).toBe(status);
    if (Array.isArray(answer)) expect(reply.json).toHaveLength(answer.length);
    expect(reply.json).toMatchObject(answer as object);
  });

  test('attachments are listed when asked for, and shown as Docker shows them', async () => {
    await api.store.update((tx) =>
      tx.create(
        'task',
        attachment('at1', nodeId, { networkId: ingressId, address: '10.0.0.9' }, { containerId: 'c1' }),
      ),
    );
    expect((await api.call('GET', '/tasks')).json).toEqual([]);
    expect((await api.call('GET', `/tasks?${filters({ node: ['node1'] })}`)).json).toEqual([]);
    const [shown] = (await api.call('GET', `/tasks?${filters({ runtime: ['attachment'] })}`))
      .json as object[];
    expect(shown).toMatchObject({
      ID: 'at1',
      NodeID: nodeId,
      DesiredState: 'running',
      Status: { State: 'running' },
      NetworksAttachments: [{ Addresses: ['10.0.0.9/24'] }],
    });
    expect((shown as { Spec: object }).Spec).toEqual({
      NetworkAttachmentSpec: { ContainerID: 'c1' },
      Networks: [{ Target: ingressId }],
      ForceUpdate: 0,
      Runtime: 'attachment',
    });
    expect(shown).not.toHaveProperty('ServiceID');
  });

  test('show the resources that are theirs', async () => {
    const id = await api.createService({ Name: 'web' });
    await api.store.update((tx) =>
      tx.create('task', {
        ...taskOf(service(id), 't1'),
        assignedGenericResources: [
          { kind: 'gpu', name: 'UUID1' },
          { kind: 'ssd', count: 2 },
        ],
      }),
    );
    expect((await api.call('GET', '/tasks/t1')).json).toMatchObject({
      GenericResources: [
        { NamedResourceSpec: { Kind: 'gpu', Value: 'UUID1' } },
        { DiscreteResourceSpec: { Kind: 'ssd', Value: 2 } },
      ],
    });
  });

  test('inspect by full name', async () => {
    const id = await api.createService({ Name: 'web' });
    await api.store.update((tx) => tx.create('task', taskOf(service(id), 'task1')));
    expect((await api.call('GET', '/tasks/web.1.task1')).json).toMatchObject({ ID: 'task1' });
    expect((await api.call('GET', '/tasks/zz')).json).toEqual({ message: 'task zz not found' });
  });
});
