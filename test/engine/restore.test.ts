/** The parts of a node restore an autolocked swarm on a real etcd: on a host of none, in place, and not at all. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { SwarmEvents } from '../../src/controlplane/api/swarm-events.js';
import { backupHead, backupLines, parseBackup } from '../../src/controlplane/backup/backup-content.js';
import type { Backup } from '../../src/controlplane/backup/backup-content.js';
import { HostParts } from '../../src/controlplane/node/parts.js';
import { StoreDirectory } from '../../src/controlplane/node/store-directory.js';
import { etcdProgram, etcdsOf } from '../../src/controlplane/etcd/running-etcd.js';
import type { NodeAddresses } from '../../src/controlplane/node/node-addresses.js';
import type { Store } from '../../src/controlplane/store/store.js';
import { nothingAllowed } from '../../src/model/host-access.js';
import { systemClock } from '../../src/runtime/clock.js';
import { initRequest } from '../unit/node/init-request.js';
import { service } from '../unit/store/objects.js';

const log = pino({ enabled: false });
const engineInfo = {
  Name: 'host',
  Architecture: 'x86_64',
  OSType: 'linux',
  NCPU: 2,
  MemTotal: 4e9,
  ServerVersion: '20.10.24',
  Labels: [],
  Plugins: {},
};
const port = 24_790;
const addresses: NodeAddresses = {
  listenHost: '127.0.0.1',
  listenPort: port,
  advertiseHost: '127.0.0.1' as NodeAddresses['advertiseHost'],
  advertisePort: port,
  dataPathHost: '127.0.0.1' as NodeAddresses['dataPathHost'],
};

let directory: string;
const hosts: HostParts[] = [];
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'skep-restore-'));
});
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.wipe();
  await rm(directory, { recursive: true });
});

/** A host's parts; its engine and its dataplane are asked for nothing but who they are. */
function host(name: string): HostParts {
  const made = new HostParts({
    swarmDir: join(directory, name, 'swarm'),
    runDir: join(directory, name, 'run'),
    engine: { info: async () => engineInfo } as never,
    dataplane: { clearState: async () => undefined } as never,
    facts: async () => undefined,
    allowance: nothingAllowed,
    swarmEvents: new SwarmEvents(systemClock),
    clock: systemClock,
    random: (size) => randomBytes(size),
    log,
  });
  hosts.push(made);
  return made;
}

function backupOf(store: Store, nodeId: Parameters<typeof backupHead>[1]): Backup {
  const view = store.view();
  return parseBackup([...backupLines(view, backupHead(view, nodeId, Date.now()))]);
}

test('the etcd of a swarm outlives the daemon that has founded it, and is adopted by the next', async () => {
  const first = host('first');
  const founded = await first.foundCluster({ ...initRequest, autoLockManagers: false }, addresses);
  await founded.manager.close();
  const etcds = (): ReturnType<typeof etcdsOf> =>
    etcdsOf(new StoreDirectory(join(directory, 'first', 'swarm')).path, etcdProgram);
  const running = await etcds();
  assert.equal(running.length, 1);
  const next = await first.startManager(founded.membership, false, new AbortController().signal);
  assert.deepEqual(await etcds(), running);
  await next.close();
});

test('an autolocked swarm comes back locked, elsewhere and in place, and a restore that fails leaves what was there', async () => {
  const first = host('first');
  const founded = await first.foundCluster({ ...initRequest, autoLockManagers: true }, addresses);
  await founded.manager.store.update((tx) => tx.create('service', service('s1', 'Web')));
  const backup = backupOf(founded.manager.store, founded.membership.nodeId);
  await founded.manager.close();
  await first.wipe();

  const second = host('second');
  const { membership, manager } = await second.restoreCluster(backup, addresses, undefined);
  assert.equal(membership.clusterId, founded.membership.clusterId);
  assert.notEqual(membership.nodeId, founded.membership.nodeId);
  assert(manager.store.view().revision > backup.head.revision + 1_000_000);
  assert.equal(manager.store.view().byName('service', 'web')?.id, 's1');
  assert.deepEqual(
    manager.store
      .view()
      .list('node')
      .map(({ id }) => id),
    [membership.nodeId],
  );
  await manager.store.update((tx) => tx.create('service', service('s2', 'later')));
  const swarmDir = join(directory, 'second', 'swarm');
  const keyring = await readFile(join(swarmDir, 'keyring.json'), 'utf8');
  expect(keyring).toContain('"sealed"');
  expect(keyring).not.toContain('PRIVATE KEY');
  await manager.close();

  // Somebody else has the manager's port: nothing of the restore stays.
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(port, '127.0.0.1', resolve));
  await assert.rejects(
    second.restoreCluster(backup, addresses, membership),
    /failed to listen on remote API address/,
  );
  await new Promise((resolve) => other.close(resolve));
  expect(await readdir(swarmDir)).not.toEqual(
    expect.arrayContaining([expect.stringMatching(/restoring|lost/)]),
  );
  const asBefore = await second.startManager(membership, false, new AbortController().signal);
  assert(asBefore.store.view().byName('service', 'later'));
  await asBefore.close();

  const again = await second.restoreCluster(backup, addresses, membership);
  assert.equal(again.membership.nodeId, membership.nodeId);
  assert(!again.manager.store.view().byName('service', 'later'));
  assert(again.manager.store.view().byName('service', 'web'));
  expect(await readdir(swarmDir)).not.toEqual(
    expect.arrayContaining([expect.stringMatching(/restoring|lost/)]),
  );
  await again.manager.close();
  assert.equal(await host('second').openKeys(), false, 'it is locked');
});
