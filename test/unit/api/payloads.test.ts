/** `/secrets` and `/configs`, and services that are given them: what Swarm answers (semantics 2.5, 2.6, 14, 16.4). */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Harness } from './harness.js';

let api: Harness;
beforeEach(async () => {
  api = await Harness.start();
});
afterEach(async () => {
  await api[Symbol.asyncDispose]();
});

const base64 = (text: string): string => Buffer.from(text).toString('base64');
const of = (bytes: number): string => Buffer.alloc(bytes, 'x').toString('base64');
const invalid = 'rpc error: code = InvalidArgument desc = ';
const filters = (wanted: object): string => `filters=${encodeURIComponent(JSON.stringify(wanted))}`;

const create = async (kind: string, spec: object): Promise<string> => {
  const reply = await api.call('POST', `/${kind}s/create`, spec);
  expect([reply.status, reply.text]).toEqual([201, expect.stringMatching(/^\{"ID":"[0-9a-z]{25}"\}\n$/)]);
  return (reply.json as { ID: string }).ID;
};
const inspect = async (kind: string, id: string) =>
  (await api.call('GET', `/${kind}s/${id}`)).json as {
    readonly Version: { readonly Index: number };
    readonly Spec: object;
  };
const names = async (path: string): Promise<string[]> =>
  ((await api.call('GET', path)).json as { Spec: { Name: string } }[]).map(({ Spec }) => Spec.Name);

describe.each(['secret', 'config'])('%s', (kind) => {
  const word = kind;
  const max = kind === 'secret' ? 512_000 : 1_024_000;
  const size = `${invalid}${kind} data must be larger than 0 and less than ${max} bytes`;
  const name =
    `${invalid}invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be ` +
    '[a-zA-Z0-9]';

  test.each<[spec: unknown, message: string, minor?: number]>([
    [{}, `${invalid}name must be provided`],
    [{ Name: '', Data: 'eA==' }, `${invalid}name must be provided`],
    [{ Name: '.a', Data: 'eA==' }, name],
    [{ Name: 'a-', Data: 'eA==' }, name],
    [{ Name: 'a b', Data: 'eA==' }, name],
    [{ Name: 'ä', Data: 'eA==' }, name],
    [{ Name: 'a'.repeat(65), Data: 'eA==' }, name],
    [{ Name: 'a' }, size],
    [{ Name: 'a', Data: '' }, size],
    [{ Name: 'a', Data: of(max) }, size],
    [{ Name: 'a', Data: 'not base64' }, 'illegal base64 data at input byte 3'],
    [{ Name: 'a', Data: 'eA=' }, 'illegal base64 data at input byte 3'],
    [{ Name: 'a', Data: 'eA==x' }, 'illegal base64 data at input byte 4'],
    [{ Name: 'a', Data: '====' }, 'illegal base64 data at input byte 0'],
    [{ Name: 'a', Data: 'e\nA=x' }, 'illegal base64 data at input byte 3'],
    [{ Name: 'a', Data: 'eAA' }, 'illegal base64 data at input byte 0'],
    [
      { Name: 'a', Data: 'eA==', Templating: { Name: 'golang' } },
      `${kind} templating is not supported on the specified API version: 1.36`,
      36,
    ],
  ])('refuses %j', async (spec, message, minor = 41) => {
    const before = api.store.view().revision;
    const reply = await api.call('POST', `/v1.${minor}/${kind}s/create`, spec);
    expect([reply.status, reply.json]).toEqual([400, { message }]);
    expect(api.store.view().revision, 'nothing was written').toBe(before);
  });

  test.each([1, max - 1])('takes %d bytes', async (bytes) => {
    await create(kind, { Name: 'a'.repeat(64), Data: of(bytes) });
  });

  test('is shown as it was made, a secret without what it holds', async () => {
    const spec = {
      Name: 'site.conf',
      Labels: { a: 'b' },
      Data: base64('content'),
      Templating: { Name: 'golang' },
    };
    const id = await create(kind, spec);
    const { Data, ...hidden } = spec;
    const time = expect.stringMatching(/^20\d\d-.*Z$/) as string;
    const shown = {
      ID: id,
      Version: { Index: expect.any(Number) as number },
      CreatedAt: time,
      UpdatedAt: time,
      Spec: kind === 'secret' ? hidden : { ...hidden, Data },
    };
    for (const argument of [id, 'site.conf', id.slice(0, 12)])
      expect(await inspect(kind, argument)).toEqual(shown);
    expect((await api.call('GET', `/${kind}s`)).json).toEqual([shown]);
    expect(await inspect(kind, 'zz')).toEqual({ message: `${kind} zz not found` });
  });

  test('labels are an object when there are none', async () => {
    const id = await create(kind, { Name: 'a', Data: 'eA==' });
    expect((await inspect(kind, id)).Spec).toEqual({
      Name: 'a',
      Labels: {},
      ...(kind === 'config' && { Data: 'eA==' }),
    });
  });

  test('names are taken once, whatever their case', async () => {
    await create(kind, { Name: 'a', Data: 'eA==' });
    const reply = await api.call('POST', `/${kind}s/create`, { Name: 'A', Data: 'eQ==' });
    const message = `rpc error: code = AlreadyExists desc = ${kind} A already exists`;
    expect([reply.status, reply.json]).toEqual([409, { message }]);
    await create(kind === 'secret' ? 'config' : 'secret', { Name: 'a', Data: 'eA==' });
  });

  test('lists by id, label and beginning of the name', async () => {
    const id = await create(kind, { Name: 'one', Data: 'eA==', Labels: { a: '1', b: '' } });
    await create(kind, { Name: 'one-more', Data: 'eA==', Labels: { a: '2' } });
    const by = (wanted: object): Promise<string[]> => names(`/${kind}s?${filters(wanted)}`);
    expect(await by({ id: [id.slice(0, 20)] })).toEqual(['one']);
    expect((await by({ name: ['one'] })).sort()).toEqual(['one', 'one-more']);
    expect(await by({ label: ['a=2'] })).toEqual(['one-more']);
    expect(await by({ label: ['a', 'b'] })).toEqual(['one']);
    const exact = await api.call('GET', `/${kind}s?${filters({ names: ['one'] })}`);
    if (kind === 'secret') expect(exact.json).toMatchObject([{ Spec: { Name: 'one' } }]);
    else expect([exact.status, exact.json]).toEqual([400, { message: "Invalid filter 'names'" }]);
    expect((await api.call('GET', `/${kind}s?${filters({ mode: ['x'] })}`)).status).toBe(400);
  });

  test('an update changes the labels alone', async () => {
    const id = await create(kind, { Name: 'a', Data: base64('one'), Labels: { a: '1' } });
    const { Version } = await inspect(kind, id);
    const update = async (spec: unknown, version: number | string = Version.Index) => {
      const reply = await api.call('POST', `/${kind}s/a/update?version=${version}`, spec);
      return [reply.status, reply.text];
    };
    const refused = (status: number, message: string) => [status, `${JSON.stringify({ message })}\n`];
    const onlyLabels = refused(400, `${invalid}only updates to Labels are allowed`);
    expect(await update({ Name: 'b', Labels: {} })).toEqual(onlyLabels);
    expect(await update({ Name: 'a', Data: base64('two') })).toEqual(onlyLabels);
    expect(await update({ Name: 'a', Data: base64('onetwo') })).toEqual(onlyLabels);
    expect(await update({ Name: 'a' }, 'x')).toEqual(refused(400, `invalid ${word} version`));
    expect(await update({ Name: 'a' }, Version.Index - 1)).toEqual(
      refused(500, 'rpc error: code = Unknown desc = update out of sequence'),
    );
    expect(await update({ Name: 'a', Labels: { b: '2' } })).toEqual([200, '']);
    const { Version: next, Spec } = await inspect(kind, id);
    expect(Spec).toMatchObject({ Name: 'a', Labels: { b: '2' } });
    expect(await update({ Name: 'a', Data: base64('one') }, next.Index)).toEqual([200, '']);
    expect((await inspect(kind, id)).Spec).toMatchObject({ Labels: {} });
    expect(api.store.view().list(kind as 'secret')[0]?.spec.data).toBe(base64('one'));
  });

  const key = kind === 'secret' ? 'Secret' : 'Config';
  const reference = (id: string, of: string, file: object = { Name: of }): object => ({
    [`${key}ID`]: id,
    [`${key}Name`]: of,
    File: { UID: '0', GID: '0', Mode: 0o444, ...file },
  });
  const service = (Name: string, references: readonly object[]): object => ({
    Name,
    TaskTemplate: { ContainerSpec: { Image: 'busybox', [`${key}s`]: references } },
  });

  test('what services are given cannot be removed', async () => {
    const id = await create(kind, { Name: 'a', Data: 'eA==' });
    const services = ['web', 'db'];
    for (const each of services)
      expect((await api.call('POST', '/services/create', service(each, [reference(id, 'a')]))).status).toBe(
        201,
      );
    const remove = async (): Promise<readonly unknown[]> => {
      const reply = await api.call('DELETE', `/${kind}s/a`);
      return [reply.status, reply.text === '' ? '' : (reply.json as { message: string }).message];
    };
    const [status, message] = await remove();
    expect(status).toBe(400);
    expect(message).toMatch(
      new RegExp(`^${invalid}${kind} 'a' is in use by the following services: (web, db|db, web)$`),
    );
    await api.call('DELETE', '/services/web');
    expect(await remove()).toEqual([400, `${invalid}${kind} 'a' is in use by the following service: db`]);
    await api.call('DELETE', '/services/db');
    expect(await remove()).toEqual([204, '']);
    expect(await remove()).toEqual([404, `${kind} a not found`]);
  });

  test('references come back as they were given', async () => {
    const id = await create(kind, { Name: 'a', Data: 'eA==' });
    const given = reference(id, 'a', { Name: '/etc/a', UID: '101', GID: '', Mode: 0o400 });
    const created = (await api.call('POST', '/services/create', service('web', [given]))).json;
    const shown = (await api.call('GET', `/services/${(created as { ID: string }).ID}`)).json;
    expect(shown).toMatchObject({ Spec: { TaskTemplate: { ContainerSpec: { [`${key}s`]: [given] } } } });
  });

  test.each<[what: string, references: (id: string) => readonly object[], message: string]>([
    ['another name', (id) => [reference(id, 'b')], `${kind} not found: b`],
    ['more that are not there', () => [reference('q', 'q'), reference('r', 'r')], `${kind}s not found: q, r`],
    ['no name', (id) => [reference(id, '')], `malformed ${kind} reference`],
    ['no id', () => [reference('', 'a')], `malformed ${kind} reference`],
    [
      'no file name',
      (id) => [reference(id, 'a', { Name: '' })],
      `malformed file ${kind} reference, invalid target file name provided`,
    ],
    [
      'a file that is all there is',
      (id) => [reference(id, 'a', { Name: '../../..' })],
      `malformed file ${kind} reference, invalid target file name provided`,
    ],
    [
      'a user by name',
      (id) => [reference(id, 'a', { Name: 'a', UID: 'root' })],
      `malformed file ${kind} reference, invalid uid 'root'`,
    ],
    [
      'one file twice',
      (id) => [reference(id, 'a', { Name: 'x' }), reference('q', 'q', { Name: 'x' })],
      `${kind} references 'a' and 'q' have a conflicting target: 'x'`,
    ],
  ])('a service is refused with %s', async (_, references, message) => {
    const id = await create(kind, { Name: 'a', Data: 'eA==' });
    const reply = await api.call('POST', '/services/create', service('web', references(id)));
    expect([reply.status, reply.json]).toEqual([400, { message: invalid + message }]);
  });
});

test.each([
  [{ Name: 'a', Driver: { Name: '' } }, 400, `${invalid}secret driver must have a name`],
  [
    { Name: 'a', Driver: { Name: 'vault' } },
    500,
    'rpc error: code = Unknown desc = plugin "vault" not found',
  ],
  [{ Name: '-', Driver: { Name: 'vault' } }, 400, expect.stringContaining('invalid name') as string],
])('a secret of a driver is refused: %j', async (spec, status, message) => {
  const reply = await api.call('POST', '/secrets/create', spec);
  expect([reply.status, reply.json]).toEqual([status, { message }]);
});

test.each([
  [{ Runtime: {} }, 'invalid Config: a Runtime target is of credential specs, which are of Windows'],
  [{}, 'invalid Config: either File or Runtime should be set'],
  [{ File: {}, Runtime: {} }, 'invalid Config: cannot specify both File and Runtime'],
])('a config that is no file is refused: %j', async (target, message) => {
  const Configs = [{ ConfigID: 'a', ConfigName: 'a', ...target }];
  const spec = { Name: 'a', TaskTemplate: { ContainerSpec: { Image: 'busybox', Configs } } };
  const reply = await api.call('POST', '/services/create', spec);
  expect([reply.status, reply.json]).toEqual([400, { message }]);
});

describe('versions by label', () => {
  const labels = { 'skep.version-of': 'site', a: 'b' };
  const versions = async () =>
    (
      (await api.call('GET', '/configs')).json as {
        ID: string;
        Version: { Index: number };
        Spec: { Name: string; Data: string; Labels: object };
      }[]
    ).sort((a, b) => a.Spec.Name.length - b.Spec.Name.length);
  const update = async (spec: object, name = 'shop_site') => {
    const { Version } = await inspect('config', name);
    const reply = await api.call('POST', `/configs/${name}/update?version=${Version.Index}`, spec);
    return [reply.status, reply.text === '' ? '' : (reply.json as { message: string }).message];
  };

  test('other content takes the name, and a service keeps what it had until it is updated', async () => {
    const first = await create('config', { Name: 'shop_site', Data: base64('one'), Labels: labels });
    const service = (id: string) => ({
      Name: 'web',
      TaskTemplate: {
        ContainerSpec: {
          Image: 'busybox',
          Configs: [
            { ConfigID: id, ConfigName: 'shop_site', File: { Name: '/a', UID: '', GID: '', Mode: 0o444 } },
          ],
        },
      },
    });
    expect((await api.call('POST', '/services/create', service(first))).status).toBe(201);
    expect(await update({ Name: 'shop_site', Data: base64('two'), Labels: labels })).toEqual([200, '']);
    const [present, old] = await versions();
    expect(present?.Spec).toEqual({ Name: 'shop_site', Data: base64('two'), Labels: labels });
    expect(old).toMatchObject({
      ID: first,
      Spec: {
        Name: `shop_site.${first.slice(0, 12)}`,
        Data: base64('one'),
        Labels: { 'skep.version-of': 'shop_site', a: 'b' },
      },
    });

    // A client that changes something else sends the old reference back.
    const shown = (await inspect('service', 'web')) as unknown as { Version: { Index: number } };
    const path = `/services/web/update?version=${shown.Version.Index}`;
    expect((await api.call('POST', path, service(first))).status).toBe(200);
    expect((await api.call('DELETE', `/configs/${first}`)).text).toContain(
      'is in use by the following service',
    );
    const newId = present!.ID;
    const { Version } = await inspect('service', 'web');
    expect(
      (await api.call('POST', `/services/web/update?version=${Version.Index}`, service(newId))).status,
    ).toBe(200);
    const { Version: next } = await inspect('service', 'web');
    const back = `/services/web/update?version=${next.Index}&rollback=previous`;
    expect((await api.call('POST', back, service(newId))).status).toBe(200);
    expect(api.store.view().list('service')[0]?.spec.taskTemplate.container.configs?.[0]?.id).toBe(first);
  });

  test('the same content is a change of labels, as without', async () => {
    await create('config', { Name: 'shop_site', Data: base64('one'), Labels: labels });
    expect(await update({ Name: 'shop_site', Data: base64('one'), Labels: { ...labels, c: 'd' } })).toEqual([
      200,
      '',
    ]);
    expect(await versions()).toHaveLength(1);
  });

  test('a name of the greatest length gets a version as well', async () => {
    const Name = 'n'.repeat(64);
    const Labels = { 'skep.version-of': Name };
    const id = await create('config', { Name, Data: base64('one'), Labels });
    expect(await update({ Name, Data: base64('two'), Labels }, Name)).toEqual([200, '']);
    expect((await inspect('config', id)).Spec).toMatchObject({
      Name: `${'n'.repeat(51)}.${id.slice(0, 12)}`,
    });
  });

  const onlyLabels = `${invalid}only updates to Labels are allowed`;
  test.each<[what: string, spec: object, message: string]>([
    ['without the label', { Labels: {} }, onlyLabels],
    ['with the label of another', { Labels: { 'skep.version-of': 'other' } }, onlyLabels],
    ['with another name', { Name: 'site' }, onlyLabels],
    [
      'with too much in it',
      { Data: of(1_024_000) },
      `${invalid}config data must be larger than 0 and less than 1024000 bytes`,
    ],
  ])('refused: %s', async (_, change, message) => {
    await create('config', { Name: 'shop_site', Data: base64('one'), Labels: labels });
    const spec = { Name: 'shop_site', Data: base64('two'), Labels: labels, ...change };
    expect(await update(spec)).toEqual([400, message]);
    expect(await versions()).toHaveLength(1);
  });

  test('the label says whose version it is, and only that', async () => {
    const message = `${invalid}label skep.version-of: "other" is not this object's own name, of which a stack's prefix may be left out`;
    const Labels = { 'skep.version-of': 'other' };
    const reply = await api.call('POST', '/configs/create', { Name: 'shop_site', Data: 'eA==', Labels });
    expect([reply.status, reply.json]).toEqual([400, { message }]);
    await create('config', { Name: 'shop_site', Data: 'eA==' });
    expect(await update({ Name: 'shop_site', Labels })).toEqual([400, message]);
  });
});
