/**
 * What others have written for Docker's API drives a swarm of Skep: Docker's SDK for Python (python-sdk.py), and dockerode, each from
 * `swarm init` to the last node's leaving, on the same two hosts. Every method of theirs that belongs to the swarm is called at least once:
 * which there are, they are asked themselves. Docker's own SDK, that for Go, is what the stock CLI of the other tests is made of.
 */
import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { beforeAll, describe, expect, test } from 'vitest';
import { hostCommand } from '../../src/lab/host-command.js';
import { checkout } from '../../src/lab/lab.js';
import { dockerode, watchDockerode } from '../support/dockerode.js';
import type { Dockerode, ServiceHandle, Shown } from '../support/dockerode.js';
import { TestLab, eventually } from '../support/lab.js';

const labName = 'test-sdk';
const cluster = new TestLab({ name: labName, nodes: 2 });
const address = '192.168.60.1';
const image = 'skep/busybox:lab';
const soonMs = 30_000;

/** A node's socket, seen from here: SDKs run outside of the lab. */
function socketOf(name: string): string {
  const pid = cluster.lab.status().find((node) => node.name === name)?.pid;
  return `/proc/${pid}/root/run/skep/docker.sock`;
}

test('Docker’s SDK for Python drives the whole surface', { timeout: 180_000 }, async () => {
  // Only when its keyring is sealed with the key of the rotation: until then that of before opens it.
  const sealed = `for i in $(seq 200); do grep -q unlockKeyVersion.:2, /var/lib/skep/swarm/keyring.json && break; sleep 0.1; done`;
  const kill = `${sealed}; kill -9 $(cat /run/lab/pid/skepd)`;
  const killManager = `${checkout}/bin/skep lab exec node1 --name ${labName} -- sh -c '${kill}'`;
  const program = `${checkout}/test/lab/python-sdk.py`;
  const words = [socketOf('node1'), socketOf('node2'), address, killManager, '--failfast'];
  // Debian's own, whatever else is called python3 here.
  await hostCommand(['/usr/bin/python3', program, ...words], { deadlineMs: 170_000 });
});

const task = (script: string, more: object = {}): object => ({
  ContainerSpec: { Image: image, Command: ['sh', '-c', script], ...more },
});
const hello = 'trap exit TERM; echo hello; echo oops >&2; sleep 1d & wait';

describe('dockerode', () => {
  let manager: Dockerode;
  let worker: Dockerode;
  let methods: ReturnType<typeof watchDockerode>;

  const refused = async (statusCode: number, text: string, call: Promise<unknown>): Promise<void> => {
    const err = await call.then(
      () => undefined,
      (caught: unknown) => caught as { statusCode: number; json: { message: string } },
    );
    expect([err?.statusCode, err?.json.message]).toEqual([statusCode, expect.stringContaining(text)]);
  };
  const running = (service: string, count: number): Promise<Shown[]> =>
    eventually(
      `${count} tasks of ${service}`,
      soonMs,
      async () => {
        const filters = { service: [service], 'desired-state': ['running'] };
        return (await manager.listTasks({ filters })).filter(({ Status }) => Status.State === 'running');
      },
      (tasks) => expect(tasks).toHaveLength(count),
    );
  const logged = (wanted: string, logs: () => Promise<unknown>): Promise<unknown> =>
    eventually(`${wanted} in the logs`, soonMs, logs, (log) => expect(String(log)).toContain(wanted));

  beforeAll(() => {
    manager = dockerode(socketOf('node1'));
    worker = dockerode(socketOf('node2'));
    methods = watchDockerode(manager);
  });

  test('makes a swarm of two nodes and changes it', async () => {
    await refused(503, 'This node is not a swarm manager', manager.listServices());
    const listen = { ListenAddr: '0.0.0.0:2377' };
    const Spec = { Labels: { of: 'dockerode' } };
    const nodeId = await manager.swarmInit({ ...listen, AdvertiseAddr: address, Spec });
    expect((await manager.info()).Swarm.NodeID).toBe(nodeId);
    const swarm = await manager.swarmInspect();
    expect(swarm.Spec).toMatchObject(Spec);
    const join = { ...listen, RemoteAddrs: [`${address}:2377`] };
    await refused(500, 'invalid join token', worker.swarmJoin({ ...join, JoinToken: 'SWMTKN-1-x' }));
    await worker.swarmJoin({ ...join, JoinToken: swarm.JoinTokens.Worker });
    // As the SDK does it: what is asked for and the spec in one, as query and as body.
    const change = { version: swarm.Version.Index, ...swarm.Spec, Labels: { of: 'update' } };
    await manager.swarmUpdate({ ...change, rotateWorkerToken: true });
    const updated = await manager.swarmInspect();
    expect(updated.Spec['Labels']).toEqual({ of: 'update' });
    expect(updated.JoinTokens.Worker).not.toBe(swarm.JoinTokens.Worker);
    await refused(500, 'update out of sequence', manager.swarmUpdate(change));
  });

  test('lists and changes nodes', async () => {
    await eventually(
      'both nodes',
      soonMs,
      () => manager.listNodes(),
      (all) => expect(all).toHaveLength(2),
    );
    const [{ ID }] = (await manager.listNodes({ filters: { role: ['worker'] } })) as [Shown];
    const node = manager.getNode(ID);
    const { Version, Spec } = await node.inspect();
    await node.update({ version: Version.Index, ...Spec, Labels: { disk: 'ssd' } });
    const filters = { 'node.label': ['disk=ssd'] };
    expect(await manager.listNodes({ filters })).toMatchObject([{ ID, Spec: { Labels: { disk: 'ssd' } } }]);
    await refused(400, "is not down and can't be removed", node.remove());
    await refused(404, 'node nope not found', manager.getNode('nope').inspect());
    await refused(503, 'Worker nodes can', worker.listNodes());
  });

  test('connects containers to networks', async () => {
    const network = await manager.createNetwork({
      ...{
        Name: 'front',
        Driver: 'overlay',
        Attachable: true,
        CheckDuplicate: true,
        Labels: { tier: 'front' },
      },
      IPAM: { Driver: 'default', Config: [{ Subnet: '10.50.0.0/24' }] },
    });
    await refused(409, 'already exists', manager.createNetwork({ Name: 'front', Driver: 'overlay' }));
    const listed = await manager.listNetworks({ filters: { label: ['tier=front'] } });
    expect(listed).toMatchObject([{ Name: 'front', Id: network.id }]);
    const output = new PassThrough();
    const HostConfig = { NetworkMode: 'front', AutoRemove: true };
    const ran: unknown = await manager.run(image, ['echo', 'inside'], output, { HostConfig, Tty: true });
    expect(ran).toMatchObject([{ StatusCode: 0 }, {}]);
    expect(String(output.read())).toBe('inside\r\n');
    const box = await manager.createContainer({ name: 'box', Image: image, Cmd: ['sleep', '1d'] });
    await box.start();
    const EndpointConfig = { IPAMConfig: { IPv4Address: '10.50.0.200' }, Aliases: ['tardy'] };
    await network.connect({ Container: box.id, EndpointConfig });
    expect(await network.inspect({ verbose: true })).toMatchObject({
      Containers: { [box.id]: { Name: 'box', IPv4Address: '10.50.0.200/24' } },
    });
    await refused(409, 'box is already attached to network front', network.connect({ Container: box.id }));
    await refused(400, 'is in use by task', network.remove());
    await network.disconnect({ Container: box.id, Force: true });
    await box.remove({ force: true });
    await manager.createNetwork({ Name: 'unused', Driver: 'overlay', Labels: { prune: 'me' } });
    const pruned = await manager.pruneNetworks({ filters: { label: ['prune=me'] } });
    expect(pruned).toEqual({ NetworksDeleted: ['unused'] });
  });

  test.each(['secret', 'config'] as const)('keeps a %s', async (kind) => {
    const isSecret = kind === 'secret';
    const create = (spec: object): Promise<unknown> =>
      isSecret ? manager.createSecret(spec) : manager.createConfig(spec);
    const Name = `${kind}-1`;
    const Data = Buffer.from('what it holds\n').toString('base64');
    const { id } = (await create({ Name, Labels: {}, Data })) as { id: string };
    const found = isSecret ? manager.getSecret(id) : manager.getConfig(id);
    const { Version, Spec } = await found.inspect();
    expect(Spec).toEqual({ Name, Labels: {}, ...(isSecret ? {} : { Data }) });
    await found.update({ version: Version.Index, ...Spec, Labels: { a: 'b' } });
    const listed = isSecret ? await manager.listSecrets() : await manager.listConfigs();
    expect(listed).toMatchObject([{ ID: id, Spec: { Name, Labels: { a: 'b' } } }]);
    await refused(409, 'already exists', create({ Name, Data }));
  });

  test('runs, shows, scales and updates services', async () => {
    const [{ ID: SecretID }] = (await manager.listSecrets()) as [Shown];
    const [{ ID: ConfigID }] = (await manager.listConfigs()) as [Shown];
    const File = (Name: string): object => ({ Name, UID: '0', GID: '0', Mode: 0o444 });
    const data = {
      Secrets: [{ SecretID, SecretName: 'secret-1', File: File('s') }],
      Configs: [{ ConfigID, ConfigName: 'config-1', File: File('/c') }],
    };
    const service = await manager.createService({
      Name: 'web',
      Labels: { of: 'dockerode' },
      TaskTemplate: { ...task(`cat /run/secrets/s /c; ${hello}`, data), Networks: [{ Target: 'front' }] },
      Mode: { Replicated: { Replicas: 1 } },
      EndpointSpec: { Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: 8085 }] },
    });
    const [first] = (await running('web', 1)) as [Shown];
    expect(await manager.getTask(first.ID).inspect()).toMatchObject({ ServiceID: service.id });
    const streams = { stdout: true, stderr: true };
    await logged('what it holds\n', () => service.logs(streams));
    await logged('oops', () => manager.getTask(first.ID).logs({ ...streams, timestamps: true }));
    const followed = (await service.logs({ ...streams, follow: true })) as PassThrough;
    await once(followed, 'data');
    followed.destroy();

    const { Version, Spec } = await service.inspect();
    const change = { version: Version.Index, ...Spec, Mode: { Replicated: { Replicas: 3 } } };
    await service.update(undefined, change);
    await running('web', 3);
    await refused(500, 'update out of sequence', service.update(undefined, change));
    const listed = await manager.listServices({ filters: { label: ['of=dockerode'] }, status: true });
    expect(listed).toMatchObject([{ ID: service.id, ServiceStatus: { RunningTasks: 3, DesiredTasks: 3 } }]);
    await refused(400, 'is in use by service', manager.getNetwork('front').remove());
    await refused(400, "secret 'secret-1' is in use", manager.getSecret(SecretID).remove());
    await refused(404, 'service nope not found', manager.getService('nope').inspect());
    await service.remove();
    await refused(404, `service ${service.id} not found`, service.inspect());
  });

  test('hears of what happens', async () => {
    const events = await manager.getEvents({ filters: { type: ['service'], event: ['create'] } });
    // Waited for together: should no service be made, that is what is told, and not that nothing was heard.
    const over = new AbortController();
    const [[line], service] = (await Promise.all([
      once(events, 'data', { signal: over.signal }),
      manager.createService({ Name: 'seen', TaskTemplate: task(hello) }),
    ]).finally(() => {
      over.abort();
      events.destroy();
    })) as [[Buffer], ServiceHandle];
    expect(JSON.parse(line.toString())).toMatchObject({
      ...{ Type: 'service', Action: 'create', scope: 'swarm' },
      Actor: { ID: service.id, Attributes: { name: 'seen' } },
    });
    await service.remove();
  });

  test('reaches the engine behind', async () => {
    expect(String(await manager.ping())).toBe('OK');
    expect(await manager.version()).toMatchObject({ ApiVersion: expect.stringMatching(/^1\./) as string });
    expect(await manager.df()).toMatchObject({ LayersSize: expect.any(Number) as number });
    expect((await manager.listImages()).flatMap(({ RepoTags }) => RepoTags ?? [])).toContain(image);
    expect((await manager.getImage(image).inspect()).RepoTags).toContain(image);
    await manager.createVolume({ Name: 'mine' });
    expect((await manager.listVolumes()).Volumes.map(({ Name }) => Name)).toContain('mine');
    await manager.getVolume('mine').remove();
    await refused(404, 'no such volume', manager.getVolume('mine').inspect());
    await manager.pruneVolumes();
    await manager.pruneImages();
    const box = await manager.createContainer({ Image: image, Cmd: ['sleep', '1d'] });
    await box.start();
    const exec = await box.exec({ Cmd: ['sh', '-c', 'cat; exit 3'], AttachStdin: true, AttachStdout: true });
    const stream = await exec.start({ hijack: true, stdin: true });
    const [out, err] = [new PassThrough(), new PassThrough()];
    manager.modem.demuxStream(stream, out, err);
    stream.end('through the engine\n');
    await once(stream, 'end');
    expect(String(out.read())).toBe('through the engine\n');
    expect(await manager.getExec(exec.id).inspect()).toMatchObject({ ExitCode: 3, Running: false });
    await box.kill();
    await box.wait();
    expect((await manager.listContainers({ all: true })).map(({ Id }) => Id)).toContain(box.id);
    expect((await manager.pruneContainers()).ContainersDeleted).toContain(box.id);
    await refused(404, 'No such container', manager.getContainer(box.id).inspect());
    const built = new PassThrough();
    const done = new Promise<void>((resolve) => manager.followProgress(built, resolve));
    built.end('{"stream":"built"}\n');
    await done;
  });

  test('takes it all down again', async () => {
    for (const { ID } of await manager.listSecrets()) await manager.getSecret(ID).remove();
    for (const { ID } of await manager.listConfigs()) await manager.getConfig(ID).remove();
    expect([await manager.listSecrets(), await manager.listConfigs()]).toEqual([[], []]);
    await manager.getNetwork('front').remove();
    await worker.swarmLeave({});
    const [{ ID }] = (await manager.listNodes({ filters: { role: ['worker'] } })) as [Shown];
    await manager.getNode(ID).remove({ force: true });
    expect(await manager.listNodes()).toHaveLength(1);
    await refused(503, 'You are attempting to leave the swarm', manager.swarmLeave({}));
    await manager.swarmLeave({ force: true });
    expect((await manager.info()).Swarm.LocalNodeState).toBe('inactive');
  });

  test('has no method that was left out', () => {
    const { every, called } = methods;
    expect(every.length).toBeGreaterThan(50);
    expect(every.filter((method) => !called.has(method))).toEqual([]);
  });
});
