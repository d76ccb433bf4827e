/**
 * The stock docker CLIs against the API front, with this machine's own Docker Engine behind it. Tasks are not run
 * here: a small stand-in for the loops allocates and moves tasks to `running`, so that the CLI's progress converges.
 */
import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SwarmEvents } from '../../src/controlplane/api/swarm-events.js';
import { ClusterCa } from '../../src/controlplane/ca/cluster-ca.js';
import { createApiServer } from '../../src/controlplane/api/server.js';
import type { ApiServer } from '../../src/controlplane/api/server.js';
import { MemoryStore } from '../../src/controlplane/store/memory.js';
import type { Cidr, Ip } from '../../src/model/addresses.js';
import type { TaskId, Vni } from '../../src/model/ids.js';
import { parseUnlockKey } from '../../src/model/unlock-key.js';
import { systemClock } from '../../src/runtime/clock.js';
import { TestCa } from '../support/client-certificates.js';
import { writeEngineConfig } from '../support/engine-config.js';
import { packed } from '../support/log-lines.js';
import { FakeControl, description, nodeId, seed, taskOf } from '../unit/api/harness.js';

const clis = ['/usr/bin/docker', '/usr/local/bin/docker'].filter((path) => existsSync(path));

let directory: string;
let dockerd: ChildProcess;
let api: ApiServer;
const store = new MemoryStore();
const control = new FakeControl(store);

const engineAnswers = (socketPath: string): Promise<boolean> =>
  new Promise((resolve) => {
    const call = request({ socketPath, path: '/_ping' }, (reply) => {
      reply.resume();
      resolve(reply.statusCode === 200);
    });
    call.on('error', () => resolve(false));
    call.end();
  });

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'skep-cli-'));
  const socket = join(directory, 'engine.sock');
  const at = (name: string): string => join(directory, name);
  // A namespace of its own: the engine's bridge and rules stay away from this machine's.
  dockerd = spawn(
    'unshare',
    ['-n', 'dockerd', '-H', `unix://${socket}`, '--data-root', at('data'), '--exec-root', at('exec')].concat([
      ...['--pidfile', at('pid'), '--iptables=false', '--ip-masq=false'],
      ...['--config-file', writeEngineConfig(directory)],
    ]),
    { stdio: 'ignore' },
  );
  const deadline = Date.now() + 60_000;
  while (!(await engineAnswers(socket))) {
    if (Date.now() > deadline || dockerd.exitCode !== null) throw new Error('dockerd did not come up');
    await systemClock.sleep(100);
  }
  await seed(store);
  api = createApiServer({
    balancer: async () => undefined,
    swarmEvents: new SwarmEvents(systemClock),
    control,
    engineSocket: socket,
    openTunnel: () => expect.fail('no other node here'),
    readLogs: async function* (subject) {
      const tasks =
        'taskId' in subject
          ? [subject.taskId]
          : store
              .view()
              .tasksOfService(subject.serviceId)
              .map(({ id }) => id);
      for (const taskId of tasks)
        yield [
          {
            taskId,
            nodeId,
            packed: packed({ text: 'hello\n' }),
          },
        ];
    },
    log: pino({ enabled: false }),
    clock: systemClock,
    random: (size) => randomBytes(size),
    tlsInfoOf: () => description.tlsInfo,
    changeRoots: new ClusterCa({ clock: systemClock }).changeRoots,
    rotateToken: (token) => `${token.slice(0, token.lastIndexOf('-'))}-${randomBytes(8).toString('hex')}`,
  });
  await writeCertificates();
  await api.listen(join(directory, 'docker.sock'), {
    tcp: [{ host: '127.0.0.1', port: 0 }],
    tls: { ca: at('ca.pem'), cert: at('server.pem'), key: at('server-key.pem') },
  });
  standInForTheLoops();
});

afterAll(async () => {
  await api?.close();
  if (dockerd?.exitCode === null) {
    const ended = new Promise((resolve) => dockerd.once('exit', resolve));
    dockerd.kill('SIGTERM');
    await ended;
  }
  await rm(directory, { recursive: true, force: true });
});

/** A server's, and one for each role. */
async function writeCertificates(): Promise<void> {
  const ca = await TestCa.create();
  await writeFile(join(directory, 'ca.pem'), ca.certPem);
  for (const [name, subject] of [
    ['server', 'CN=server'],
    ...['read-only', 'operator', 'admin'].map((role) => [role, `CN=alice, OU=skep-${role}`] as const),
  ] as const) {
    const { certPem, keyPem } = await ca.issue(subject);
    await writeFile(join(directory, `${name}.pem`), certPem);
    await writeFile(join(directory, `${name}-key.pem`), keyPem);
  }
}

/** Allocates networks and gives every service its tasks, running. */
function standInForTheLoops(): void {
  let vni = 4097;
  store.subscribe(({ changes }) => {
    for (const { kind, current } of changes) {
      if (kind === 'network' && current && !current.allocation) {
        const number = vni++;
        const subnet = `10.0.${number - 4096}.0/24` as Cidr;
        const gateway = `10.0.${number - 4096}.1` as Ip;
        queueMicrotask(
          () =>
            void store.update((tx) => {
              const network = tx.get('network', current.id);
              if (network)
                tx.update('network', { ...network, allocation: { vni: number as Vni, subnet, gateway } });
            }),
        );
      }
      if (kind === 'service' && current)
        queueMicrotask(
          () =>
            void store.update((tx) => {
              const service = tx.get('service', current.id);
              if (!service || service.spec.mode.kind !== 'replicated') return;
              const { replicas } = service.spec.mode;
              for (const task of tx.tasksOfService(service.id))
                if (task.specVersion !== service.specVersion || (task.slot ?? 0) > replicas)
                  tx.delete('task', task.id);
              for (let slot = 1; slot <= replicas; slot++) {
                const id = `t${slot}v${service.specVersion}${service.id}`.slice(0, 25) as TaskId;
                if (!tx.get('task', id))
                  tx.create(
                    'task',
                    taskOf(service, id, {
                      slot,
                      status: {
                        timestampMs: Date.now(),
                        appliedAtMs: 0,
                        state: 'running',
                        message: 'started',
                      },
                    }),
                  );
              }
            }),
        );
    }
  });
}

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

const run = (cli: string, { input = '' }: { input?: string }, ...args: string[]): Promise<Outcome> =>
  new Promise((resolve) => {
    const env = {
      ...process.env,
      DOCKER_HOST: `unix://${join(directory, 'docker.sock')}`,
      DOCKER_CONFIG: directory,
    };
    const child = execFile(cli, args, { env, timeout: 60_000 }, (error, out, err) =>
      resolve({ code: typeof error?.code === 'number' ? error.code : error ? -1 : 0, out, err }),
    );
    child.stdin?.end(input);
  });

test('both stock CLIs are here', () => {
  expect(clis).toEqual(['/usr/bin/docker', '/usr/local/bin/docker']);
});

describe.each(clis)('%s', (cli) => {
  const docker = (...args: string[]): Promise<Outcome> => run(cli, {}, ...args);
  const ok = async (...args: string[]): Promise<string> => {
    const { code, out, err } = await docker(...args);
    expect({ args, code, err: code === 0 ? '' : err }).toEqual({ args, code: 0, err: '' });
    return out;
  };

  test('over TCP, each role as far as it goes', async () => {
    const at = (name: string): string => join(directory, name);
    const by = (role: string, words: string): Promise<Outcome> =>
      docker(
        ...['-H', `tcp://127.0.0.1:${api.ports()[0]}`, '--tlsverify', '--tlscacert', at('ca.pem')],
        ...['--tlscert', at(`${role}.pem`), '--tlskey', at(`${role}-key.pem`), ...words.split(' ')],
      );
    const may = async (role: string, words: string): Promise<string> => {
      const { code, out, err } = await by(role, words);
      expect({ role, words, code, err: code === 0 ? '' : err }).toEqual({ role, words, code: 0, err: '' });
      return out;
    };
    const mayNot = async (role: string, words: string, refusal: string): Promise<void> =>
      expect((await by(role, words)).err).toContain(`access denied to "alice": ${refusal}`);

    expect(await may('read-only', 'node ls -q')).toContain(nodeId);
    await mayNot(
      'read-only',
      'service create -d --name tcp busybox',
      // The CLI looks for the image first, and goes on without.
      'POST /services/create is for role operator, and its certificate has role read-only',
    );
    await may('operator', 'service create -d --name tcp busybox');
    expect(await may('read-only', 'service ls --format {{.Name}}')).toBe('tcp\n');
    await may('operator', 'service rm tcp');
    await mayNot('operator', 'swarm join-token worker', 'GET /swarm is for role admin');
    await mayNot('operator', 'run --rm busybox', 'POST /containers/create is for role admin');
    expect(await may('admin', 'swarm join-token -q worker')).toContain('SWMTKN-1-');
    expect((await docker('-H', `tcp://127.0.0.1:${api.ports()[0]}`, 'ps')).code).not.toBe(0);
    await store.update((tx) => {
      for (const task of tx.list('task')) tx.delete('task', task.id);
    });
  });

  test('version, info, node ls', async () => {
    expect(await ok('version', '--format', '{{.Server.APIVersion}}')).toBe('1.41\n');
    expect(
      await ok('info', '--format', '{{.Swarm.LocalNodeState}} {{.Swarm.ControlAvailable}} {{.Swarm.NodeID}}'),
    ).toBe(`active true ${nodeId}\n`);
    const nodes = await ok('node', 'ls');
    expect(nodes).toMatch(new RegExp(`${nodeId} \\*\\s+node1\\s+Ready\\s+Active\\s+Leader`));
    expect(await ok('node', 'inspect', 'self', '--format', '{{.Description.Hostname}}')).toBe('node1\n');
  });

  test('join tokens and their rotation', async () => {
    const before = await ok('swarm', 'join-token', '-q', 'worker');
    expect(await ok('swarm', 'join-token', 'worker')).toContain(
      `docker swarm join --token ${before.trim()} 10.99.0.1:2377`,
    );
    const after = (await ok('swarm', 'join-token', '--rotate', '-q', 'worker')).trim();
    expect(after).not.toBe(before.trim());
    expect(after).toMatch(/^SWMTKN-1-digest-/);
  });

  test('autolock: turned on, the key shown and rotated, a locked node unlocked, turned off', async () => {
    expect((await docker('swarm', 'unlock-key')).err).toContain('no unlock key is set');
    const shown = await ok('swarm', 'update', '--autolock=true');
    const key = (await ok('swarm', 'unlock-key', '-q')).trim();
    expect(shown).toContain(key);
    const rotated = (await ok('swarm', 'unlock-key', '--rotate', '-q')).trim();
    expect(rotated).toMatch(/^SWMKEY-1-/);
    expect(rotated).not.toBe(key);

    const { state } = control;
    control.unlockKey = parseUnlockKey(rotated);
    const { store: _, ...unserved } = state;
    control.state = { ...unserved, localNodeState: 'locked', nodeId: '', remoteManagers: null };
    expect(await ok('info')).toContain('Swarm: locked');
    expect((await docker('node', 'ls')).err).toContain('Swarm is encrypted and needs to be unlocked');
    const wrong = await run(cli, { input: `${key}\n` }, 'swarm', 'unlock');
    expect([wrong.code, wrong.err]).toEqual([
      1,
      expect.stringContaining('swarm could not be unlocked: invalid key provided'),
    ]);
    const right = await run(cli, { input: `${rotated}\n` }, 'swarm', 'unlock');
    expect([right.code, right.err]).toEqual([0, '']);
    expect(control.calls.at(-1)).toEqual(['unlock']);
    control.state = state;

    expect((await docker('swarm', 'unlock')).err).toContain('swarm is not locked');
    await ok('swarm', 'update', '--autolock=false');
  });

  test('networks', async () => {
    const id = (
      await ok('network', 'create', '-d', 'overlay', '--attachable', '--label', 'a=b', 'clinet')
    ).trim();
    expect(id).toMatch(/^[0-9a-z]{25}$/);
    expect(
      await ok('network', 'ls', '--filter', 'driver=overlay', '--format', '{{.Name}} {{.Scope}}'),
    ).toMatch(/^clinet swarm$/m);
    expect(await ok('network', 'ls', '--format', '{{.Name}}')).toMatch(/^host$/m);
    expect(
      await ok(
        'network',
        'inspect',
        'clinet',
        '--format',
        '{{.Driver}} {{.Scope}} {{(index .IPAM.Config 0).Subnet}}',
      ),
    ).toMatch(/^overlay swarm 10\.0\.\d+\.0\/24\n$/);
    expect(await docker('network', 'create', '-d', 'overlay', 'clinet')).toMatchObject({
      code: 1,
      err: expect.stringContaining('network with name clinet already exists') as string,
    });
    expect((await docker('network', 'create', '-d', 'overlay', '--subnet', 'bogus', 'x')).code).not.toBe(0);
    expect(await ok('network', 'rm', 'clinet')).toBe('clinet\n');
    await ok('network', 'create', 'localnet');
    await ok('network', 'rm', 'localnet');
  });

  test('a service from create to rm', async () => {
    await ok('network', 'create', '-d', 'overlay', 'svcnet');
    const created = await ok(
      ...[
        'service',
        'create',
        '--name',
        'web',
        '--network',
        'svcnet',
        '--replicas',
        '2',
        '--update-monitor',
        '1s',
      ],
      ...[
        '-p',
        '8080:80',
        '--env',
        'A=b',
        '--mount',
        'type=volume,source=v,target=/v',
        '--limit-memory',
        '64m',
        'busybox',
        'sleep',
        '9',
      ],
    );
    expect(created).toMatch(/converged/);
    expect(await ok('service', 'ls', '--format', '{{.Name}} {{.Mode}} {{.Replicas}} {{.Image}}')).toBe(
      'web replicated 2/2 busybox:latest\n',
    );
    expect(
      await ok(
        'service',
        'inspect',
        'web',
        '--format',
        '{{.Spec.Name}} {{json .Spec.TaskTemplate.ContainerSpec.Args}} {{(index .Spec.EndpointSpec.Ports 0).PublishedPort}}',
      ),
    ).toBe('web ["sleep","9"] 8080\n');
    expect(await ok('service', 'inspect', '--pretty', 'web')).toContain('Networks: svcnet');
    const tasks = await ok('service', 'ps', 'web', '--format', '{{.Name}} {{.Node}} {{.CurrentState}}');
    expect(tasks).toMatch(/^web\.1 node1 Running .*\nweb\.2 node1 Running .*\n$/);
    expect(await ok('node', 'ps', '--format', '{{.Name}}')).toMatch(/web\.1/);
    expect(await ok('service', 'logs', '--raw', 'web')).toContain('hello');
    expect(await ok('service', 'logs', 'web')).toMatch(/web\.\d\.\w+@node1\s+\| hello/);
    expect(await ok('service', 'scale', 'web=3')).toMatch(/converged/);
    expect(await ok('service', 'ls', '--format', '{{.Replicas}}')).toBe('3/3\n');
    expect(await ok('service', 'update', '--image', 'busybox:2', '--label-add', 'x=y', 'web')).toMatch(
      /converged/,
    );
    expect(await ok('service', 'ls', '--filter', 'label=x=y', '--format', '{{.Image}}')).toBe('busybox:2\n');
    expect(await ok('service', 'rollback', 'web')).toMatch(/converged/);
    expect(
      await ok(
        'service',
        'inspect',
        'web',
        '--format',
        '{{.Spec.TaskTemplate.ContainerSpec.Image}} {{.UpdateStatus.State}}',
      ),
    ).toBe('busybox:latest rollback_started\n');

    const refused = async (...args: string[]): Promise<string> => {
      const { code, err } = await docker(...args);
      expect(code).not.toBe(0);
      return err;
    };
    expect(await refused('service', 'create', '-d', '--name', 'web', 'busybox')).toContain(
      'name conflicts with an existing object: service web already exists',
    );
    expect(await refused('service', 'create', '-d', '--name', 'other', '-p', '8080:80', 'busybox')).toContain(
      "port '8080' is already in use by service 'web'",
    );
    // The CLI looks the network up itself and has its own word for a 404.
    expect(await refused('service', 'create', '-d', '--network', 'nonet', 'busybox')).toMatch(
      /network nonet not found|No such network: nonet/,
    );
    expect(await refused('service', 'ps', 'nosuch')).toContain('no such service: nosuch');
    expect(await refused('network', 'rm', 'svcnet')).toContain('is in use by service');

    expect(await ok('service', 'rm', 'web')).toBe('web\n');
    expect(await ok('service', 'ls', '-q')).toBe('');
    await store.update((tx) => {
      for (const task of tx.list('task')) tx.delete('task', task.id);
    });
    await ok('network', 'rm', 'svcnet');
  });

  test('what is the engine’s works through the front: import, run, exec with input', async () => {
    const busybox = [
      'sh',
      '-c',
      'd=$(mktemp -d) && mkdir $d/bin && cp /bin/busybox $d/bin && ln -s busybox $d/bin/sh && ln -s busybox $d/bin/cat && ln -s busybox $d/bin/sleep && tar -C $d -c . && rm -r $d',
    ];
    const image = await new Promise<Outcome>((resolve) => {
      const [shell = '', ...args] = busybox;
      const tar = spawn(shell, args, { stdio: ['ignore', 'pipe', 'inherit'] });
      const load = execFile(
        cli,
        ['import', '-', 'clibox'],
        { env: { ...process.env, DOCKER_HOST: `unix://${join(directory, 'docker.sock')}` } },
        (error, out, err) => resolve({ code: error ? 1 : 0, out, err }),
      );
      if (load.stdin) tar.stdout?.pipe(load.stdin);
    });
    expect(image).toMatchObject({ code: 0, out: expect.stringMatching(/^sha256:/) as string });
    expect(await ok('run', '--rm', '--network', 'none', 'clibox', 'sh', '-c', 'echo hi')).toBe('hi\n');
    const id = (await ok('run', '-d', '--network', 'none', 'clibox', 'sleep', '300')).trim();
    expect(await ok('exec', id, 'sh', '-c', 'echo in')).toBe('in\n');
    // Input that ends must end the command: a half-close all the way through.
    const echoed = await new Promise<string>((resolve) => {
      const child = execFile(
        cli,
        ['exec', '-i', id, 'cat'],
        {
          env: { ...process.env, DOCKER_HOST: `unix://${join(directory, 'docker.sock')}` },
          timeout: 30_000,
        },
        (error, out, err) => resolve(error ? `${error.message} ${err}` : out),
      );
      child.stdin?.end('through and back\n');
    });
    expect(echoed).toBe('through and back\n');
    expect((await docker('exec', 'nosuch', 'true')).err).toContain('No such container: nosuch');
    await ok('rm', '-f', id);
  });
});
