/**
 * Autolock on three managers with the stock CLI, as one administrator's session: power cut and restart, wrong key, unlock,
 * rotate, off. What is on their disks is searched for everything that must not be read there.
 */
import { beforeAll, describe, expect, test } from 'vitest';
import { checkout } from '../../src/lab/lab.js';
import { joinCommand, mustExec } from '../../src/lab/swarm.js';
import { TestLab, eventually } from '../support/lab.js';

const cluster = new TestLab({ name: 'test-autolock', nodes: 3 });
const nodes = ['node1', 'node2', 'node3'] as const;
const soonMs = 20_000;
const docker = (node: string, words: string): Promise<string> => cluster.docker(node, words);
const sh = (node: string, script: string): Promise<string> => cluster.run(node, ['sh', '-c', script]);

const lockedText = 'Swarm is encrypted and needs to be unlocked before it can be used.';
const stateOf = (node: string): Promise<string> => docker(node, 'info -f {{.Swarm.LocalNodeState}}');
const expectState = (node: string, state: string): Promise<unknown> =>
  eventually(`${node} is ${state}`, soonMs, () => stateOf(node), (found) => expect(found).toBe(state)); // prettier-ignore
const expectManager = (node: string): Promise<unknown> =>
  eventually(
    `${node} is a manager`,
    soonMs,
    () => cluster.lab.exec(node, ['docker', 'node', 'ls', '-q'], { deadlineMs: 30_000 }),
    ({ stdout, stderr }) => expect([stdout.trim().split('\n').length, stderr]).toEqual([3, '']),
  );
const unlock = (node: string, key: string) =>
  cluster.lab.exec(node, ['docker', 'swarm', 'unlock'], { input: `${key}\n`, deadlineMs: 60_000 });
async function expectRefused(node: string, command: string, text: string): Promise<void> {
  const { exitCode, stderr } = await cluster.lab.exec(node, command.split(' '), { deadlineMs: 30_000 });
  expect({ command, failed: exitCode !== 0, stderr }).toEqual({
    command,
    failed: true,
    stderr: expect.stringContaining(text) as string,
  });
}
/** The version of the unlock key that the node's keyring needs; `clear`: none. */
const sealedBy = (node: string): Promise<string> =>
  sh(
    node,
    `sed -n -e 's/.*"unlockKeyVersion":\\([0-9]*\\),.*/\\1/p' -e 's/.*"keyring":{.*/clear/p' /var/lib/skep/swarm/keyring.json`,
  );
const expectSealed = (node: string, by: string): Promise<unknown> =>
  eventually(`the keyring of ${node}`, soonMs, () => sealedBy(node), (found) => expect(found).toBe(by)); // prettier-ignore
const etcdOf = (node: string): Promise<string> => sh(node, 'pgrep -x etcd || true');
/** A request from outside to a port of the mesh. */
const answers = async (node: string): Promise<string> => {
  const url = `http://192.168.60.${node.slice(-1)}:8080/`;
  const { stdout } = await cluster.lab.client(['curl', '-s', '--max-time', '2', url], { deadlineMs: 10_000 });
  return stdout;
};

const planted = ['environment', 'label', 'container label', 'command', 'hostname', 'secret', 'config'].map(
  (name) => [name, `planted-${name.replace(' ', '-')}-7d1f0c93b2`] as const,
);
const plantedIn = Object.fromEntries(planted);

/** Which of them are in files below the node's directories; in the clear, in hex or in base64. */
async function search(
  node: string,
  directories: readonly string[],
  needles: Readonly<Record<string, Buffer>>,
): Promise<{ files: number; bytes: number; found: string[] }> {
  const encoded = Object.entries(needles).map(([name, octets]) => [name, octets.toString('base64')]);
  const input = JSON.stringify({ directories, needles: Object.fromEntries(encoded) as object });
  const argv = [process.execPath, `${checkout}/test/support/disk-search.mjs`];
  const { exitCode, stdout, stderr } = await cluster.lab.exec(node, argv, { input, deadlineMs: 60_000 });
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  return JSON.parse(stdout) as { files: number; bytes: number; found: string[] };
}

describe('autolock', () => {
  let key: string;
  const needles: Record<string, Buffer> = {
    // Of every P-256 key: version, algorithm and curve (RFC 5208, RFC 5915).
    'some private key': Buffer.from('308187020100301306072a8648ce3d020106082a8648ce3d030107046d', 'hex'),
    ...Object.fromEntries(planted.map(([name, value]) => [name, Buffer.from(value)])),
  };

  beforeAll(async () => {
    const { lab } = cluster;
    const [first, ...others] = lab.nodes;
    const said = await mustExec(lab, first!.name, [
      ...['docker', 'swarm', 'init', '--autolock', '--advertise-addr', first!.address],
    ]);
    key = /SWMKEY-1-[A-Za-z0-9+/]{43}/.exec(said)?.[0] ?? expect.fail(said);
    const join = await joinCommand(lab, first!.name, 'manager');
    for (const { name } of others) await mustExec(lab, name, join);
    for (const { name } of lab.nodes) await expectManager(name);
  }, 120_000);

  test('init shows the key, every manager is sealed with it, and services run', async () => {
    expect(await docker('node3', 'swarm unlock-key -q')).toBe(key);
    for (const node of nodes) expect(await sealedBy(node)).toBe('1');
    await docker(
      'node1',
      'service create --name web --mode global -p 8080:80 --no-resolve-image skep/whoami:lab',
    );
    for (const kind of ['secret', 'config'])
      await sh('node1', `printf %s ${plantedIn[kind]} | docker ${kind} create planted -`);
    await cluster.run('node2', [
      ...'docker service create --name planted --secret planted --config planted --mode global --no-resolve-image -d'.split(
        ' ',
      ),
      ...['--env', `SECRET=${plantedIn['environment']}`, '--label', `l=${plantedIn['label']}`],
      ...[
        '--container-label',
        `c=${plantedIn['container label']}`,
        '--hostname',
        plantedIn['hostname'] ?? '',
      ],
      ...['skep/busybox:lab', 'sh', '-c', `exec sleep 100000 # ${plantedIn['command']}`],
    ]);
    for (const role of ['worker', 'manager'])
      needles[`${role} token`] = Buffer.from(await docker('node1', `swarm join-token -q ${role}`));
    needles['unlock key'] = Buffer.from(key.slice('SWMKEY-1-'.length), 'base64');
  });

  test('a manager that lost its power is locked, and says so; others serve, and its data path goes on', async () => {
    await docker('node3', 'info');
    const pem = await sh('node3', 'cat /run/skep/etcd-tls/swarm-node.key');
    // The second line of the PEM: most of the secret number is in it.
    needles['private key'] = Buffer.from(pem.split('\n')[2] ?? '', 'base64');
    await cluster.lab.kill('node3');
    await cluster.lab.start('node3');
    await expectState('node3', 'locked');
    await eventually(
      'the port answers through the locked node',
      soonMs,
      () => answers('node3'),
      (page) => expect(page).not.toBe(''),
    );
    await cluster.expectVerified('node3');
    expect(await etcdOf('node3')).toBe('');
    expect(await sh('node3', 'ls /run/skep')).not.toContain('etcd-tls');
    expect(await docker('node3', 'info')).toContain('Swarm: locked');
    for (const command of ['node ls', 'service ls', 'swarm unlock-key', 'swarm join-token worker'])
      await expectRefused('node3', `docker ${command}`, lockedText);
    await expectRefused('node3', 'docker swarm leave', 'Swarm is encrypted and locked.');
    await expectRefused(
      'node3',
      'docker swarm init --advertise-addr 192.168.60.3',
      'already part of a swarm',
    );
    await expectManager('node1');
    // For a search once all that is to be found there is known.
    await sh('node3', 'cp -a /var/lib/skep /tmp/locked && cp /run/lab/log/skep*.log /tmp/locked');
  });

  test('a wrong key is refused; the one of before a rotation opens who was off; all are sealed with the new one', async () => {
    const rotated = await docker('node1', 'swarm unlock-key --rotate -q');
    expect(rotated).toMatch(/^SWMKEY-1-/);
    expect(rotated).not.toBe(key);
    for (const node of ['node1', 'node2']) await expectSealed(node, '2');
    for (const wrong of [rotated, `SWMKEY-1-${'A'.repeat(43)}`]) {
      const { exitCode, stderr } = await unlock('node3', wrong);
      expect([exitCode, stderr]).toEqual([
        1,
        expect.stringContaining('swarm could not be unlocked: invalid key provided'),
      ]);
    }
    expect(await stateOf('node3')).toBe('locked');
    expect(await unlock('node3', key)).toEqual({ exitCode: 0, stdout: '', stderr: '' });
    await expectManager('node3');
    await expectSealed('node3', '2');
    key = rotated;
    await eventually(
      'its tasks are back',
      soonMs,
      () => docker('node1', 'service ls --format {{.Name}}={{.Replicas}}'),
      (text) => expect(text.split('\n').sort()).toEqual(['planted=3/3', 'web=3/3']),
    );
  });

  test('a daemon that starts again is locked, though its store goes on; no container notices', async () => {
    const running = await sh('node2', 'docker -H unix:///run/docker.sock ps -q --no-trunc | sort');
    const etcd = await etcdOf('node2');
    expect(etcd).not.toBe('');
    await sh('node2', 'kill -9 $(cat /run/lab/pid/skepd)');
    await expectState('node2', 'locked');
    expect(await etcdOf('node2')).toBe(etcd);
    expect(await answers('node2')).not.toBe('');
    expect((await unlock('node2', key)).exitCode).toBe(0);
    await expectManager('node2');
    expect(await etcdOf('node2')).toBe(etcd);
    expect(await sh('node2', 'docker -H unix:///run/docker.sock ps -q --no-trunc | sort')).toBe(running);
  });

  test('turned off, a restarted manager comes back by itself', async () => {
    await docker('node2', 'swarm update --autolock=false');
    for (const node of nodes) await expectSealed(node, 'clear');
    await expectRefused('node1', 'docker swarm unlock-key', 'no unlock key is set');
    await sh('node1', 'kill -9 $(cat /run/lab/pid/skepd)');
    await expectState('node1', 'active');
    await expectManager('node1');
  });

  test('on a locked disk nothing of it is to be read, and in the store nothing without the data key', async () => {
    const keyring = JSON.parse(await sh('node3', 'cat /var/lib/skep/swarm/keyring.json')) as {
      keyring: { dataKey: { key: string }; localKey: string };
    };
    needles['data key'] = Buffer.from(keyring.keyring.dataKey.key, 'base64');
    needles['local key'] = Buffer.from(keyring.keyring.localKey, 'base64');
    const locked = await search('node3', ['/tmp/locked'], needles);
    expect(locked.found).toEqual([]);
    // All of it: store, keyring, records of tasks, the dataplane's state, what the daemons said.
    expect(locked.files).toBeGreaterThan(8);
    expect(locked.bytes).toBeGreaterThan(1e6);
    const { found } = await search('node3', ['/var/lib/skep'], needles);
    expect(found).toEqual(
      [
        'data key, in base64',
        'local key, in base64',
        'private key, in base64',
        'some private key, in base64',
      ].map((what) => `/var/lib/skep/swarm/keyring.json: ${what}`),
    );
  });
});
