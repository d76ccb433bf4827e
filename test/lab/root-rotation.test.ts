/**
 * `docker swarm ca --rotate` with three managers and a worker, under a load of requests: no request fails, no task is started
 * again, tokens change, and nobody believes the old root any more, managers' etcd included.
 */
import { beforeAll, expect, test } from 'vitest';
import { initSwarm } from '../../src/lab/swarm.js';
import { etcdPeerPort } from '../../src/model/swarm-ports.js';
import { TestLab, eventually } from '../support/lab.js';

const cluster = new TestLab({ name: 'test-root-rotation', nodes: 4 });
const nodes = ['node1', 'node2', 'node3', 'node4'] as const;
const managers = nodes.slice(0, 3);
const address = (node: string): string => `192.168.60.${node.slice(-1)}`;
/** What a manager's etcd shows, and whom it trusts. */
const shown = '/run/skep/etcd-tls/swarm-node';
const trusted = '/var/lib/skep/swarm/certificates/*.etcd-trust.crt';

const docker = (node: string, words: string): Promise<string> => cluster.docker(node, words);
const sh = (node: string, script: string): Promise<string> => cluster.run(node, ['sh', '-c', script]);
const tokenOf = (role: string): Promise<string> => docker('node2', `swarm join-token -q ${role}`);
const containers = (node: string): Promise<string> =>
  sh(node, 'docker -H unix:///run/docker.sock ps -q --no-trunc | sort');
const everywhere = <T>(ask: (node: string) => Promise<T>): Promise<T[]> => Promise.all(nodes.map(ask));

/** What etcd's port of a manager says to who shows a certificate and its key. */
async function greetEtcd(from: string, to: string, files: string): Promise<string> {
  const connect = `openssl s_client -connect ${address(to)}:${etcdPeerPort} -cert ${files}.crt -key ${files}.key`;
  // A refusal comes after the handshake, with the first answer.
  const script = `printf 'GET /version HTTP/1.0\\r\\n\\r\\n' | timeout 5 ${connect} -quiet 2>&1 || true`;
  return sh(from, script);
}

beforeAll(async () => {
  await initSwarm(cluster.lab, 3, () => undefined);
  await docker(
    'node1',
    'service create --name web --mode global -p 8080:80 --no-resolve-image skep/whoami:lab',
  );
}, 120_000);

test('the root is rotated while requests are served', async () => {
  const [before, oldRoot, oldWorkerToken, oldManagerToken] = await Promise.all([
    everywhere(containers),
    docker('node1', 'swarm ca'),
    tokenOf('worker'),
    tokenOf('manager'),
  ]);
  await sh('node1', `cp ${shown}.crt /tmp/old.crt && cp ${shown}.key /tmp/old.key`);
  expect(await greetEtcd('node1', 'node2', '/tmp/old')).toContain('etcdserver');

  const loading = cluster.load(
    900,
    60,
    nodes.map((node) => `http://${address(node)}:8080/`),
  );
  await docker('node2', 'swarm ca --rotate --quiet');
  const report = await loading;
  expect(report.failures).toEqual([]);
  const newRoot = await docker('node2', 'swarm ca');
  expect(newRoot).not.toBe(oldRoot);

  expect(await everywhere(containers)).toEqual(before);
  // Every node says that it trusts the new root alone, and has a certificate of it.
  const status = await docker('node3', 'node ls --format {{.TLSStatus}}');
  expect(status.split('\n')).toEqual(nodes.map(() => 'Ready'));
  await sh('node4', `cat >/tmp/new.crt <<'END'\n${newRoot}\nEND`);
  for (const manager of managers) {
    expect(await greetEtcd('node1', manager, '/tmp/old')).not.toContain('etcdserver');
    expect(await greetEtcd('node1', manager, shown)).toContain('etcdserver');
    expect(await sh(manager, `cat ${trusted}`)).toBe(newRoot);
    await sh(
      'node4',
      `openssl s_client -connect ${address(manager)}:2377 -CAfile /tmp/new.crt ` +
        '-verify_return_error -verify_hostname swarm-manager -alpn h2 </dev/null >/dev/null 2>&1',
    );
  }

  const [workerToken, managerToken] = [await tokenOf('worker'), await tokenOf('manager')];
  expect([workerToken === oldWorkerToken, managerToken === oldManagerToken]).toEqual([false, false]);
  await docker('node4', 'swarm leave');
  await docker('node1', 'node rm --force node4');
  const join = (token: string) =>
    cluster.lab.exec('node4', ['docker', 'swarm', 'join', '--token', token, `${address('node3')}:2377`], {
      deadlineMs: 30_000,
    });
  expect((await join(oldWorkerToken)).stderr).toContain('remote CA does not match fingerprint');
  expect(await join(workerToken)).toMatchObject({ exitCode: 0 });
  await eventually(
    'the node that joined anew serves',
    20_000,
    () => containers('node4'),
    (ids) => expect(ids).not.toBe(''),
  );
});
