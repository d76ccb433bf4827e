/**
 * Users' own containers on an attachable overlay, with the stock docker CLI on two nodes of which one is a worker: addresses
 * and names all over the cluster, restarts, killed daemons, and nothing left behind. The tests are one user's session, in a
 * swarm whose address pools, data path port and data path addresses are the user's, too.
 */
import { beforeAll, describe, expect, test } from 'vitest';
import { joinCommand } from '../../src/lab/swarm.js';
import { TestLab, eventually } from '../support/lab.js';

const cluster = new TestLab({ name: 'test-attach', nodes: 2 });
const manager = 'node1';
const worker = 'node2';
const soonMs = 20_000;
/** The engine's own door, past ours. */
const engine = 'docker -H unix:///run/docker.sock';

const docker = (node: string, words: string): Promise<string> => cluster.docker(node, words);
const sh = (node: string, script: string): Promise<string> => cluster.run(node, ['sh', '-c', script]);
/** A shell command inside a container, by the engine's own door, which no killed daemon shuts; its output, whatever became of it. */
const inside = async (node: string, container: string, script: string): Promise<string> => {
  const { stdout } = await cluster.lab.exec(
    node,
    ['docker', '-H', 'unix:///run/docker.sock', 'exec', container, 'sh', '-c', script],
    { deadlineMs: 30_000 },
  );
  return stdout.trim();
};
const addressOf = (node: string, container: string, network = 'open'): Promise<string> =>
  docker(node, `inspect -f {{.NetworkSettings.Networks.${network}.IPAddress}} ${container}`);

/** The page that the container gets for a name: `HOSTNAME CLIENT ADDRESS` of who answers. */
const page = (node: string, container: string, name: string): Promise<string> =>
  inside(node, container, `timeout 5 wget -q -O - http://${name}/`);
const expectPage = (node: string, container: string, name: string, address: string): Promise<string> =>
  eventually(
    `${name} from ${container}`,
    soonMs,
    () => page(node, container, name),
    (text) => expect(text.split(' ').at(-1)).toBe(address),
  );

/** Addresses of a name, as the container's resolver tells them. */
async function resolve(node: string, container: string, name: string): Promise<string[]> {
  const output = await inside(node, container, `nslookup -type=a ${name}`);
  const answer = output.includes('Name:') ? output.slice(output.indexOf('Name:')) : '';
  return [...answer.matchAll(/^Address(?: \d+)?: (\d+\.\d+\.\d+\.\d+)/gm)].map(([, at = '']) => at).sort();
}
const expectNames = (
  node: string,
  container: string,
  name: string,
  addresses: readonly string[],
): Promise<unknown> =>
  eventually(
    `${name} as ${container} knows it`,
    soonMs,
    () => resolve(node, container, name),
    (found) => expect(found).toEqual([...addresses].sort()),
  );

/** What the managers hold for users' containers, as Docker lists it. */
async function attachments(): Promise<string[]> {
  const filters = encodeURIComponent(JSON.stringify({ runtime: ['attachment'] }));
  const listed = JSON.parse(
    await sh(manager, `curl -s --unix-socket /run/skep/docker.sock "http://docker/tasks?filters=${filters}"`),
  ) as { NetworksAttachments: { Addresses: string[] }[] }[];
  return listed.map(({ NetworksAttachments: [leg] }) => leg?.Addresses[0]?.split('/')[0] ?? '').sort();
}

async function refusal(node: string, command: string): Promise<string> {
  const { exitCode, stderr } = await cluster.lab.exec(node, command.split(' '), { deadlineMs: 60_000 });
  expect({ command, failed: exitCode !== 0 }).toEqual({ command, failed: true });
  return stderr;
}

const dataPathPort = 5789;
const dataPathAddr = (node: string): string => `10.61.0.${node.slice('node'.length)}`;

/** Not as it comes: two addresses a node, of which the second is for VXLAN. */
async function initSwarm(): Promise<void> {
  for (const node of [manager, worker]) await sh(node, `ip addr add ${dataPathAddr(node)}/24 dev eth0`);
  const pool = '--default-addr-pool 172.30.0.0/16 --default-addr-pool-mask-length 26';
  const dataPath = `--data-path-addr ${dataPathAddr(manager)} --data-path-port ${dataPathPort}`;
  await docker(manager, `swarm init --advertise-addr 192.168.60.1 ${dataPath} ${pool}`);
  const join = (await joinCommand(cluster.lab, manager, 'worker')).join(' ');
  await sh(worker, join.replace('--token', `--data-path-addr ${dataPathAddr(worker)} --token`));
}

describe('containers of docker run and docker network connect', () => {
  let a = '';
  let b = '';

  beforeAll(async () => {
    await initSwarm();
    await docker(manager, 'network create -d overlay --attachable open');
    await docker(manager, 'network create -d overlay --attachable second');
    await docker(manager, 'network create -d overlay closed');
    await docker(
      manager,
      'service create -d --name web --network name=open,alias=www --replicas 2 skep/nginx:lab',
    );
  });

  test('run, on a manager and on a worker that has never heard of the network', async () => {
    expect(await docker(worker, 'network ls -q -f name=open')).toBe('');
    await docker(
      manager,
      'run -d --name alpha --network open --network-alias both --restart always skep/nginx:lab',
    );
    // The older of the stock CLIs.
    await cluster.run(
      worker,
      '/usr/bin/docker run -d --name bravo --network open --network-alias both --ip 172.30.0.77 skep/nginx:lab'.split(
        ' ',
      ),
    );
    [a, b] = [await addressOf(manager, 'alpha'), await addressOf(worker, 'bravo')];
    expect(b).toBe('172.30.0.77');
    expect(await attachments()).toEqual([a, b].sort());
    expect(await docker(manager, 'inspect -f {{.NetworkSettings.Networks.open.Gateway}} alpha')).toBe('');
    expect(await docker(worker, 'network ls -f name=open --format {{.Name}}/{{.Driver}}/{{.Scope}}')).toBe(
      'open/overlay/swarm',
    );
    expect(await docker(worker, 'network inspect -f {{range.Containers}}{{.Name}};{{end}} open')).toContain(
      'bravo;',
    );
    expect(await docker(manager, 'node ps -q node1 node2')).not.toContain('attach');
  });

  test('both ways between them and with the tasks of a service: names, aliases, tasks, the other node', async () => {
    await expectPage(manager, 'alpha', 'bravo', b);
    await expectPage(worker, 'bravo', 'alpha', a);
    for (const [node, container] of [
      [manager, 'alpha'],
      [worker, 'bravo'],
    ] as const) {
      await expectNames(node, container, 'both', [a, b]);
      await eventually(
        `web from ${container}`,
        soonMs,
        () => page(node, container, 'web'),
        (text) => expect(text).toMatch(/^\S+ \S+ \S+$/),
      );
      expect(await resolve(node, container, 'www')).toEqual(await resolve(node, container, 'web'));
      expect(await inside(node, container, 'ping -c 1 -W 2 tasks.web')).toContain('1 packets received');
    }
    const [task = ''] = (await docker(worker, 'ps -q -f label=com.docker.swarm.service.name=web')).split(
      '\n',
    );
    await expectPage(worker, task, 'alpha', a);
    const id = (await docker(manager, 'inspect -f {{.Id}} alpha')).slice(0, 12);
    await expectNames(worker, task, id, [a]);
  });

  test('VXLAN goes by the addresses and the port of the data path, and subnets come of the pool', async () => {
    for (const [node, other] of [
      [manager, worker],
      [worker, manager],
    ] as const) {
      const inEach = 'for net in /run/netns/skep-*; do nsenter --net=$net';
      const links = await sh(node, `${inEach} ip -d link show vxlan0; done`);
      const [ports, locals] = [/dstport (\d+)/g, / local (\S+)/g].map(
        (part) => new Set([...links.matchAll(part)].map(([, found]) => found)),
      );
      expect([ports, locals]).toEqual([new Set([String(dataPathPort)]), new Set([dataPathAddr(node)])]);
      const entries = await sh(node, `${inEach} bridge fdb show dev vxlan0; done`);
      const peers = new Set([...entries.matchAll(/ dst (\S+)/g)].map(([, found]) => found));
      expect(peers).toEqual(new Set([dataPathAddr(other)]));
    }
    const subnets = await docker(manager, 'network inspect -f {{range.IPAM.Config}}{{.Subnet}}{{end}} ingress open second closed'); // prettier-ignore
    expect(subnets.split('\n').sort()).toEqual([0, 64, 128, 192].map((host) => `172.30.0.${host}/26`).sort());
  });

  test('a container that has long been running is connected, resolves, is known, and is disconnected', async () => {
    await docker(worker, 'run -d --name late --dns 192.168.60.1 busybox sleep 10000');
    await docker(worker, 'network connect --alias latest open late');
    const late = await addressOf(worker, 'late');
    await expectPage(worker, 'late', 'alpha', a);
    await expectNames(worker, 'late', 'both', [a, b]);
    await expectNames(manager, 'alpha', 'latest', [late]);
    await expectNames(manager, 'alpha', 'late', [late]);
    // Two networks: the names of both, whichever of them is asked.
    await docker(worker, 'network connect second late');
    await docker(worker, 'run -d --name other --network second skep/nginx:lab');
    await expectPage(worker, 'late', 'other', await addressOf(worker, 'other', 'second'));
    await expectPage(worker, 'late', 'alpha', a);
    // A network of the engine's own has names that only the engine knows.
    await docker(worker, 'network create mine');
    await docker(worker, 'run -d --name neighbour --network mine skep/nginx:lab');
    await docker(worker, 'network connect mine late');
    await eventually(
      'a name of the engine’s',
      soonMs,
      () => page(worker, 'late', 'neighbour'),
      (text) => expect(text).not.toBe(''),
    );
    await expectPage(worker, 'late', 'alpha', a);
    await expectPage(worker, 'late', 'other', await addressOf(worker, 'other', 'second'));
    await docker(worker, 'rm -f neighbour');
    await docker(worker, 'rename late later');
    await expectNames(manager, 'alpha', 'later', [late]);
    await docker(worker, 'network disconnect open later');
    expect(await attachments()).not.toContain(late);
    await expectNames(manager, 'alpha', 'later', []);
    await docker(worker, 'network disconnect second later');
    await eventually(
      'nothing of ours in a container that has left',
      soonMs,
      () => sh(worker, 'nsenter -t $(docker inspect -f {{.State.Pid}} later) -n iptables-save'),
      (rules) => expect(rules).not.toContain('SKEP'),
    );
    await docker(worker, 'network disconnect mine later');
    await docker(worker, 'network rm mine');
    await docker(worker, 'rm -f later other');
    expect(await attachments()).toEqual([a, b].sort());
  });

  test('refusals leave nothing', async () => {
    const denied = (network: string, node: string): Promise<string> =>
      refusal(node, `docker run --rm --network ${network} busybox true`);
    const text =
      'Could not attach to network closed: rpc error: code = PermissionDenied desc = network closed not manually attachable';
    for (const node of [manager, worker]) {
      expect(await denied('closed', node)).toContain(text);
      expect(await denied('nosuch', node)).toContain(
        'Could not attach to network nosuch: rpc error: code = NotFound desc = network nosuch not found',
      );
    }
    expect(await refusal(worker, `docker run --network open --ip ${a} busybox true`)).toContain(
      'Address already in use',
    );
    expect(await refusal(worker, 'docker run --network open --ip 10.99.0.1 busybox true')).toContain(
      "It does not belong to any of this network's subnets",
    );
    expect(await refusal(worker, 'docker network connect closed bravo')).toContain(text);
    expect(await refusal(worker, 'docker network connect open bravo')).toContain(
      'is already attached to network open',
    );
    // Of the same addresses: no place, and the container is none the worse for it.
    await docker(manager, 'network create -d overlay --attachable --subnet 172.30.0.64/26 same');
    expect(await refusal(worker, 'docker network connect same bravo')).toContain('overlap');
    await docker(manager, 'network rm same');
    await docker(manager, 'service rm web');
    expect(await refusal(manager, 'docker network rm open')).toContain('is in use by task');
    expect(await attachments()).toEqual([a, b].sort());
  });

  test('restarts, also by the engine alone, keep the address; killed daemons stop nothing', async () => {
    await docker(worker, 'restart -t 0 bravo');
    await expectPage(manager, 'alpha', 'bravo', b);
    const before = await docker(manager, 'inspect -f {{.RestartCount}} alpha');
    await sh(manager, 'kill -9 $(docker inspect -f {{.State.Pid}} alpha)');
    await eventually(
      'the engine starts it again',
      soonMs,
      () => docker(manager, 'inspect -f {{.RestartCount}}/{{.State.Running}} alpha'),
      (text) => expect(text).toBe(`${Number(before) + 1}/true`),
    );
    await expectPage(worker, 'bravo', 'alpha', a);
    for (const node of [manager, worker])
      await sh(node, 'kill -9 $(cat /run/lab/pid/skepd) $(cat /run/lab/pid/skep-dataplane)');
    expect((await page(worker, 'bravo', a)).split(' ').at(-1)).toBe(a);
    await eventually(
      'the API is back',
      60_000,
      () => attachments(),
      (held) => expect(held).toEqual([a, b].sort()),
    );
    await expectPage(worker, 'bravo', 'alpha', a);
    await expectPage(manager, 'alpha', 'bravo', b);
    for (const node of [manager, worker]) await cluster.expectVerified(node);
  });

  test('removal frees the addresses, the networks and the kernel', async () => {
    // The engine is told, and we hear of it: not only when we look.
    await cluster.run(manager, `${engine} network disconnect open alpha`.split(' '));
    await eventually(
      'the address is free',
      5_000,
      () => attachments(),
      (held) => expect(held).toEqual([b]),
    );
    await docker(manager, 'rm -f alpha');
    await cluster.run(worker, `${engine} rm -f bravo`.split(' '));
    await eventually(
      'all addresses are free',
      soonMs,
      () => attachments(),
      (held) => expect(held).toEqual([]),
    );
    await docker(manager, 'network rm open second');
    for (const node of [manager, worker]) {
      await eventually(
        `nothing of the networks on ${node}`,
        soonMs,
        async () =>
          `${await docker(node, 'network ls -q -f name=open -f name=second')}${await sh(node, 'ls /run/netns')}`,
        (text) => expect(text.split('\n').filter((each) => each !== '')).toHaveLength(1),
      );
      await cluster.expectVerified(node);
    }
  });
});
