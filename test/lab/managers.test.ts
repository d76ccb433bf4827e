/**
 * Three managers, with the stock docker CLI: any of them answers, one leads, its power is cut, it comes back, is demoted,
 * promoted and demoted again. The tests are one administrator's session.
 */
import { beforeAll, describe, expect, test } from 'vitest';
import { initSwarm } from '../../src/lab/swarm.js';
import { TestLab, eventually } from '../support/lab.js';

const cluster = new TestLab({ name: 'test-managers', nodes: 3 });
const nodes = ['node1', 'node2', 'node3'] as const;
const soonMs = 20_000;
const address = (node: string): string => `192.168.60.${node.slice(-1)}`;
const url = (node: string): string => `http://${address(node)}:8080/`;

const docker = (node: string, words: string): Promise<string> => cluster.docker(node, words);
const sh = (node: string, script: string): Promise<string> => cluster.run(node, ['sh', '-c', script]);

/** `docker node ls`: what each node is among the managers. */
async function roles(asked: string): Promise<Record<string, string>> {
  const rows = await docker(asked, 'node ls --format {{.Hostname}}={{.ManagerStatus}}');
  return Object.fromEntries(rows.split('\n').map((row) => row.split('=') as [string, string]));
}
const expectRoles = (asked: string, expected: Record<string, unknown>): Promise<unknown> =>
  eventually(
    `managers as ${asked} sees them`,
    soonMs,
    () => roles(asked),
    (found) => expect(found).toEqual(expected),
  );
const leaderOf = async (asked: string): Promise<string> => {
  const [leader] = Object.entries(await roles(asked)).find(([, role]) => role === 'Leader') ?? [];
  return leader ?? expect.fail('nobody leads');
};
const containers = (node: string): Promise<string> =>
  sh(node, 'docker -H unix:///run/docker.sock ps -q --no-trunc | sort');

async function expectRefused(node: string, command: string, text: string): Promise<void> {
  const { exitCode, stderr } = await cluster.lab.exec(node, command.split(' '), { deadlineMs: 60_000 });
  expect({ command, failed: exitCode !== 0, stderr }).toEqual({
    command,
    failed: true,
    stderr: expect.stringContaining(text) as string,
  });
}

describe('three managers', () => {
  let leader: string;
  let others: string[];

  beforeAll(async () => {
    await initSwarm(cluster.lab, 3, () => undefined);
    await expectRoles('node1', {
      node1: expect.stringMatching(/Leader|Reachable/) as string,
      node2: expect.stringMatching(/Leader|Reachable/) as string,
      node3: expect.stringMatching(/Leader|Reachable/) as string,
    });
  }, 120_000);

  test('agree on who leads, and each answers for the cluster', async () => {
    for (const node of nodes) expect(await docker(node, 'info -f {{.Swarm.Managers}}')).toBe('3');
    leader = await leaderOf('node1');
    others = nodes.filter((node) => node !== leader);
    for (const node of nodes) expect(await leaderOf(node)).toBe(leader);
    await docker(
      others[0]!,
      'service create --name web --replicas 3 -p 8080:80 --no-resolve-image skep/whoami:lab',
    );
    for (const node of nodes) expect(await docker(node, 'service ls --format {{.Replicas}}')).toBe('3/3');
  });

  test('read the logs of tasks wherever they are asked', async () => {
    await cluster.load(30, 30, nodes.map(url));
    const lines = await Promise.all(nodes.map((node) => docker(node, 'service logs --raw web')));
    expect(new Set(lines.map((text) => text.split('\n').length)).size).toBe(1);
  });

  test('refuse what would lose the quorum, or the cluster', async () => {
    await expectRefused(
      'node2',
      'docker swarm leave',
      'The only way to restore a swarm that has lost consensus is to reinitialize it with `--force-new-cluster`.',
    );
    await expectRefused(
      'node1',
      `docker node rm --force ${others[0]}`,
      'must be demoted to worker before removal',
    );
  });

  test('send nothing to a node that is gone, long before a manager calls it down', async () => {
    const [gone, asked] = others as [string, string];
    const rest = [leader, asked];
    const loading = cluster.load(600, 100, [url(asked)]);
    await cluster.lab.kill(gone);
    const cutMs = Date.now();
    // A daemon that hangs takes its node out of nothing: the peer sends its tasks what it sent before.
    await sh(leader, 'pkill -STOP -f [d]ataplane/main.js');
    const { startedAtMs, failures, answers } = await loading;
    const states = await docker(asked, 'node ls --format {{.Hostname}}={{.Status}}');
    await sh(leader, 'pkill -CONT -f [d]ataplane/main.js');
    expect(failures.filter(({ atMs }) => startedAtMs + atMs > cutMs + 1_500)).toEqual([]);
    expect(states).toContain(`${gone}=Ready`);
    expect(
      Math.min(
        ...Object.values(answers)
          .sort((a, b) => b - a)
          .slice(0, 2),
      ),
    ).toBeGreaterThan(200);
    const silent = async (node: string): Promise<string[]> =>
      (JSON.parse(await sh(node, 'skep status --json')) as { silentNodes: string[] }).silentNodes;
    expect(await silent(asked)).toHaveLength(1);
    await cluster.lab.start(gone);
    for (const node of rest)
      await eventually(
        `${gone} is heard by ${node}`,
        soonMs,
        () => silent(node),
        (found) => expect(found).toEqual([]),
      );
    await eventually(
      'three of three run',
      soonMs,
      () => docker(asked, 'service ls --format {{.Replicas}}'),
      (replicas) => expect(replicas).toBe('3/3'),
    );
  });

  test('lose their leader: writes go on within seconds, and no container of the others restarts', async () => {
    const before = await Promise.all(others.map(containers));
    const asked = others[0]!;
    // Numbers from a node that stays, followed at a manager that does.
    await cluster.run(asked, [
      ...`docker service create -d --name numbers --no-resolve-image --constraint node.hostname==${others[1]}`.split(
        ' ',
      ),
      ...['skep/whoami:lab', 'sh', '-c', 'i=0; while :; do echo $((i += 1)); sleep 0.1; done'],
    ]);
    const following = cluster.lab.exec(
      asked,
      ['sh', '-c', 'docker service logs -f --raw numbers >/run/numbers 2>&1'],
      { deadlineMs: 180_000 },
    );
    const numbers = async (): Promise<string[]> =>
      (await sh(asked, 'touch /run/numbers; cat /run/numbers')).split('\n').filter(Boolean);
    const expectBehind = (count: number): Promise<string[]> =>
      eventually(`more than ${count} numbers`, soonMs, numbers, (found) =>
        expect(found.length).toBeGreaterThan(count),
      );
    await expectBehind(5);
    await cluster.lab.kill(leader);
    const cutMs = performance.now();
    await docker(asked, 'service update --label-add after=loss -d web');
    const writtenMs = performance.now() - cutMs;
    const next = await eventually(
      'another leader',
      soonMs,
      () => leaderOf(asked),
      (found) => expect(found).not.toBe(leader),
    );
    const ledMs = performance.now() - cutMs;
    await docker(asked, 'service create --name probe --no-resolve-image --replicas 1 skep/whoami:lab');
    // Swarm's managers need ten to twenty seconds to elect another.
    expect(Math.max(writtenMs, ledMs)).toBeLessThan(6_000);
    const atLossCount = (await numbers()).length;
    const read = await expectBehind(atLossCount + 10);
    expect(read, 'what is followed goes on with the next leader, and loses nothing').toEqual(
      read.map((_, i) => String(i + 1)),
    );
    await docker(asked, 'service rm numbers');
    expect((await following).exitCode).toBe(0);
    const after = await Promise.all(others.map(containers));
    for (const [i, text] of before.entries())
      expect(after[i]!.split('\n')).toEqual(
        expect.arrayContaining(text.split('\n').filter(Boolean)) as string[],
      );
    await expectRefused(asked, `docker node demote ${next}`, 'this would result in a loss of quorum');
    await docker(asked, 'service rm probe');
  });

  test('take the former leader back, as one of them', async () => {
    await cluster.lab.start(leader);
    const [a, b] = others as [string, string];
    await expectRoles(a, {
      [leader]: 'Reachable',
      [a]: expect.stringMatching(/Leader|Reachable/) as string,
      [b]: expect.stringMatching(/Leader|Reachable/) as string,
    });
    await eventually(
      'its own view',
      soonMs,
      () => leaderOf(leader),
      (found) => expect(others).toContain(found),
    );
  });

  test('have a damaged store while they run, and take that of the others', async () => {
    const [asked] = others as [string];
    const store = '/var/lib/skep/swarm/etcd/member/snap/db';
    await sh(
      leader,
      `pkill -STOP -x etcd && dd if=/dev/zero of=${store} bs=4096 count=8 conv=notrunc && pkill -KILL -x etcd`,
    );
    await docker(asked, 'service update -d --label-add after=damage web');
    await eventually(
      'it has what was written meanwhile, from its own store',
      90_000,
      () =>
        cluster.lab.exec(leader, ['docker', 'service', 'inspect', 'web', '-f', '{{.Spec.Labels.after}}'], {
          deadlineMs: 30_000,
        }),
      ({ stdout }) => expect(stdout.trim()).toBe('damage'),
    );
    await eventually(
      'it is one of them again',
      soonMs,
      () => roles(asked),
      (found) => expect(found[leader]).toMatch(/Leader|Reachable/),
    );
    expect(await sh(leader, 'ls /var/lib/skep/swarm')).not.toContain('etcd.lost');
  });

  test('are paused and come back: nothing is written twice, another leads', async () => {
    leader = await leaderOf('node1');
    others = nodes.filter((node) => node !== leader);
    await sh(leader, 'pkill -STOP -f [c]ontrolplane/main.js');
    await eventually(
      'another leader',
      soonMs,
      () => leaderOf(others[0]!),
      (found) => expect(found).not.toBe(leader),
    );
    await docker(others[0]!, 'service scale -d web=2');
    await sh(leader, 'pkill -CONT -f [c]ontrolplane/main.js');
    await eventually(
      'the paused manager follows',
      soonMs,
      () => docker(leader, 'service ls --format {{.Replicas}}'),
      (replicas) => expect(replicas).toBe('2/2'),
    );
    expect(await leaderOf(leader)).toBe(await leaderOf(others[0]!));
  });

  test('are demoted, the leader too, and promoted again', async () => {
    leader = await leaderOf('node1');
    const asked = nodes.find((node) => node !== leader)!;
    await docker(asked, `node demote ${leader}`);
    await eventually(
      'the demoted leader is a worker',
      soonMs,
      () => roles(asked),
      (found) => {
        expect(found[leader]).toBe('');
        expect(Object.values(found)).toContain('Leader');
      },
    );
    await eventually(
      'and says so',
      soonMs,
      () => cluster.lab.exec(leader, ['docker', 'node', 'ls'], { deadlineMs: 30_000 }),
      ({ stderr }) => expect(stderr).toContain("Worker nodes can't be used to view or modify cluster state"),
    );
    await eventually(
      'and has nothing left of the store',
      soonMs,
      () => sh(leader, 'cd /var/lib/skep/swarm && ls && cat keyring.json'),
      (text) => expect(text).not.toMatch(/dataKey|^etcd$/m),
    );
    await docker(asked, `node promote ${leader}`);
    await eventually(
      'and is a manager again',
      soonMs,
      () => cluster.lab.exec(leader, ['docker', 'node', 'ls'], { deadlineMs: 30_000 }),
      ({ exitCode }) => expect(exitCode).toBe(0),
    );
    expect(await docker(asked, 'service ls --format {{.Replicas}}')).toBe('2/2');
  });

  test('are lost but one: what runs goes on, the API says what mends it, and that brings the cluster back', async () => {
    const create =
      'service create --name everywhere --mode global -p 8081:80 --no-resolve-image skep/whoami:lab';
    await docker('node1', create);
    const [survivor, ...lost] = nodes;
    const answers = (): Promise<string> =>
      cluster.run(survivor, ['curl', '-s', '--max-time', '2', `http://${address(survivor)}:8081/`]);
    for (const node of lost) await cluster.lab.kill(node);
    await eventually(
      'a refusal that says what to do',
      soonMs,
      () => cluster.lab.exec(survivor, ['docker', 'service', 'ls'], { deadlineMs: 30_000 }),
      ({ stderr }) => {
        expect(stderr).toContain('The swarm does not have a leader.');
        expect(stderr).toContain('docker swarm init --force-new-cluster');
      },
    );
    const running = await containers(survivor);
    const startedMs = performance.now();
    await docker(survivor, `swarm init --force-new-cluster --advertise-addr ${address(survivor)}`);
    await eventually(
      'it leads',
      soonMs,
      () => roles(survivor),
      (found) => expect(found).toMatchObject({ [survivor]: 'Leader' }),
    );
    const services = await docker(survivor, 'service ls --format {{.Name}}={{.Ports}}');
    expect(services.split('\n').sort()).toEqual(['everywhere=*:8081->80/tcp', 'web=*:8080->80/tcp']);
    await docker(survivor, 'service update -d --label-add after=all everywhere');
    expect(performance.now() - startedMs).toBeLessThan(60_000);
    expect((await containers(survivor)).split('\n')).toEqual(
      expect.arrayContaining(running.split('\n')) as string[],
    );
    await eventually('the port answers by its own task', 60_000, answers, (page) =>
      expect(page).not.toBe(''),
    );
  });

  test('that were left behind come back: removed by name, or taken in again with what the others have', async () => {
    const [survivor, gone, back] = nodes;
    await docker(survivor, `node demote ${gone}`);
    await eventually(
      `${gone} is removed`,
      60_000,
      () => cluster.lab.exec(survivor, ['docker', 'node', 'rm', '--force', gone], { deadlineMs: 30_000 }),
      ({ exitCode, stderr }) => expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' }),
    );
    await cluster.lab.start(back);
    await eventually(
      `${back} is a manager again`,
      90_000,
      () => roles(survivor),
      (found) => expect(found).toEqual({ [survivor]: 'Leader', [back]: 'Reachable' }),
    );
    await eventually(
      'and knows what there is',
      soonMs,
      () => docker(back, 'service inspect everywhere -f {{.Spec.Labels.after}}'),
      (label) => expect(label).toBe('all'),
    );
  });
});
