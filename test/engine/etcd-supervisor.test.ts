/** One etcd a manager: adopted, replaced, brought back, and open to the managers of its own cluster only. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { createServer } from 'node:net';
import type { Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, test, vi } from 'vitest';
import { createCsr, createRootCa, issueNodeCertificate } from '../../src/controlplane/ca/certificates.js';
import { identityFromPem, writeIdentityFiles } from '../../src/controlplane/ca/node-identity.js';
import type { NodeIdentity } from '../../src/controlplane/ca/node-identity.js';
import { socketPath } from '../../src/controlplane/etcd/arguments.js';
import type { EtcdConfig } from '../../src/controlplane/etcd/arguments.js';
import { EtcdClient } from '../../src/controlplane/etcd/client.js';
import { findProcesses, isAlive } from '../../src/controlplane/etcd/process-table.js';
import { EtcdSupervisor } from '../../src/controlplane/etcd/supervisor.js';
import type { ClusterId, NodeId } from '../../src/model/ids.js';

const log = pino({ enabled: false });
let nextPort = 24480;

const listen = (server: Server, port: number): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => {
      server.off('error', reject);
      resolve();
    });
  });
/** Until it does not throw any more, at most ten seconds. */
const poll = (body: () => Promise<void>): Promise<void> =>
  vi.waitFor(body, { timeout: 10_000, interval: 20 });

describe('EtcdSupervisor', () => {
  let dir: string;
  let config: EtcdConfig;
  const supervisors: EtcdSupervisor[] = [];

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'skep-etcd-'));
    config = {
      dataDir: join(dir, 'data'),
      socketDir: join(dir, 'run'),
      name: 'm1',
      peerUrl: `http://127.0.0.1:${nextPort++}`,
      clusterToken: 'c1',
    };
  });
  afterEach(async () => {
    for (const one of supervisors.splice(0)) await one.stop();
    assert.deepEqual(await ours(), [], 'no etcd is left');
    await rm(dir, { recursive: true });
  });

  const ours = () => findProcesses((args) => args.includes(`--data-dir=${join(dir, 'data')}`));
  const supervise = (changed: Partial<EtcdConfig> = {}, program = 'etcd'): EtcdSupervisor => {
    const made = new EtcdSupervisor({
      config: { ...config, ...changed },
      logFile: join(dir, 'etcd.log'),
      log,
      program,
    });
    supervisors.push(made);
    return made;
  };
  const put = async (key: string, value: string): Promise<void> => {
    const client = new EtcdClient(supervise().address);
    await client.txn([], [{ op: 'put', key, value: Buffer.from(value) }]);
    client.close();
  };
  const get = async (key: string): Promise<string | undefined> => {
    const client = new EtcdClient(supervise().address);
    const found = await client.get(key, 20_000);
    client.close();
    return found?.value.toString();
  };

  test('outlives its supervisor in a session of its own, and is adopted by the next one', async () => {
    const first = supervise();
    await first.start('new');
    const { pid } = first;
    assert(pid);
    await put('/k', 'kept');
    const session = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]?.split(' ')[3];
    assert.equal(session, String(pid));
    assert.equal((await stat(join(dir, 'run'))).mode & 0o777, 0o700);
    assert((await stat(socketPath(config))).isSocket());
    await first.detach();

    const second = supervise();
    await second.start('existing');
    assert.equal(second.pid, pid);
    assert.equal(await get('/k'), 'kept');
    await second.stop();
    assert.deepEqual(await ours(), []);

    const third = supervise();
    await third.start('existing');
    assert.notEqual(third.pid, pid);
    assert.equal(await get('/k'), 'kept');
  });

  test('one that runs with other settings, or does not answer, is replaced', async () => {
    const first = supervise();
    await first.start('new');
    await put('/k', 'kept');
    await first.detach();

    const moved = supervise({ listenPeerUrl: `http://127.0.0.1:${nextPort++}` });
    await moved.start('existing');
    const { pid } = moved;
    assert(pid && pid !== first.pid);
    await moved.detach();
    process.kill(pid, 'SIGSTOP');
    const healed = supervise({ listenPeerUrl: `http://127.0.0.1:${nextPort - 1}` });
    await healed.start('existing');
    assert.notEqual(healed.pid, pid);
    assert.equal((await ours()).length, 1);
    assert.equal(await get('/k'), 'kept');
  });

  test('killed, it comes back, also when it was adopted', async () => {
    const first = supervise();
    await first.start('new');
    await put('/k', 'kept');
    await first.detach();
    const second = supervise();
    await second.start('existing');
    const { pid } = second;
    assert(pid);
    process.kill(pid, 'SIGKILL');
    assert.equal(await get('/k'), 'kept');
    assert.notEqual(second.pid, pid);
  });

  test('a forced new cluster keeps the data', async () => {
    const first = supervise();
    await first.start('new');
    await put('/k', 'kept');
    await first.detach();
    const forced = supervise();
    await forced.start('forceNew');
    assert.notEqual(forced.pid, first.pid);
    assert.equal(await get('/k'), 'kept');
  });

  test('what cannot be started is an error, and nothing is left', async () => {
    await assert.rejects(supervise({}, 'etcd-that-is-not-there').start('new'), /cannot start/);
    await assert.rejects(supervise({ peerUrl: 'http://192.0.2.1:1' }).start('new'), /etcd ended/);
  });

  test('one that waits for other members is waited for until that is called off, and is left running', async () => {
    const initialCluster = `m1=${config.peerUrl},m2=http://127.0.0.1:${nextPort++}`;
    const alone = supervise({ initialCluster });
    const over = new AbortController();
    const started = alone.start('new', over.signal);
    const refused = assert.rejects(started, /not wanted any more/);
    await poll(async () => assert.equal((await ours()).length, 1));
    const [before] = await ours();
    const abortedMs = performance.now();
    over.abort(new Error('not wanted any more'));
    await refused;
    // The bound of one question to etcd, far below that of its start.
    assert(performance.now() - abortedMs < 10_000);
    const [after] = await ours();
    assert(before && after);
    assert.equal(after.pid, before.pid);
  });

  test('one that ends on its data again and again is given up; one whose host lacks something is not', async () => {
    const first = supervise();
    await first.start('new');
    await put('/k', 'kept');
    const { pid } = first;
    assert(pid);
    const database = join(dir, 'data', 'member', 'snap', 'db');
    const { size } = await stat(database);
    const listener = createServer();
    const port = Number(new URL(config.peerUrl).port);
    // Its port first: taken as soon as it is free.
    process.kill(pid, 'SIGKILL');
    await poll(() => listen(listener, port));
    let lost: Error | undefined;
    void first.lost.then((err) => (lost = err));
    await poll(async () => assert.match(first.error, /address already in use/));
    const tries = first.error;
    assert.match(tries, /etcd ended: .*bind/);
    await new Promise((resolve) => setTimeout(resolve, 1_200));
    assert.equal(lost, undefined);
    await new Promise((resolve) => listener.close(resolve));
    assert.equal(await get('/k'), 'kept');
    await poll(async () => assert.equal(first.error, ''));

    assert(first.pid);
    process.kill(first.pid, 'SIGSTOP');
    await writeFile(database, Buffer.alloc(size));
    process.kill(first.pid, 'SIGKILL');
    const err = await first.lost;
    assert.match(err.message, /etcd ended: failed to open database: invalid database/);
    assert.deepEqual(await ours(), []);
  });

  test('other settings take effect on an etcd that runs', async () => {
    const first = supervise();
    await first.start('new');
    await put('/k', 'kept');
    const { pid } = first;
    await first.restart({ snapshotCount: 500, snapshotsMax: 3 });
    assert(first.pid !== undefined && first.pid !== pid);
    const [running] = await ours();
    assert(running?.args.includes('--snapshot-count=500') && running.args.includes('--max-snapshots=3'));
    assert.equal(await get('/k'), 'kept');
    assert.deepEqual(first.settings, { snapshotCount: 500, snapshotsMax: 3 });
  });

  test('its log names no values, and ETCD_ variables do not reach it', async () => {
    process.env['ETCD_LOG_LEVEL'] = 'debug';
    process.env['ETCD_EXPERIMENTAL_WARNING_APPLY_DURATION'] = '1ns';
    const first = supervise();
    try {
      await first.start('new');
      await put('/k', 'do-not-show');
      assert(first.pid);
      const environment = await readFile(`/proc/${first.pid}/environ`, 'utf8');
      assert(!environment.includes('ETCD_'));
      const text = await readFile(join(dir, 'etcd.log'), 'utf8');
      assert(!text.includes('do-not-show') && !text.includes(Buffer.from('do-not-show').toString('base64')));
    } finally {
      delete process.env['ETCD_LOG_LEVEL'];
      delete process.env['ETCD_EXPERIMENTAL_WARNING_APPLY_DURATION'];
    }
  });

  test('peers: managers of this cluster get in; workers, strangers and the nameless do not', async () => {
    const [ca, otherCa] = await Promise.all([createRootCa(Date.now()), createRootCa(Date.now())]);
    const issue = async (role: 'manager' | 'worker', rootCa = ca): Promise<NodeIdentity> => {
      const { csrPem, keyPem } = await createCsr();
      const who = { nodeId: `n-${role}` as NodeId, clusterId: 'c1' as ClusterId, role };
      const times = { nowMs: Date.now(), validMs: 3_600_000 };
      const certPem = await issueNodeCertificate({ rootCa, csrPem, ...who, ...times });
      return identityFromPem(certPem, keyPem, rootCa.certPem);
    };
    const port = nextPort++;
    const rootFile = join(dir, 'root.crt');
    await writeFile(rootFile, ca.certPem);
    const member = supervise({
      peerUrl: `https://127.0.0.1:${port}`,
      peerTls: { ...(await writeIdentityFiles(join(dir, 'tls'), await issue('manager'))), rootFile },
    });
    await member.start('new');

    const visit = (identity?: NodeIdentity): Promise<number> =>
      new Promise((resolve, reject) => {
        const who = identity && { cert: identity.certPem, key: identity.keyPem };
        const trust = { ca: ca.certPem, servername: 'swarm-manager' };
        request({ host: '127.0.0.1', port, path: '/version', agent: false, ...trust, ...who }, (reply) => {
          reply.resume();
          resolve(reply.statusCode ?? 0);
        })
          .on('error', reject)
          .end();
      });
    assert.equal(await visit(await issue('manager')), 200);
    await assert.rejects(visit());
    await assert.rejects(visit(await issue('worker')));
    await assert.rejects(visit(await issue('manager', otherCa)));
    assert(member.pid !== undefined);
    const [running] = await ours();
    assert(running && isAlive(running));
  });
});
