/** Secrets and configs on an engine whose containers have user namespaces (`dockerd --userns-remap`). */
import { existsSync, statSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { applyChanges } from '../../src/controlplane/rpc/assignment.js';
import { taskName } from '../../src/model/objects.js';
import { SecretBytes } from '../../src/model/secret-bytes.js';
import { reference } from '../support/cluster-objects.js';
import { remapped, startRemappedDockerd } from './agent-dockerd.js';
import type { TestDockerd } from './agent-dockerd.js';
import { RunningWorker, makeTask } from './agent-worker.js';

let dockerd: TestDockerd;

beforeAll(async () => {
  dockerd = await startRemappedDockerd();
});
afterAll(async () => {
  await dockerd[Symbol.asyncDispose]();
});

const known = applyChanges(
  new Map(),
  (['secret', 'config'] as const).map((kind) => ({
    remove: false,
    assignment: {
      kind,
      item: { id: kind, data: new SecretBytes(Buffer.from(`the ${kind}`)), templating: '' },
    },
  })),
);

test('files belong to the users of the container, who read them as their modes say', async () => {
  expect((await dockerd.engine.info()).SecurityOptions).toContain('name=userns');
  const agent = new RunningWorker(dockerd.engine, undefined, undefined, dockerd.tasksDir);
  agent.payloads.set(known);
  const task = makeTask({
    user: '70:71',
    secrets: [
      reference('secret', { name: 'mine', uid: '70', gid: '71', mode: 0o400 }),
      reference('secret', { name: 'roots', mode: 0o400 }),
    ],
    configs: [reference('config', { name: '/etc/site.conf', uid: '0', gid: '71', mode: 0o440 })],
  });
  agent.worker.assign([task], true);
  await agent.until(task.id, 'running');

  const inside = (script: string, ...as: string[]): Promise<string> =>
    dockerd.docker('exec', ...as, taskName(task), 'busybox', 'sh', '-c', script);
  expect(
    await inside("busybox stat -c '%a %u:%g %n' /run/secrets/mine /run/secrets/roots /etc/site.conf"),
  ).toBe(['400 70:71 /run/secrets/mine', '400 0:0 /run/secrets/roots', '440 0:71 /etc/site.conf'].join('\n'));
  expect(await inside('cat /run/secrets/mine; echo; cat /etc/site.conf')).toBe('the secret\nthe config');
  expect(await inside('cat /run/secrets/roots || true')).toBe('');
  expect(await inside('cat /run/secrets/roots', '--user', '0')).toBe('the secret');
  // On the host they are nobody's: neither its user 70 nor any other than root can so much as list them.
  const { uid, gid, mode } = statSync(`${dockerd.tasksDir}/${task.id}`);
  expect([uid, gid, mode & 0o777]).toEqual([remapped.uid, remapped.gid, 0o700]);

  agent.worker.assign([], true);
  await expect.poll(() => existsSync(`${dockerd.tasksDir}/${task.id}`), { timeout: 15_000 }).toBe(false);
  await agent.stop();
});
