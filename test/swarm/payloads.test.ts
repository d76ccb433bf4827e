/** Secrets and configs: what the API answers, and what a container sees, from Skep and from Docker's own Swarm mode side by side. */
import { test } from 'vitest';
import { compare } from './compare.js';

const node = 'node1';
const text = (content: string): string => Buffer.from(content).toString('base64');
const of = (bytes: number): string => Buffer.alloc(bytes, 'x').toString('base64');
const found = '--filter label=com.docker.swarm.service.name=vault';

test('secrets and configs are made, looked at, given to a service, and removed', async () => {
  await compare(async (over) => {
    const { lab } = over;
    await lab.must(node, 'swarm init --advertise-addr 192.168.60.1');
    const ask = (method: string, path: string, body?: object, named?: string): Promise<string> =>
      over.ask(node, method, path, body, named);

    for (const kind of ['secret', 'config']) {
      const end = kind === 'secret' ? 512_000 : 1_024_000;
      const create = (body: object, named?: string): Promise<string> =>
        ask('POST', `/v1.41/${kind}s/create`, body, named);
      await create({});
      for (const Name of ['.a', 'a-', 'a b', 'ä', 'a'.repeat(65)]) await create({ Name, Data: 'eA==' });
      for (const Data of [undefined, '', 'not base64', 'eA=', 'eAA', 'e', 'eA==\n', 'eA==x', '====', 7])
        await create({ Name: 'a', Data });
      await create({ Name: 'large', Data: of(end) }, `too large a ${kind}`);
      await create({ Name: 'largest', Data: of(end - 1) }, `the largest ${kind}`);
      await create({ Name: 'one', Data: text('one'), Labels: { a: 'b' } });
      await create({ Name: 'ONE', Data: text('two') });
      await create({ Name: 'two', Data: text('two') });
      await create({ Name: 'plain', Data: text('{{ not expanded }}') });
      await create({ Name: 'odd', Data: 'eA==', Templating: { Name: 'jinja', Options: { a: 'b' } } });
      await ask('POST', `/v1.36/${kind}s/create`, {
        Name: 'old',
        Data: 'eA==',
        Templating: { Name: 'golang' },
      });
      for (const each of ['one', 'odd', 'none', '']) await ask('GET', `/v1.41/${kind}s/${each}`);
      const filters = [
        { name: ['on'] },
        { names: ['one'] },
        { label: ['a'] },
        { label: ['a=c'] },
        { id: ['zz'] },
        { x: ['y'] },
      ];
      for (const each of filters)
        await ask('GET', `/v1.41/${kind}s?filters=${encodeURIComponent(JSON.stringify(each))}`);
      const shown = JSON.parse((await lab.ask(node, 'GET', `/v1.41/${kind}s/one`)).replace(/ \d+$/, '')) as {
        readonly Version: { readonly Index: number };
      };
      const update = (version: number | string, body: object, named: string): Promise<string> =>
        ask('POST', `/v1.41/${kind}s/one/update?version=${version}`, body, `update of the ${kind}: ${named}`);
      const { Index } = shown.Version;
      await update('x', { Name: 'one' }, 'no version');
      await update(1, { Name: 'one' }, 'an old version');
      await update(1, { Name: 'other' }, 'an old version and another name');
      await update(Index, { Name: 'one', Data: text('two') }, 'other content');
      await update(Index, { Name: 'one', Data: '' }, 'empty content');
      await ask('GET', `/v1.41/${kind}s/one`);
      await ask('POST', `/v1.41/${kind}s/none/update?version=1`, { Name: 'none' });
    }
    await ask('POST', '/v1.41/secrets/create', { Name: 'driven', Driver: { Name: '' } });
    await ask('POST', '/v1.41/secrets/create', { Name: 'driven', Driver: { Name: 'vault' } });

    const refused = (what: string, container: object): Promise<string> =>
      ask(
        'POST',
        '/v1.41/services/create',
        { Name: 'refused', TaskTemplate: { ContainerSpec: { Image: 'busybox', ...container } } },
        `a service with ${what}`,
      );
    const file = { Name: 'a', UID: '0', GID: '0', Mode: 292 };
    await refused('a secret without a file', { Secrets: [{ SecretID: 'a', SecretName: 'a' }] });
    await refused('a secret without a name', { Secrets: [{ SecretID: 'a', File: file }] });
    await refused('a secret without a name of its file', {
      Secrets: [{ SecretID: 'a', SecretName: 'a', File: {} }],
    });
    await refused('a secret that is not there', {
      Secrets: [{ SecretID: 'a', SecretName: 'a', File: file }],
    });
    await refused('configs that are not there', {
      Configs: ['a', 'b'].map((name) => ({
        ConfigID: name,
        ConfigName: name,
        File: { ...file, Name: name },
      })),
    });
    await refused('a config that is nothing', { Configs: [{ ConfigID: 'a', ConfigName: 'a' }] });
    await refused('a config that is two things', {
      Configs: [{ ConfigID: 'a', ConfigName: 'a', File: file, Runtime: {} }],
    });
    await refused('one file twice', {
      Secrets: ['a', 'b'].map((name) => ({ SecretID: name, SecretName: name, File: file })),
    });

    await lab.ask(node, 'POST', '/v1.41/configs/create', {
      ...{ Name: 'site', Templating: { Name: 'golang' } },
      Data: text(
        '{{ secret "pw" }} {{ config "/etc/plain" }} {{ env "A" }} {{ .Service.Name }}.{{ .Task.Slot }}',
      ),
    });
    await over.docker(
      node,
      [
        'service create -d --name vault --no-resolve-image --restart-delay 1h --env A=b --user 70',
        '--secret source=one,target=pw,uid=70,gid=71,mode=0400 --secret source=two,target=/etc/one --secret plain',
        '--config source=site,target=site.conf,mode=0440,gid=71 --config source=plain,target=/etc/plain --config one',
        'skep/busybox:lab sleep 100000',
      ].join(' '),
    );
    await lab.until(node, `ps -q ${found}`, (output) => output !== '', 60_000);
    const id = await lab.must(node, `ps -q ${found}`);
    const inside = async (...script: string[]): Promise<void> => {
      const { exitCode, stdout, stderr } = await lab.docker(node, [
        'exec',
        id,
        'busybox',
        'sh',
        '-c',
        script.join('; '),
      ]);
      over.note(script.join('; '), [`${exitCode}`, stdout, stderr]);
    };
    const files = '/run/secrets/pw /etc/one /run/secrets/plain /site.conf /etc/plain /one';
    await inside(`busybox stat -c '%a %u:%g %s %F %n' ${files}`);
    await inside(`for file in ${files}; do cat $file; echo; done`);
    await inside(`grep -e secrets -e /etc/one -e site.conf /proc/mounts | cut -d' ' -f2,3 | sort`);
    await inside('echo x > /run/secrets/pw', 'rm /site.conf');
    await over.docker(node, 'service inspect -f {{json .Spec.TaskTemplate.ContainerSpec}} vault');
    for (const words of ['secret rm one', 'config rm site', 'secret rm none']) await over.docker(node, words);
    await over.docker(node, 'service rm vault');
    for (const words of [
      'secret rm one two plain odd largest',
      'config rm one two plain odd largest site',
      'secret ls --format {{.Name}}',
      'config ls --format {{.Name}}',
    ])
      await over.docker(node, words);
  }, 60);
});
