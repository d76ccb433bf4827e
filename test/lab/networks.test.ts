/**
 * Networks beyond the plain overlay, with the stock docker CLI on a manager and a worker: an overlay of several subnets, and a
 * network that is each node's own by a driver and a configuration of its own.
 */
import { beforeAll, expect, test } from 'vitest';
import { initSwarm } from '../../src/lab/swarm.js';
import { TestLab, eventually } from '../support/lab.js';

const cluster = new TestLab({ name: 'test-networks', nodes: 2 });
const [manager, worker] = ['node1', 'node2'] as const;
const nodes = [manager, worker];
const soonMs = 30_000;

const docker = (node: string, words: string): Promise<string> => cluster.docker(node, words);
const create = (words: string): Promise<string> =>
  docker(manager, `service create -d --no-resolve-image ${words} skep/whoami:lab`);
const running = (service: string, count: number): Promise<unknown> =>
  eventually(
    `${count} tasks of ${service} run`,
    soonMs,
    () => docker(manager, `service ls --filter name=${service} --format {{.Replicas}}`),
    (replicas) => expect(replicas.split(' ')[0]).toBe(`${count}/${count}`),
  );
/** Ids of the node's containers of the service. */
const containersOf = async (node: string, service: string): Promise<string[]> =>
  (await docker(node, `ps -q --filter label=com.docker.swarm.service.name=${service}`))
    .split('\n')
    .filter(Boolean);
const addressOf = (node: string, container: string, network: string): Promise<string> =>
  docker(node, `inspect -f {{.NetworkSettings.Networks.${network}.IPAddress}} ${container}`);
/** What the container gets for so many calls: who answers, whom that one sees, and by which address it was called. */
const pages = async (node: string, container: string, host: string, times: number): Promise<string[][]> => {
  const script = `for i in $(seq ${times}); do timeout 5 wget -q -O - http://${host}/; done`;
  const text = await cluster.run(node, ['docker', 'exec', container, 'sh', '-c', script]);
  return text.split('\n').map((line) => line.split(' '));
};

/** What the CLI says to a command that fails. */
const refused = async (words: string): Promise<string> => {
  const { exitCode, stderr } = await cluster.lab.exec(manager, ['docker', ...words.split(' ')], {
    deadlineMs: 60_000,
  });
  expect(exitCode).not.toBe(0);
  return stderr;
};

beforeAll(() => initSwarm(cluster.lab, 1, () => undefined), 60_000);

test('tasks and VIPs of every subnet of an overlay are reached from every other', async () => {
  // By the API: the CLI sends subnets in an order of chance, and which one is filled first decides what is seen below.
  const configs = [
    { Subnet: '10.50.0.0/29', Gateway: '10.50.0.6' },
    { Subnet: '10.60.0.0/24', IPRange: '10.60.0.128/25', Gateway: '10.60.0.128' },
  ];
  const body = JSON.stringify({ Name: 'two', Driver: 'overlay', IPAM: { Config: configs } });
  const post = [
    'curl',
    '-sf',
    '--unix-socket',
    '/run/skep/docker.sock',
    '-H',
    'Content-Type: application/json',
  ];
  await cluster.run(manager, [...post, '-d', body, 'http://docker/networks/create']);
  await create('--name web --replicas 4 --network two');
  await running('web', 4);
  await create('--name late --replicas 2 --network two');
  await running('late', 2);
  expect(JSON.parse(await docker(manager, 'network inspect two'))).toMatchObject([
    { IPAM: { Config: configs } },
  ]);
  const vips = await Promise.all(
    ['web', 'late'].map((name) =>
      cluster.run(manager, [
        ...['docker', 'service', 'inspect', '-f', '{{(index .Endpoint.VirtualIPs 0).Addr}}', name],
      ]),
    ),
  );
  expect(vips).toEqual(['10.50.0.1/29', expect.stringMatching(/^10\.60\.0\.1\d\d\/24$/)]);
  const callers = new Set<string>();
  for (const node of nodes)
    for (const service of ['web', 'late'])
      for (const container of await containersOf(node, service)) {
        const own = await addressOf(node, container, 'two');
        callers.add(own.split('.').slice(0, 2).join('.'));
        for (const [host, tasks, vip] of [
          ['web', 4, vips[0]],
          ['late', 2, vips[1]],
        ] as const) {
          const answers = await pages(node, container, host, tasks);
          expect(new Set(answers.map(([who]) => who)).size).toBe(tasks);
          expect(new Set(answers.map(([, client, called]) => `${client} ${called}/`))).toEqual(
            new Set([`${own} ${vip?.replace(/\d+$/, '')}`]),
          );
        }
      }
  expect([...callers].sort()).toEqual(['10.50', '10.60']);
  for (const node of nodes) await cluster.expectVerified(node);
}, 120_000);

test('a network of the nodes’ own driver is made on each node with that node’s configuration, while a task is on it', async () => {
  const config = (node: string, range: string): Promise<string> =>
    docker(
      node,
      `network create --config-only --subnet 192.168.78.0/24 --ip-range ${range} -o parent=eth0 cfg`,
    );
  await config(manager, '192.168.78.0/25');
  await config(worker, '192.168.78.128/25');
  expect(await refused('network create -d macvlan --scope swarm --config-from cfg --label a=b mv')).toContain(
    'user specified configurations are not supported',
  );
  const id = await docker(manager, 'network create -d macvlan --scope swarm --config-from cfg mv');
  await create('--name far --mode global --network mv');
  await create('--name both --replicas 1 --network mv -p 8099:80');
  await running('far', 2);
  await running('both', 1);

  const [[first], [second]] = [await containersOf(manager, 'far'), await containersOf(worker, 'far')];
  const addresses = [await addressOf(manager, first!, 'mv'), await addressOf(worker, second!, 'mv')];
  expect(addresses[0]).toMatch(/^192\.168\.78\.\d{1,2}$/);
  expect(addresses[1]).toMatch(/^192\.168\.78\.1[23]\d$/);
  expect((await pages(manager, first!, addresses[1]!, 1))[0]?.[1]).toBe(addresses[0]);
  // Names are known to the containers of the same node.
  expect((await pages(worker, second!, 'far', 1))[0]?.[2]).toBe(addresses[1]);
  const [, client] = (await cluster.run(worker, ['curl', '-s', '-m', '5', 'http://127.0.0.1:8099/'])).split(
    ' ',
  );
  expect(client).toMatch(/^\d+\.\d+\.\d+\.\d+$/);

  expect(await docker(worker, 'network ls --filter name=mv --format {{.ID}}/{{.Driver}}/{{.Scope}}')).toBe(
    `${id.slice(0, 12)}/macvlan/swarm`,
  );
  expect(JSON.parse(await docker(manager, 'network inspect mv'))).toMatchObject([
    {
      Id: id,
      Driver: 'macvlan',
      Scope: 'swarm',
      ConfigFrom: { Network: 'cfg' },
      IPAM: { Config: [{ Subnet: '192.168.78.0/24', IPRange: '192.168.78.0/25' }] },
      Options: { parent: 'eth0' },
      Labels: {},
    },
  ]);
  expect(await refused('network rm mv')).toContain(`network ${id} is in use by service`);
  expect(await refused('network rm cfg')).toContain('configuration network "cfg" is in use');

  await docker(manager, 'network create -d macvlan --scope swarm --config-from none unconfigured');
  await create('--name nowhere --restart-condition none --network unconfigured');
  await eventually(
    'a task without its configuration is rejected',
    soonMs,
    () => docker(manager, 'service ps --no-trunc --format {{.CurrentState}}{{.Error}} nowhere'),
    (text) => expect(text).toMatch(/^Rejected.*configuration network "none" does not exist/),
  );

  await docker(manager, 'service rm far both nowhere');
  await docker(manager, 'network rm mv unconfigured');
  for (const node of nodes) {
    await eventually(
      `no macvlan is left on ${node}`,
      soonMs,
      () => docker(node, '-H unix:///run/docker.sock network ls -q --filter driver=macvlan'),
      (left) => expect(left).toBe(''),
    );
    await docker(node, 'network rm cfg');
  }
}, 120_000);
