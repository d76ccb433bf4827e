/**
 * Publishing as its users ask for it, with the stock docker CLI in a two-node lab: ports chosen for them, ranges, a target
 * published twice, ports of the node itself (`mode=host`), and labels that limit where ports listen. What packets make of
 * it is the conformance list's.
 */
import { beforeAll, expect, test } from 'vitest';
import type { TraceReply } from '../../src/dataplane/rpc/client.js';
import { clientAddress } from '../../src/lab/layout.js';
import { initSwarm } from '../../src/lab/swarm.js';
import { observeTasks } from '../../src/lab/tasks.js';
import { eventually, TestLab } from '../support/lab.js';

const cluster = new TestLab({ name: 'published', nodes: 2 });
const nodes = ['node1', 'node2'] as const;
const manager = 'node1';
/** What differs is repaired within. */
const repairedMs = 5_000;
const deadlineMs = 60_000;
/** A container that was taken off its network is taken off again no sooner: it has been put back by then. */
const againMs = 2_000;
const addressOf = (node: string): string => `192.168.60.${node.slice('node'.length)}`;

beforeAll(() => initSwarm(cluster.lab, 1, () => undefined), 60_000);

const docker = (words: string): Promise<string> => cluster.docker(manager, words, deadlineMs);
const create = (words: string): Promise<string> =>
  docker(`service create --no-resolve-image ${words} skep/whoami:lab`);
const image = (words: string): string[] =>
  `docker service create --detach --no-resolve-image ${words} skep/whoami:lab`.split(' ');

/** What a call of a port gives: `HOSTNAME CLIENT ADDRESS`, or curl's exit code (7: refused). */
async function call(host: string, port: number, from = 'client'): Promise<string> {
  const argv = ['curl', '-sS', '-m', '3', `http://${host}:${port}/`];
  const { exitCode, stdout } =
    from === 'client' ? await cluster.lab.client(argv) : await cluster.lab.exec(from, argv);
  return exitCode === 0 ? stdout.trim() : `exit ${exitCode}`;
}
const refused = 'exit 7';
const answersTo = (client: string): RegExp => new RegExp(`^[0-9a-f]{12} ${client.replaceAll('.', '\\.')} `);

const trace = async (node: string, ...words: string[]): Promise<TraceReply> =>
  JSON.parse(await cluster.run(node, ['skep', 'trace', '--json', ...words])) as TraceReply;

const portsOf = async (service: string): Promise<string> =>
  docker(`service ls --filter name=${service} --format {{.Ports}}`);

async function expectRefused(argv: readonly string[], words: string | RegExp): Promise<void> {
  const { exitCode, stderr } = await cluster.lab.exec(manager, argv, { deadlineMs });
  expect({ argv, failed: exitCode !== 0 }).toEqual({ argv, failed: true });
  expect(stderr).toMatch(words);
}

test('ports chosen by the swarm, a range, one target twice, UDP and SCTP', async () => {
  await create(
    '--name web --replicas 2 -p 80 -p 8010-8012:80-82 -p 8020:80 -p 8021:80 -p 5300:53/udp -p 9000:90/sctp',
  );
  const listed = new Set((await portsOf('web')).split(', '));
  expect(listed).toEqual(
    new Set([
      '*:8010-8012->80-82/tcp',
      '*:8020-8021->80/tcp',
      '*:30000->80/tcp',
      '*:5300->53/udp',
      '*:9000->90/sctp',
    ]),
  );
  for (const node of nodes)
    for (const port of [30_000, 8010, 8020, 8021])
      expect(await call(addressOf(node), port), `${node}:${port}`).toMatch(answersTo(clientAddress));
  // Chosen once the request is taken. Another service gets the next one; an update keeps what a service has.
  const soon = { timeout: deadlineMs };
  await create('--name next --detach -p 80');
  await expect.poll(() => portsOf('next'), soon).toBe('*:30001->80/tcp');
  await docker('service rm next');
  await docker('service update --detach --publish-add 81 web');
  await expect.poll(() => portsOf('web'), soon).toContain('*:30000-30001->80-81/tcp');
  await expectRefused(
    image('--name other -p 8011:80'),
    /port '8011' is already in use by service 'web' \(\w{25}\) as an ingress port/,
  );
});

/** While SKEP-USER is empty packets skip the host's chains, so that a running daemon must see that it no longer is. */
test('a first rule in SKEP-USER is honoured while the daemon runs, and its removal, too', async () => {
  const rule = `SKEP-USER -s ${clientAddress} -p tcp -j DROP`.split(' ');
  const node = 'node2';
  const called = (): Promise<string> => call(addressOf(node), 8020);
  const soon = { timeout: deadlineMs, interval: 50 };
  expect(await called()).toMatch(answersTo(clientAddress));
  await cluster.run(node, ['iptables', '-A', ...rule]);
  try {
    await expect.poll(called, soon).toBe('exit 28');
    expect(await call(addressOf(manager), 8020), 'the other node').toMatch(answersTo(clientAddress));
  } finally {
    await cluster.run(node, ['iptables', '-D', ...rule]);
  }
  await expect.poll(called, soon).toMatch(answersTo(clientAddress));
});

test('mode=host: each node answers for its own task, the engine chooses what is left open, a number once a node', async () => {
  const host = (published: string): string => `--publish mode=host,target=80${published}`;
  // 5300 is in the mesh, too: another service's, of UDP.
  const published = [8090, 8091, 5300].map((port) => host(`,published=${port}`)).join(' ');
  await create(`--name agent --mode global ${published} ${host('')}`);
  const tasks = await observeTasks(cluster.lab, manager, 'agent');
  expect(tasks.map(({ nodeName }) => nodeName).sort()).toEqual([...nodes]);
  const rows = await docker('service ps --format {{.Node}}={{.Ports}} agent');
  for (const { nodeName, containerId } of tasks) {
    const row = rows.split('\n').find((text) => text.startsWith(`${nodeName}=`)) ?? '';
    for (const port of [8090, 8091, 5300]) expect(row).toContain(`*:${port}->80/tcp`);
    const chosen = [...row.matchAll(/\*:(\d+)->80\/tcp/g)].map(([, port]) => Number(port));
    const other = chosen.find((port) => ![8090, 8091, 5300].includes(port)) ?? 0;
    expect(other).toBeGreaterThan(1024);
    for (const port of [8090, 8091, 5300, other])
      expect(await call(addressOf(nodeName), port)).toMatch(new RegExp(`^${containerId.slice(0, 12)} `));
  }
  // Not the mesh's: no port of the service is listed.
  expect(await portsOf('agent')).toBe('');

  await expectRefused(
    image('--name other -p 8090:80'),
    /port '8090' is already in use by service 'agent' \(\w{25}\) as a host-published port/,
  );
  await expectRefused(
    image(`--name other ${host(',published=8020')}`),
    /port '8020' is already in use by service 'web' \(\w{25}\) as an ingress port/,
  );
  await create(`--detach --name second ${host(',published=8090')}`);
  await eventually(
    'the second one finds no node',
    deadlineMs,
    () => docker('service ps --no-trunc --format {{.CurrentState}}:{{.Error}} second'),
    (text) =>
      expect(text).toMatch(/^Pending .*"no suitable node \(host-mode port already in use on 2 nodes\)"/),
  );
  await docker('service rm agent');
  await eventually(
    'the second one runs when the number is free',
    deadlineMs,
    () => observeTasks(cluster.lab, manager, 'second'),
    (found) => expect(found).toHaveLength(1),
  );
  await docker('service rm second');
});

test('labels limit where ports listen, without a task being replaced', async () => {
  const before = (await observeTasks(cluster.lab, manager, 'web')).map(({ id }) => id).sort();
  const becomes = (label: string, check: () => Promise<void>): Promise<unknown> =>
    docker(`service update --detach ${label} web`).then(() =>
      eventually(
        label,
        deadlineMs,
        () => check(),
        () => undefined,
      ),
    );
  const outside = (): Promise<string> => call(addressOf('node2'), 8020);
  const inside = (): Promise<string> => call('127.0.0.1', 8020, 'node2');
  await becomes('--label-add skep.publish.cidrs=127.0.0.0/8', async () => {
    expect(await outside()).toBe(refused);
    expect(await inside()).toMatch(/^[0-9a-f]{12} /);
  });
  await becomes('--label-rm skep.publish.cidrs --label-add skep.publish.interfaces=eth0', async () => {
    expect(await outside()).toMatch(answersTo(clientAddress));
    expect(await inside()).toBe(refused);
  });
  const stops = async (from: string): Promise<readonly string[]> =>
    (await trace('node2', '8020', '--from', from)).paths.flatMap((path) => path.stops);
  expect(await stops(clientAddress)).toEqual([]);
  expect(await stops('127.0.0.1')).toEqual([
    'the client’s calls come in by lo, and the port listens on eth0 only',
  ]);
  for (const node of nodes) await cluster.expectVerified(node, repairedMs);
  await becomes('--label-rm skep.publish.interfaces', async () => {
    expect(await outside()).toMatch(answersTo(clientAddress));
    expect(await inside()).toMatch(/^[0-9a-f]{12} /);
  });
  expect((await observeTasks(cluster.lab, manager, 'web')).map(({ id }) => id).sort()).toEqual(before);
  await expectRefused(
    'docker service update --detach --label-add skep.publish.cidrs=everywhere web'.split(' '),
    'invalid label skep.publish.cidrs="everywhere": must be 1 to 64 networks or addresses with commas between',
  );
});

/** Past skep, on the engine's own socket. */
const disconnect = (node: string, container: string): Promise<unknown> =>
  cluster.lab.exec(
    node,
    `docker -H unix:///run/docker.sock network disconnect ingress ${container}`.split(' '),
  );

/** Both tasks answer, through both nodes. */
const expectBoth = async (port: number, containers: readonly string[]): Promise<void> => {
  for (const node of nodes) {
    const pages = [];
    for (let turn = 0; turn < 4; turn++) pages.push(await call(addressOf(node), port));
    const names = [...new Set(pages.map((page) => page.split(' ')[0] ?? ''))].sort();
    expect(names).toEqual(containers.map((id) => id.slice(0, 12)).sort());
  }
};

test('containers that are disconnected on the engine’s own socket answer again within five seconds, in an update, too', async () => {
  const before = await observeTasks(cluster.lab, manager, 'web');
  const containers = before.map(({ containerId }) => containerId);
  await expectBoth(8020, containers);
  await Promise.all(before.map(({ nodeName, containerId }) => disconnect(nodeName, containerId)));
  await eventually(
    'both answer again',
    5_000,
    () => expectBoth(8020, containers),
    () => undefined,
  );
  for (const node of nodes) await cluster.expectVerified(node, repairedMs);

  await docker('service update --detach --force --update-delay 1s web');
  const isOver = async (): Promise<boolean> =>
    (await docker('service inspect --format {{.UpdateStatus.State}} web')) === 'completed';
  const updatedMs = Date.now();
  const disconnectedMs = new Map<string, number>();
  // Whatever runs, and at whichever step. A task that is never left alone for five seconds ends, and is to.
  while (!(await isOver()) && Date.now() < updatedMs + deadlineMs)
    for (const node of nodes)
      for (const id of (await cluster.run(node, 'docker -H unix:///run/docker.sock ps -q'.split(' '))).split(
        '\n',
      )) {
        if (id === '' || Date.now() < (disconnectedMs.get(id) ?? 0) + againMs) continue;
        await disconnect(node, id);
        disconnectedMs.set(id, Date.now());
      }
  const after = await observeTasks(cluster.lab, manager, 'web');
  await eventually(
    'the new ones answer',
    5_000,
    () =>
      expectBoth(
        8020,
        after.map(({ containerId }) => containerId),
      ),
    () => undefined,
  );
  expect(await docker('service ps --no-trunc --format {{.CurrentState}}_{{.Error}} web')).not.toMatch(
    /Failed|Rejected/,
  );
  for (const node of nodes) await cluster.expectVerified(node, repairedMs);
});

/** Listens on port 80 and on the one of its environment, and says on which it was called. */
const ofPort = `sed -e "s/listen 80 .*/listen 80; listen $PORT;/" -e 's/$server_addr/& $server_port/' /etc/nginx/nginx.conf >/tmp/n.conf
exec nginx -c /tmp/n.conf`;
const loaded = [8050, 8051].flatMap((port) => nodes.map((node) => `http://${addressOf(node)}:${port}/`));

test('ports are added and removed under load: none that stays misses a request, and a target may change with its server', async () => {
  const targetOf = async (node: string, port: number): Promise<string> =>
    (await call(addressOf(node), port)).replace(/^[0-9a-f]{12} \S+ \S+ /, '');
  const publish = '-p 8050:80 -p 8051:81 -p 8052:81';
  await cluster.run(
    manager,
    [
      ...`docker service create --no-resolve-image --name moving --replicas 2 --update-monitor 1s --stop-signal SIGQUIT ${publish} -e PORT=81`.split(' '), // prettier-ignore
      // A process that has started does not listen yet, and is called as soon as it is said to be well.
      ...['--health-cmd', 'wget -q -O /dev/null http://127.0.0.1:$PORT/', '--health-interval', '300ms'],
      ...['skep/whoami:lab', 'sh', '-c', ofPort],
    ],
    deadlineMs,
  );
  for (const node of nodes)
    for (const [port, target] of [
      [8050, '80'],
      [8051, '81'],
      [8052, '81'],
    ] as const)
      // prettier-ignore
      expect(await targetOf(node, port), `${node}:${port}`).toBe(target);
  const load = cluster.load(1_500, 150, loaded);
  await docker(
    'service update --publish-rm 81 --publish-add 8051:82 --publish-add 8053:82 --env-add PORT=82 moving',
  );
  const { answers, failures } = await load;
  expect(failures).toEqual([]);
  // Old ones and new ones were called, each on the port that it has.
  const ports = new Set(Object.keys(answers).map((answer) => answer.split(' ')[3]));
  expect(ports).toEqual(new Set(['80', '81', '82']));
  for (const node of nodes) {
    for (const [port, target] of [
      [8050, '80'],
      [8051, '82'],
      [8053, '82'],
    ] as const)
      // prettier-ignore
      for (let turn = 0; turn < 4; turn++)
        expect(await targetOf(node, port), `${node}:${port}`).toBe(target);
    expect(await call(addressOf(node), 8052)).toBe(refused);
    await cluster.expectVerified(node, repairedMs);
  }
  await docker('service rm moving');
});

/** Takes no signal, and says five lines in five seconds to one caller after the other. */
const stubborn = `trap "" TERM
while :; do
  nc -l -p 80 -e sh -c 'printf "HTTP/1.0 200 OK\\r\\n\\r\\n"; for i in 1 2 3 4 5; do echo $i; sleep 1; done'
done`;
/** What there is of ours in a host that takes part in no network: nothing. */
const ours = `ip netns | grep skep; ip -o link | grep sk-; ip route show table all proto 94; ip rule | grep -w 'proto 94'
iptables-save | grep SKEP; tc filter show dev eth0 ingress; tc filter show dev lo egress; true`;

/** The CLI asks back. */
const removeIngress = (name: string): Promise<string> =>
  cluster.run(manager, ['sh', '-c', `echo y | docker network rm ${name}`], deadlineMs);

async function expectMesh(): Promise<void> {
  await create('--detach --name web --replicas 2 -p 8080:80');
  const wanted = [...nodes.map((node) => ['client', addressOf(node)]), ['node2', '127.0.0.1']] as const;
  for (const [from = '', host = ''] of wanted)
    await eventually(
      `${host}:8080 from ${from}`,
      deadlineMs,
      () => call(host, 8080, from),
      (page) => expect(page).toMatch(/^[0-9a-f]{12} /),
    );
  for (const node of nodes) await cluster.expectVerified(node, repairedMs);
}

test('the mesh’s network is replaced and put back: the last call is served, and nothing of the old one stays', async () => {
  await docker('service rm web');
  await cluster.run(manager, [
    ...'docker service create --detach --no-resolve-image --name last --stop-grace-period 8s -p 8070:80'.split(
      ' ',
    ),
    ...['busybox', 'sh', '-c', stubborn],
  ]);
  await eventually(
    'the last task runs',
    deadlineMs,
    () => observeTasks(cluster.lab, manager, 'last'),
    (tasks) => expect(tasks).toHaveLength(1),
  );
  // The task runs before its server listens.
  const patience = ['--retry', '10', '--retry-connrefused', '--retry-delay', '1'];
  const lastCall = cluster.lab.client([
    ...['curl', '-sS', '-m', '20', ...patience],
    `http://${addressOf('node2')}:8070/`,
  ]);
  await eventually(
    'the last call is under way',
    deadlineMs,
    () => trace('node2', '8070'),
    ({ paths }) => expect(paths[0]?.counters.activeFlows).toBe(1),
  );
  await expectRefused(['sh', '-c', 'echo y | docker network rm ingress'], 'depends on it');
  await docker('service rm last');
  await removeIngress('ingress');
  expect((await lastCall).stdout).toBe('1\n2\n3\n4\n5\n');

  for (const node of nodes)
    await eventually(
      `nothing of ours on ${node}`,
      5_000,
      () => cluster.run(node, ['sh', '-c', ours]),
      (found) => expect(found).toBe(''),
    );
  await expectRefused(
    image('--name web -p 8080:80'),
    'service needs ingress network, but no ingress network is present',
  );
  const espOf = ['node', 'inspect', '--format', '{{index .Description.Engine.Labels "skep.esp"}}', ...nodes];
  const esp = (await cluster.run(manager, ['docker', ...espOf])).split('\n');
  const sealed = 'docker network create --driver overlay --ingress --opt encrypted sealed'.split(' ');
  if (esp.includes('false')) {
    await expectRefused(sealed, /encrypted ingress network sealed: the kernel of nodes? .* has no ESP/);
    expect(await docker('network ls --format {{.Name}}')).not.toMatch(/sealed/);
  } else {
    await cluster.run(manager, sealed);
    await expectMesh();
    await docker('service rm web');
    await removeIngress('sealed');
  }
  await docker(
    'network create --driver overlay --ingress --subnet 10.77.0.0/20 --gateway 10.77.0.9 my-ingress',
  );
  await expectMesh();
  for (const node of nodes)
    expect(await cluster.run(node, 'ip -o -4 addr show sk-ingress'.split(' '))).toContain(' 10.77.');
  await docker('service rm web');
  await removeIngress('my-ingress');
  await docker('network create --driver overlay --ingress ingress');
  await expectMesh();
});

test('Prometheus is told what each node has balanced, and by its leader how the cluster is', async () => {
  const port = 8095;
  const scrape = async (node: string, metricsPort: number): Promise<string[]> =>
    (await cluster.run(node, ['curl', '-sS', '-m', '10', `http://127.0.0.1:${metricsPort}/metrics`])).split(
      '\n',
    );
  const connections = async (node: string): Promise<number> => {
    const ofPort = new RegExp(
      `^skep_balancer_connections_total{service="scraped",network="[^"]+",frontend="tcp/${port}"} (\\d+)$`,
    );
    const found = (await scrape(node, 9471)).flatMap((line) => ofPort.exec(line)?.[1] ?? []);
    return Number(found[0] ?? NaN);
  };
  await create(`--name scraped -p ${port}:80`);
  for (const node of nodes)
    await expect
      .poll(() => call(addressOf(node), port), { timeout: deadlineMs })
      .toMatch(answersTo(clientAddress));
  // With `ipvs` what was called a moment ago is counted two seconds later.
  await eventually('the calls are counted', deadlineMs, () => Promise.all(nodes.map(connections)), (found) =>
    expect(found.every((count) => count > 0)).toBe(true),
  ); // prettier-ignore
  const before = await Promise.all(nodes.map(connections));
  for (let count = 0; count < 3; count += 1)
    expect(await call(addressOf('node2'), port)).toMatch(answersTo(clientAddress));
  await eventually('three more at one node', deadlineMs, () => Promise.all(nodes.map(connections)), (found) =>
    expect(found.map((count, at) => count - (before[at] ?? NaN))).toEqual([0, 3]),
  ); // prettier-ignore

  const leader = await scrape(manager, 9472);
  expect(leader).toEqual(
    expect.arrayContaining([
      'skep_leader 1',
      'skep_tasks{service="scraped",state="running"} 1',
      'skep_service_desired_tasks{service="scraped"} 1',
      'skep_nodes{role="manager",state="ready",availability="active"} 1',
      'skep_nodes{role="worker",state="ready",availability="active"} 1',
      'skep_dispatcher_sessions 2',
    ]),
  );
  // A worker may be promoted, and begins to count at nothing.
  expect((await scrape('node2', 9472)).filter((line) => /^skep_(leader|tasks|etcd)/.test(line))).toEqual([
    'skep_leader_terms_total 0',
  ]);
  for (const node of nodes)
    for (const metricsPort of [9471, 9472])
      expect(
        (await scrape(node, metricsPort)).filter((line) =>
          /^skep_(metrics_collection_failures_total\{.*\}|metrics_left_out_series) [1-9]/.test(line),
        ),
        `${node}:${metricsPort}`,
      ).toEqual([]);

  await docker('service rm scraped');
  await eventually(
    'no series of what is gone',
    deadlineMs,
    async () => [...(await scrape('node2', 9471)), ...(await scrape(manager, 9472))],
    (lines) => expect(lines.filter((line) => line.includes('service="scraped"'))).toEqual([]),
  );
});
