/** Secrets and configs on a real Docker Engine, seen from inside a container and from the host. */
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { Assignment } from '../../src/controlplane/rpc/assignment.js';
import { applyChanges } from '../../src/controlplane/rpc/assignment.js';
import type { Task } from '../../src/model/objects.js';
import { taskName } from '../../src/model/objects.js';
import type { PayloadKind } from '../../src/model/payloads.js';
import { SecretBytes } from '../../src/model/secret-bytes.js';
import type { ContainerSpec } from '../../src/model/service-spec.js';
import { reference } from '../support/cluster-objects.js';
import { startDockerd } from './agent-dockerd.js';
import type { TestDockerd } from './agent-dockerd.js';
import { makeTask, RunningWorker } from './agent-worker.js';

let dockerd: TestDockerd;
const agents: RunningWorker[] = [];

beforeAll(async () => {
  dockerd = await startDockerd();
});
afterEach(async () => {
  await Promise.all(agents.splice(0).map((agent) => agent.stop()));
});
afterAll(async () => {
  await dockerd[Symbol.asyncDispose]();
});

const soon = { timeout: 15_000, interval: 50 };
const password = 'THE-PASSWORD';

const item = (kind: PayloadKind, id: string, content: string, templating = ''): Assignment => ({
  kind,
  item: { id, data: new SecretBytes(Buffer.from(content)), templating },
});
const known = applyChanges(
  new Map(),
  [
    item('secret', 'password', password),
    item('config', 'site', 'password={{ secret "db/password" }} of {{ .Task.Slot }}', 'golang'),
  ].map((assignment) => ({ remove: false, assignment })),
);

/** @param told whether a manager has said what there is */
const startWorker = (told = true): RunningWorker => {
  const agent = new RunningWorker(dockerd.engine, undefined, undefined, dockerd.tasksDir);
  if (told) agent.payloads.set(known);
  agents.push(agent);
  return agent;
};

const given: Partial<ContainerSpec> = {
  user: '70:71',
  readOnly: true,
  env: ['PASSWORD_FILE=/run/secrets/db/password'],
  secrets: [
    reference('password', { name: 'db/password', uid: '70', gid: '71', mode: 0o400 }),
    reference('password', { name: '/etc/root-only', mode: 0o400 }),
  ],
  configs: [reference('site', { name: '/etc/site/site.conf', uid: '0', gid: '71', mode: 0o640 })],
};
const container = (task: Task): string => taskName(task);
const inside = (task: Task, script: string): Promise<string> =>
  dockerd.docker('exec', container(task), 'busybox', 'sh', '-c', script);

test('files in memory, with their owner and mode, and nowhere else', async () => {
  const agent = startWorker();
  const task = makeTask(given);
  agent.worker.assign([task], true);
  await agent.until(task.id, 'running');

  expect(await inside(task, 'cat $PASSWORD_FILE')).toBe(password);
  expect(await inside(task, 'cat /etc/site/site.conf')).toBe(`password=${password} of ${task.slot}`);
  const files = '/run/secrets/db/password /etc/root-only /etc/site/site.conf';
  expect(await inside(task, `busybox stat -c '%a %u:%g %n' ${files}`)).toBe(
    ['400 70:71 /run/secrets/db/password', '400 0:0 /etc/root-only', '640 0:71 /etc/site/site.conf'].join(
      '\n',
    ),
  );
  expect(await inside(task, 'cat /etc/root-only; true')).not.toContain(password);
  const writing = await inside(task, 'echo x > /run/secrets/db/password').catch((err: unknown) =>
    String(err),
  );
  expect(writing).toMatch(/Read-only file system|Permission denied/);
  const mounts = (await inside(task, 'cat /proc/mounts')).split('\n').map((line) => line.split(' '));
  for (const file of files.split(' ')) {
    const [, , type, options = ''] = mounts.find(([, target]) => target === file) ?? [];
    expect([file, type, options.split(',')[0]]).toEqual([file, 'tmpfs', 'ro']);
  }

  for (const words of [
    ['inspect', container(task)],
    ['diff', container(task)],
    ['logs', container(task)],
  ])
    expect(await dockerd.docker(...words)).not.toContain(password);
});

test('they outlive the agent, and go with the process', async () => {
  const task = makeTask(given);
  const first = startWorker();
  first.worker.assign([task], true);
  await first.until(task.id, 'running');
  await first.stop();

  // Another one, which no manager has told of anything: the files are there still.
  const second = startWorker(false);
  second.worker.resume([{ ...task, status: { ...task.status, state: 'running' } }], new Set());
  expect(await inside(task, 'cat $PASSWORD_FILE')).toBe(password);
  await dockerd.docker('kill', container(task));
  await second.until(task.id, 'failed');
  await expect.poll(() => existsSync(`${dockerd.tasksDir}/${task.id}`), soon).toBe(false);
});

test('what an agent that was killed has left behind is removed with the first word of a manager', async () => {
  const gone = makeTask(given);
  const first = startWorker();
  first.worker.assign([gone], true);
  await first.until(gone.id, 'running');
  await first.stop();
  const second = startWorker();
  second.worker.assign([], true);
  await expect.poll(() => readdirSync(dockerd.tasksDir), soon).toEqual([]);
  expect(await dockerd.engine.container(container(gone))).toBeUndefined();
});

test('a machine that was started anew waits for a manager to say what they hold', async () => {
  const task = makeTask(given);
  const first = startWorker();
  first.worker.assign([task], true);
  await first.until(task.id, 'running');
  await first.stop();
  await dockerd.docker('kill', container(task));
  const files = `${dockerd.tasksDir}/${task.id}`;
  rmSync(files, { recursive: true });

  const second = startWorker(false);
  const running: Task = { ...task, status: { ...task.status, state: 'running' } };
  second.worker.resume([running], new Set([task.id]));
  await expect.poll(() => second.worker.runner(task.id)?.state, soon).toBe('starting');
  expect(existsSync(files)).toBe(false);
  second.payloads.set(known);
  await second.until(task.id, 'running');
  expect(await inside(task, 'cat $PASSWORD_FILE')).toBe(password);
});

test('a task with a secret that is gone is rejected, and says which', async () => {
  const agent = startWorker();
  const task = makeTask({ secrets: [reference('nope')] });
  agent.worker.assign([task], true);
  const { report } = await agent.until(task.id, 'rejected');
  expect(report.err).toBe('secret nope is gone, or more than this node can be told');
  expect(existsSync(`${dockerd.tasksDir}/${task.id}`)).toBe(false);
});
