/** A task's secrets and configs on its node: as files in memory, right, whole, and only for as long as they are needed. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { statfsSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { HostPayloadFiles } from '../../../src/controlplane/agent/payload-files.js';
import { containerRoot, NodePayloads, TaskPayloads } from '../../../src/controlplane/agent/task-payloads.js';
import type { EngineInfo } from '../../../src/controlplane/dockerd/client.js';
import type { Assignment } from '../../../src/controlplane/rpc/assignment.js';
import { applyChanges } from '../../../src/controlplane/rpc/assignment.js';
import type { TaskId } from '../../../src/model/ids.js';
import type { PayloadKind } from '../../../src/model/payloads.js';
import { targetPath } from '../../../src/model/payloads.js';
import { SecretBytes } from '../../../src/model/secret-bytes.js';
import { reference, service, task, taskSpec } from '../../support/cluster-objects.js';

let memory: string;
beforeEach(() => {
  memory = mkdtempSync('/dev/shm/skep-payloads-');
});
afterEach(() => rmSync(memory, { recursive: true, force: true }));

const never = new AbortController().signal;
const t1 = 't1' as TaskId;
const info = {} as EngineInfo;
const uid = process.getuid?.() ?? 0;
const gid = process.getgid?.() ?? 0;
const own = { uid: String(uid), gid: String(gid) };

const item = (kind: PayloadKind, id: string, content: string, templating = ''): Assignment => ({
  kind,
  item: { id, data: new SecretBytes(Buffer.from(content)), templating },
});
const assigned = (...assignments: Assignment[]): Map<string, Assignment> =>
  applyChanges(
    new Map(),
    assignments.map((assignment) => ({ remove: false, assignment })),
  );

const template = taskSpec();
const web = service('web', {
  taskTemplate: {
    ...template,
    container: {
      ...template.container,
      secrets: [
        reference('s1', { ...own, mode: 0o400 }),
        reference('s1', { ...own, name: '/etc/s1', mode: 0o1644 }),
      ],
      configs: [reference('c1', { ...own, name: 'etc/../c1' })],
    },
  },
});
const parts = (payloads: NodePayloads, directory = memory) => ({
  engine: { info: async () => info },
  payloads,
  payloadFiles: new HostPayloadFiles(directory),
  node: () => ({ id: 'n1', hostname: 'host-1', platform: { architecture: '', os: '' } }),
});
const all = assigned(
  item('secret', 's1', 'one'),
  item('config', 'c1', '{{ secret "s1" }} on {{ .Node.ID }}', 'golang'),
);
const contents = (): Record<string, string> =>
  Object.fromEntries(
    readdirSync(join(memory, 't1')).map((name) => {
      const path = join(memory, 't1', name);
      const { mode, uid: owner, gid: group } = statSync(path);
      expect([owner, group]).toEqual([uid, gid]);
      return [name, `${(mode & 0o7777).toString(8)} ${readFileSync(path, 'utf8')}`];
    }),
  );

test('files with mode and owner, where the container is to have them', async () => {
  const payloads = new NodePayloads();
  payloads.set(all);
  const ofTask = new TaskPayloads(task('t1', web, 'preparing'), parts(payloads));
  await ofTask.ensure(never);
  expect(contents()).toEqual({ 'secret-0': '400 one', 'secret-1': '644 one', 'config-0': '444 one on n1' });
  expect(statSync(join(memory, 't1')).mode & 0o777).toBe(0o700);
  expect(ofTask.mounts()).toEqual([
    { source: `${memory}/t1/secret-0`, target: '/run/secrets/s1' },
    { source: `${memory}/t1/secret-1`, target: '/etc/s1' },
    { source: `${memory}/t1/config-0`, target: '/c1' },
  ]);
  await ofTask.remove();
  expect(readdirSync(memory)).toEqual([]);
});

test('what a task was given once stays, whatever becomes of it elsewhere', async () => {
  const payloads = new NodePayloads();
  payloads.set(all);
  await new TaskPayloads(task('t1', web, 'preparing'), parts(payloads)).ensure(never);
  // Another agent, which no manager has told anything yet.
  await new TaskPayloads(task('t1', web, 'starting'), parts(new NodePayloads())).ensure(never);
  payloads.set(assigned(item('secret', 's1', 'two'), item('config', 'c1', 'two')));
  await new TaskPayloads(task('t1', web, 'starting'), parts(payloads)).ensure(never);
  expect(contents()).toMatchObject({ 'secret-0': '400 one' });
});

test('before a manager has spoken a task waits; what the manager does not know fails it', async () => {
  const payloads = new NodePayloads();
  const ofTask = new TaskPayloads(task('t1', web, 'preparing'), parts(payloads));
  const gone = ofTask.ensure(never);
  const given = new AbortController();
  const givenUp = ofTask.ensure(given.signal);
  given.abort(new Error('no longer wanted'));
  await expect(givenUp).rejects.toThrow('no longer wanted');
  expect(readdirSync(memory)).toEqual([]);
  payloads.set(assigned(item('secret', 's1', 'one')));
  await expect(gone).rejects.toMatchObject({
    kind: 'failedPrecondition',
    message: 'config c1 is gone, or more than this node can be told',
  });
  expect(readdirSync(memory), 'nothing half done').toEqual([]);
});

test('a task without any asks nobody', async () => {
  const ofTask = new TaskPayloads(
    task('t1', service('plain'), 'preparing'),
    parts(new NodePayloads(), '/nonexistent'),
  );
  await ofTask.ensure(never);
  await ofTask.remove();
  expect(ofTask.mounts()).toEqual([]);
});

test('a disk is never written to', async (context) => {
  const disk = mkdtempSync(join(tmpdir(), 'skep-payloads-'));
  try {
    if (statfsSync(disk).type === statfsSync(memory).type) context.skip(`${tmpdir()} is in memory here`);
    const files = new HostPayloadFiles(join(disk, 'tasks'));
    const put = files.put(t1, [{ name: 'secret-0', data: Buffer.from('one'), uid, gid, mode: 0o444 }], {
      uid: 0,
      gid: 0,
    });
    await expect(put).rejects.toMatchObject({ kind: 'failedPrecondition' });
    expect(readdirSync(join(disk, 'tasks'))).toEqual([]);
  } finally {
    rmSync(disk, { recursive: true, force: true });
  }
});

test('an interrupted write is begun anew, is listed, and goes with its task', async () => {
  const files = new HostPayloadFiles(memory);
  mkdirSync(join(memory, 't1.new'));
  mkdirSync(join(memory, 't2'));
  expect((await files.list()).sort()).toEqual(['t1', 't2']);
  expect(await files.has(t1)).toBe(false);
  const file = { name: 'secret-0', data: Buffer.from('one'), uid: 0, gid: 0, mode: 0o444 };
  await files.put(t1, [file], { uid, gid });
  expect(readdirSync(memory).sort()).toEqual(['t1', 't2']);
  await files.remove(t1);
  await files.remove('t2' as TaskId);
  expect(await files.list()).toEqual([]);
  expect(await new HostPayloadFiles(join(memory, 'none')).list()).toEqual([]);
});

test.each([
  [{}, 0],
  [{ SecurityOptions: ['name=seccomp,profile=default'], DockerRootDir: '/var/lib/docker/5.5' }, 0],
  [{ SecurityOptions: ['name=userns'], DockerRootDir: '/var/lib/docker/100000.100000' }, 100_000],
])("the containers' root by %j", (said, expected) => {
  expect(containerRoot(said as EngineInfo)).toEqual({ uid: expected, gid: expected });
});

test.each<[PayloadKind, string, string]>([
  ['secret', 'a', '/run/secrets/a'],
  ['config', 'a', '/a'],
  ['secret', 'a/b', '/run/secrets/a/b'],
  ['secret', '/a//b/', '/a/b'],
  ['secret', '../../../../a', '/a'],
  ['config', './a/./b', '/a/b'],
])('a %s named %s is at %s', (kind, name, path) => {
  expect(targetPath(kind, name)).toBe(path);
});
