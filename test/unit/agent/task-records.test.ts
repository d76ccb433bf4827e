/** What a node remembers of its tasks: what is on disk after what happened, and what a start makes of it. */
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { TaskRecord } from '../../../src/controlplane/agent/task-records.js';
import { outlivesReboot, TaskRecords } from '../../../src/controlplane/agent/task-records.js';
import { Sealer, newDataKey } from '../../../src/controlplane/store/seal.js';
import type { AssignmentItems } from '../../../src/controlplane/rpc/assignment.js';
import type { NodeId } from '../../../src/model/ids.js';
import type { Task } from '../../../src/model/objects.js';
import type { TaskState } from '../../../src/model/task-state.js';
import { service, task as taskOf } from '../../support/cluster-objects.js';

const nodeId = 'node1' as NodeId;
const log = pino({ level: 'silent' });
const sealer = new Sealer(newDataKey());
let swarmDir: string;
beforeEach(async () => {
  swarmDir = await mkdtemp(join(tmpdir(), 'skep-records-'));
});
afterEach(() => rm(swarmDir, { recursive: true }));

const records = (bootId = 'boot1', node = nodeId): TaskRecords =>
  new TaskRecords({ swarmDir, nodeId: node, bootId, sealer, log });
const load = (node = nodeId): Promise<TaskRecord | null> => records('boot2', node).load();

const network = {
  networkId: 'net1',
  address: '10.0.1.3',
  prefixLength: 24,
  mac: '02:42:0a:00:01:03',
  aliases: [],
};
const task = (id: string, state: TaskState = 'running', over: Partial<Task> = {}): Task =>
  taskOf(id, service('web'), state, { networks: [network as never], ...over });
const overlay = (id: string): AssignmentItems['overlay'] => ({ id, name: id }) as AssignmentItems['overlay'];
const overlays = (): Map<string, AssignmentItems['overlay']> =>
  new Map([
    ['net1', overlay('net1')],
    ['net2', overlay('net2')],
  ]);

describe('records of tasks', () => {
  test('a start finds what was kept, with what its tasks have reached, on the overlays that they use', async () => {
    const kept = records();
    const [one, two] = [task('t1', 'assigned'), task('t2', 'running')];
    kept.keep([one, two], overlays);
    kept.note(one.id, { timestampMs: 5, state: 'running', message: 'started' });
    await kept.flush();
    expect(await load()).toEqual({
      bootId: 'boot1',
      tasks: [
        { ...one, status: { timestampMs: 5, state: 'running', message: 'started', appliedAtMs: one.status.appliedAtMs } }, // prettier-ignore
        two,
      ],
      overlays: [overlay('net1')],
    });
  });

  test('a manager that is behind takes nothing back; what it no longer names is gone', async () => {
    const kept = records();
    const [one, two] = [task('t1', 'starting'), task('t2')];
    kept.keep([one, two], overlays);
    kept.note(one.id, { timestampMs: 5, state: 'failed', message: 'started', err: 'exit 1' });
    kept.note(one.id, { timestampMs: 6, state: 'running', message: 'late' });
    kept.keep([one], overlays);
    await kept.flush();
    expect((await load())?.tasks.map(({ id, status }) => [id, status.state])).toEqual([['t1', 'failed']]);
  });

  test('a later process goes on with what an earlier one has kept', async () => {
    const first = records();
    const one = task('t1', 'starting');
    first.keep([one], overlays);
    await first.flush();
    const second = records('boot2');
    await second.load();
    second.note(one.id, { timestampMs: 7, state: 'running', message: 'started' });
    await second.flush();
    expect(await load()).toMatchObject({ bootId: 'boot2', tasks: [{ status: { state: 'running' } }], overlays: [overlay('net1')] }); // prettier-ignore
  });

  test('a manager that names no task leaves none', async () => {
    const first = records();
    first.keep([task('t1')], overlays);
    await first.flush();
    const second = records();
    await second.load();
    second.keep([], overlays);
    await second.flush();
    expect((await load())?.tasks).toEqual([]);
  });

  test('no credential reaches the disk, which nobody else may read', async () => {
    const kept = records();
    const one = task('t1');
    const { spec } = one;
    kept.keep(
      [{ ...one, spec: { ...spec, container: { ...spec.container, registryAuth: 'c2VjcmV0' } } }],
      overlays,
    );
    await kept.flush();
    const path = join(swarmDir, 'tasks.sealed');
    const text = await readFile(path, 'utf8');
    const opened = sealer.open('tasks', Buffer.from(text, 'base64')).toString();
    expect(opened).toContain('desiredState');
    expect(opened).not.toMatch(/c2VjcmV0|registryAuth/);
    for (const readable of [text, Buffer.from(text, 'base64').toString('latin1')])
      expect(readable).not.toContain('desiredState');
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  const write = (sealed: Buffer): Promise<void> =>
    writeFile(join(swarmDir, 'tasks.sealed'), sealed.toString('base64'));
  test.each([
    ['absent', async () => undefined],
    ['damaged', () => write(Buffer.from('{"tasks":'))],
    ['of another format', () => write(sealer.seal('tasks', Buffer.from('{"formatVersion":9}')))],
    ['sealed by another key', () => write(new Sealer(newDataKey()).seal('tasks', Buffer.from('{}')))],
  ])('a file that is %s counts as none', async (_name, make) => {
    await make();
    expect(await load()).toBeNull();
  });

  test('the tasks of another node are not this one’s', async () => {
    const kept = records('boot1', 'node9' as NodeId);
    kept.keep([task('t1')], overlays);
    await kept.flush();
    expect(await load()).toBeNull();
  });
});

const none = { condition: 'none', delayNs: 0, maxAttempts: 0, windowNs: 0 } as const;
const fates: Array<[name: string, task: Task, outlives: boolean]> = [
  ['one that ran', task('t', 'running'), true],
  ['one that was being started', task('t', 'starting'), true],
  ['one that had yet to be started', task('t', 'ready'), false],
  ['one that had ended', task('t', 'complete'), false],
  ['one that had failed', task('t', 'failed'), false],
  ['one that was to be stopped', task('t', 'running', { desiredState: 'shutdown' }), false],
  ['one that is never restarted', task('t', 'running', { spec: { ...task('t').spec, restartPolicy: none } }), false], // prettier-ignore
];
test.each(fates)('a reboot: %s is started again: %s', (_name, one, outlives) => {
  expect(outlivesReboot(one)).toBe(outlives);
});
