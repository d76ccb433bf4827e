/** A swarm is backed up while it runs, lost, and brought back on another host; then its store is lost, and brought back in place. */
import { beforeAll, describe, expect, test } from 'vitest';
import { joinCommand } from '../../src/lab/swarm.js';
import { TestLab, eventually } from '../support/lab.js';

const cluster = new TestLab({ name: 'test-backup', nodes: 3 });
const address = (node: string): string => `192.168.60.${node.slice(-1)}`;
const docker = (node: string, words: string): Promise<string> => cluster.docker(node, words);
const sh = (node: string, script: string): Promise<string> => cluster.run(node, ['sh', '-c', script]);
const restore = 'skep restore --passphrase-file /root/word /root/backup';
const page = (node: string): Promise<string> =>
  sh(node, `curl -s --max-time 2 http://${address(node)}:8080/ || true`);

async function expectRefused(node: string, script: string, text: string): Promise<void> {
  const { exitCode, stderr } = await cluster.lab.exec(node, ['sh', '-c', script], { deadlineMs: 60_000 });
  expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: expect.stringContaining(text) as string });
}

/** What users and their clients see of the services: specs, ports, VIPs, names, subnets. */
async function shown(node: string): Promise<unknown> {
  const format = '{{.ID}}|{{.Spec.Name}}|{{json .Spec.TaskTemplate}}|{{json .Endpoint}}';
  const services = await sh(node, `docker service inspect -f '${format}' web other`);
  const networks = await sh(node, "docker network inspect -f '{{.Id}}|{{json .IPAM.Config}}' net1 ingress");
  const list = await docker(node, 'service ls --format {{.ID}}|{{.Name}}|{{.Mode}}|{{.Image}}|{{.Ports}}');
  return { services: services.split('\n'), networks: networks.split('\n'), list: list.split('\n').sort() };
}

describe('a swarm', () => {
  let before: unknown;
  let rootBefore: string;

  beforeAll(async () => {
    await docker('node1', `swarm init --advertise-addr ${address('node1')} --dispatcher-heartbeat 1s`);
    await cluster.run('node3', await joinCommand(cluster.lab, 'node1', 'worker'));
    await docker('node1', 'network create -d overlay --subnet 10.77.0.0/24 net1');
    const create = 'service create -d --no-resolve-image --network net1';
    await docker('node1', `${create} --name web --replicas 2 -p 8080:80 skep/whoami:lab`);
    await docker('node1', `${create} --name other --label kept=yes skep/whoami:lab`);
    await eventually(
      'its services run',
      60_000,
      () => docker('node1', 'service ls --format {{.Replicas}}'),
      (replicas) => expect(replicas.split('\n').sort()).toEqual(['1/1', '2/2']),
    );
    before = await shown('node1');
    rootBefore = await docker('node1', 'info -f {{.Swarm.Cluster.TLSInfo.TrustRoot}}');
  }, 120_000);

  test('is backed up while it runs: one sealed file, for its owner alone, over no other', async () => {
    await sh('node1', 'echo correct horse battery > /root/word');
    const said = await sh('node1', 'skep backup /root/backup --passphrase-file /root/word');
    expect(said).toMatch(/^swarm \w{25} at revision \d+, \d+ objects, in \/root\/backup/);
    expect(await sh('node1', 'stat -c %a /root/backup')).toBe('600');
    expect(await sh('node1', 'grep -caE "web|PRIVATE KEY|SWMTKN|10.77" /root/backup || true')).toBe('0');
    await expectRefused(
      'node1',
      'skep backup /root/backup --passphrase-file /root/word',
      '--force replaces it',
    );
    await expectRefused('node1', 'echo short | skep backup /root/more', 'at least 8 characters');
    await expectRefused(
      'node3',
      'skep backup /root/more --passphrase-file /dev/stdin <<X\nlong enough\nX',
      "Worker nodes can't",
    );
    expect(await sh('node1', 'ls /root')).not.toMatch(/more|new/);
  });

  test('is not restored where there is one, from a damaged file, or with another word', async () => {
    await expectRefused('node1', restore, 'already part of a swarm');
    const sealed = await sh('node1', 'base64 -w0 /root/backup');
    await sh('node2', `echo ${sealed} | base64 -d > /root/backup; echo correct horse battery > /root/word`);
    await expectRefused('node2', 'echo wrong | skep restore /root/backup', 'the passphrase is wrong');
    await sh('node2', 'head -c -20 /root/backup > /root/cut');
    await expectRefused(
      'node2',
      'skep restore --passphrase-file /root/word /root/cut',
      'damaged or not complete',
    );
    expect(await docker('node2', 'info -f {{.Swarm.LocalNodeState}}')).toBe('inactive');
    expect(await sh('node2', 'ls -A /var/lib/skep/swarm 2>/dev/null || true')).toBe('');
  });

  test('is lost, and comes back on another host as it was', async () => {
    await cluster.lab.kill('node1');
    const startedMs = performance.now();
    await sh('node2', `${restore} --advertise-addr ${address('node2')}`);
    expect(await shown('node2')).toEqual(before);
    expect(await docker('node2', 'info -f {{.Swarm.Cluster.TLSInfo.TrustRoot}}')).toBe(rootBefore);
    expect(await docker('node2', 'node ls --format {{.ManagerStatus}}')).toMatch(/^\s*Leader\s*$/);
    // A node that knows no address of the new manager's.
    await docker('node3', 'swarm leave --force');
    await cluster.run('node3', await joinCommand(cluster.lab, 'node2', 'worker'));
    for (const node of ['node2', 'node3'])
      await eventually(
        `the page answers at ${node}`,
        40_000,
        () => page(node),
        (text) => expect(text).not.toBe(''),
      );
    await eventually(
      'all tasks run',
      40_000,
      () =>
        docker('node2', 'service ps -f desired-state=running --format {{.Node}}={{.CurrentState}} web other'),
      (rows) => expect(rows.split('\n')).toEqual(Array(3).fill(expect.stringMatching(/^node[23]=Running/))),
    );
    expect(performance.now() - startedMs).toBeLessThan(60_000);
    await docker('node2', 'service update -d --label-add after=restore other');
    expect(await shown('node2')).toEqual(before);
  });

  test('whose only store is destroyed says the command, which brings it back in place', async () => {
    await sh('node2', 'skep backup --force --passphrase-file /root/word /root/backup');
    const running = await sh('node2', 'docker -H unix:///run/docker.sock ps -q --no-trunc | sort');
    await sh('node2', 'rm -r /var/lib/skep/swarm/etcd && pkill -KILL -x etcd');
    await eventually(
      'it says what mends it',
      30_000,
      () => docker('node2', 'info -f {{.Swarm.Error}}'),
      (error) => expect(error).toContain('skep restore FILE'),
    );
    await sh('node2', restore);
    expect(await shown('node2')).toEqual(before);
    expect(await docker('node2', 'service inspect other -f {{.Spec.Labels}}')).toBe(
      'map[after:restore kept:yes]',
    );
    await eventually(
      'its nodes are back',
      30_000,
      () => docker('node2', 'node ls --format {{.Status}}|{{.ManagerStatus}}'),
      (rows) => expect(rows.split('\n').sort()).toEqual(['Down|', 'Down|', 'Ready|', 'Ready|Leader']),
    );
    expect(await sh('node2', 'docker -H unix:///run/docker.sock ps -q --no-trunc | sort')).toBe(running);
    expect(await page('node2')).not.toBe('');
  });
});
