/**
 * The agent's worker against a real Docker Engine: what becomes of tasks without networks. Each test looks at what was
 * reported to the manager and at the engine itself.
 */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { engineTaskLogs } from '../../src/controlplane/agent/engine-task-logs.js';
import { parseAllowance } from '../../src/model/host-access.js';
import type { Task } from '../../src/model/objects.js';
import { taskName } from '../../src/model/objects.js';
import type { ContainerSpec } from '../../src/model/service-spec.js';
import { systemClock } from '../../src/runtime/clock.js';
import { unpacked } from '../support/log-lines.js';
import type { PlainLine } from '../support/log-lines.js';
import { startDockerd } from './agent-dockerd.js';
import type { TestDockerd } from './agent-dockerd.js';
import { askingForMuch, toldBy } from './container-fields.js';
import { makeTask, nodeId, RunningWorker } from './agent-worker.js';

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

/** @param allowed as SKEP_ALLOW */
const startWorker = (allowed = ''): RunningWorker => {
  const agent = new RunningWorker(dockerd.engine, undefined, parseAllowance(allowed));
  agents.push(agent);
  return agent;
};

const sh = (script: string): Partial<ContainerSpec> => ({ args: ['sh', '-c', script] });
const runSteps = ['accepted', 'preparing', 'ready', 'starting', 'running'];

test('a process that ends with 0 makes its task complete', async () => {
  const agent = startWorker();
  const task = makeTask(sh('sleep 0.3'));
  agent.worker.assign([task], true);
  const { report } = await agent.until(task.id, 'complete');
  expect(agent.states(task.id)).toEqual([...runSteps, 'complete']);
  expect(report).toMatchObject({ message: 'finished', container: { pid: 0, exitCode: 0 } });
});

test('another exit code makes it failed, with the code', async () => {
  const agent = startWorker();
  const task = makeTask(sh('exit 3'));
  agent.worker.assign([task], true);
  const { report } = await agent.until(task.id, 'failed');
  expect(report).toMatchObject({ err: 'task: non-zero exit (3)', container: { exitCode: 3 } });
});

test('docker kill is reported within a second', async () => {
  const agent = startWorker();
  const task = makeTask({});
  agent.worker.assign([task], true);
  const running = await agent.until(task.id, 'running');
  expect(running.report.container?.pid).toBeGreaterThan(0);
  await dockerd.docker('kill', taskName(task));
  const killedMs = Date.now();
  const { report, atMs } = await agent.until(task.id, 'failed');
  expect(report).toMatchObject({ err: 'task: non-zero exit (137)', message: 'started' });
  expect(atMs - killedMs).toBeLessThan(1_000);
});

test('an image that cannot be found rejects the task', async () => {
  const agent = startWorker();
  const task = makeTask({ image: 'nosuchimg:1' });
  agent.worker.assign([task], true);
  const { report } = await agent.until(task.id, 'rejected');
  // Swarm says no more than what stands before the second colon.
  const why = /^No such image: nosuchimg:1: .*registry-1\.docker\.io/;
  expect(report).toMatchObject({ message: 'preparing', err: expect.stringMatching(why) as string });
});

test('a command that cannot be found fails at the start, in the words of Swarm', async () => {
  const agent = startWorker();
  const task = makeTask({ command: ['/nosuch'] });
  agent.worker.assign([task], true);
  const { report } = await agent.until(task.id, 'failed');
  expect(report.message).toBe('starting');
  expect(report.err).toMatch(/^starting container failed: .*\/nosuch/);
});

test('desired ready parks a prepared task; running starts it; shutdown stops it with its own signal', async () => {
  const agent = startWorker();
  const task = makeTask(
    { ...sh('trap "exit 0" USR1; while :; do sleep 0.05; done'), stopSignal: 'SIGUSR1' },
    { desiredState: 'ready' },
  );
  agent.worker.assign([task], true);
  await agent.until(task.id, 'ready');
  expect((await dockerd.engine.container(taskName(task)))?.status).toBe('created');
  agent.worker.assign([{ ...task, desiredState: 'running' }], false);
  await agent.until(task.id, 'running');
  agent.worker.assign([{ ...task, desiredState: 'shutdown' }], false);
  const { report } = await agent.until(task.id, 'shutdown');
  expect(report).toMatchObject({ message: 'shutdown', container: { pid: 0, exitCode: 0 } });
});

test('a process that ignores its stop signal is killed after the grace period', async () => {
  const agent = startWorker();
  const task = makeTask({ ...sh('trap "" TERM; while :; do sleep 0.1; done'), stopGracePeriodNs: 1e9 });
  agent.worker.assign([task], true);
  await agent.until(task.id, 'running');
  const askedMs = Date.now();
  agent.worker.assign([{ ...task, desiredState: 'remove' }], false);
  const { report, atMs } = await agent.until(task.id, 'shutdown');
  expect(report.container?.exitCode).toBe(137);
  expect(atMs - askedMs).toBeGreaterThanOrEqual(950);
  expect(atMs - askedMs).toBeLessThan(4_000);
});

test('a task that is deleted takes its container with it', async () => {
  const agent = startWorker();
  const task = makeTask({});
  agent.worker.assign([task], true);
  await agent.until(task.id, 'running');
  agent.worker.assign([], false);
  await expect.poll(() => dockerd.engine.container(taskName(task)), { timeout: 5_000 }).toBeUndefined();
});

test.each([
  ['the manager knows it runs', 'running'],
  ['its last reports were lost', 'preparing'],
] as const)('a restarted agent adopts a container untouched: %s', async (_, known) => {
  const task = makeTask({});
  const first = startWorker();
  first.worker.assign([task], true);
  const { report } = await first.until(task.id, 'running');
  await first.stop();

  const second = startWorker();
  const status = { timestampMs: 0, appliedAtMs: 0, state: known, message: known };
  second.worker.assign([{ ...task, status }], true);
  if (known === 'preparing') {
    const again = await second.until(task.id, 'running');
    expect(again.report.container).toEqual(report.container);
  }
  const container = await dockerd.engine.container(taskName(task));
  expect(container).toMatchObject({ id: report.container?.containerId, pid: report.container?.pid });
  await dockerd.docker('kill', '-s', 'TERM', taskName(task));
  await dockerd.docker('kill', taskName(task));
  expect((await second.until(task.id, 'failed')).report.err).toBe('task: non-zero exit (137)');
});

test('what died while no agent ran is found failed; what no manager knows is removed; others stay', async () => {
  const died = makeTask({});
  const unknown = makeTask({});
  const first = startWorker();
  first.worker.assign([died, unknown], true);
  await Promise.all([first.until(died.id, 'running'), first.until(unknown.id, 'running')]);
  await first.stop();
  await dockerd.docker('kill', taskName(died));
  await dockerd.docker('run', '-d', '--name', 'bystander', 'busybox:test', 'sleep', '600');

  const second = startWorker();
  const status = { timestampMs: 0, appliedAtMs: 0, state: 'running', message: 'started' };
  second.worker.assign([{ ...died, status } as Task], true);
  expect((await second.until(died.id, 'failed')).report.err).toBe('task: non-zero exit (137)');
  await expect.poll(() => dockerd.engine.container(taskName(unknown)), { timeout: 5_000 }).toBeUndefined();
  expect((await dockerd.engine.container('bystander'))?.status).toBe('running');
  await dockerd.docker('rm', '-f', 'bystander');
});

test('a container that is removed behind our back fails its task', async () => {
  const agent = startWorker();
  const task = makeTask({});
  agent.worker.assign([task], true);
  await agent.until(task.id, 'running');
  await dockerd.docker('rm', '-f', taskName(task));
  expect((await agent.until(task.id, 'failed')).report.err).toMatch(
    /^(dockerexec: container destroyed|task: non-zero exit \(137\))$/,
  );
});

test('a task with a health check runs once healthy, and fails when it turns unhealthy', async () => {
  const agent = startWorker();
  const healthcheck = {
    test: ['CMD-SHELL', 'test -e /tmp/ok'],
    intervalNs: 2e8,
    timeoutNs: 1e9,
    startPeriodNs: 0,
    startIntervalNs: 0,
    retries: 2,
  };
  const script = 'trap "exit 5" TERM; touch /tmp/ok; sleep 1.5; rm /tmp/ok; while :; do sleep 0.1; done';
  const task = makeTask({ ...sh(script.replace('touch', '>').replace('rm ', 'busybox rm ')), healthcheck });
  agent.worker.assign([task], true);
  await agent.until(task.id, 'running');
  expect((await dockerd.engine.container(taskName(task)))?.health).toBe('healthy');
  const { report } = await agent.until(task.id, 'failed');
  expect(report.err).toBe('task: non-zero exit (5): dockerexec: unhealthy container');
});

const checked = (test: readonly string[], startPeriodNs = 0) => ({
  ...{ test, intervalNs: 2e8, timeoutNs: 1e9, startPeriodNs, startIntervalNs: 2e8, retries: 1 },
});

test('a task that never becomes healthy fails without having run, whatever its process ends with', async () => {
  const agent = startWorker();
  const process = sh('trap "exit 0" TERM; while :; do sleep 0.1; done');
  const task = makeTask({ ...process, healthcheck: checked(['CMD', 'false']) });
  agent.worker.assign([task], true);
  const { report } = await agent.until(task.id, 'failed');
  expect(report).toMatchObject({
    message: 'starting',
    err: 'task: non-zero exit (0): dockerexec: unhealthy container',
  });
});

test.each<[string, string, ReturnType<typeof checked>]>([
  [
    'fails within its start period',
    'sleep 1; > /tmp/ok; sleep 600',
    checked(['CMD-SHELL', 'test -e /tmp/ok'], 30e9),
  ],
  ['is none', 'sleep 600', checked(['NONE'])],
])('a task runs although its health check %s', async (_, script, healthcheck) => {
  const agent = startWorker();
  const task = makeTask({ ...sh(script), healthcheck });
  agent.worker.assign([task], true);
  const { report } = await agent.until(task.id, 'running');
  expect(report.err).toBeUndefined();
});

test('labels, placeholders and output are those of the task', async () => {
  const agent = startWorker();
  const task = makeTask({
    ...sh('echo "$WHERE"; echo oops >&2; hostname'),
    hostname: '{{.Service.Name}}-{{.Task.Slot}}',
    env: ['WHERE={{.Node.Hostname}} {{index .Service.Labels "tier"}}'],
    labels: { mine: 'yes' },
  });
  agent.worker.assign([task], true);
  await agent.until(task.id, 'complete');
  const container = await dockerd.engine.container(taskName(task));
  expect(container?.labels).toMatchObject({
    mine: 'yes',
    'com.docker.swarm.task': '',
    'com.docker.swarm.task.id': task.id,
    'com.docker.swarm.task.name': taskName(task),
    'com.docker.swarm.node.id': nodeId,
    'com.docker.swarm.service.id': task.serviceId,
    'com.docker.swarm.service.name': 'web',
  });
  const logs = engineTaskLogs(dockerd.engine, async () => undefined, systemClock);
  const selection = {
    id: 's',
    close: false,
    taskIds: [task.id],
    stdout: true,
    stderr: true,
    follow: false,
    tail: -1,
    since: '',
  };
  const lines: string[] = [];
  for await (const line of flat(logs(task.id, selection, new AbortController().signal))) {
    expect(line.timestamp).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/);
    lines.push(`${line.stream} ${line.text.trim()}`);
  }
  expect(lines.sort()).toEqual(['1 host-1 front', `1 web-${task.slot}`, '2 oops']);
});

test('a process sees what its service asks for', async () => {
  const bound = mkdtempSync(join(tmpdir(), 'skep-bound-'));
  try {
    chmodSync(bound, 0o755);
    writeFileSync(join(bound, 'greeting'), 'hello');
    const agent = startWorker('devices=/dev/n*,shm-size');
    const task = makeTask(askingForMuch(bound), {
      serviceLabels: { 'skep.devices': '/dev/null:/dev/mapped:r', 'skep.shm-size': '1m' },
    });
    agent.worker.assign([task], true);
    await agent.until(task.id, 'complete');
    const told = toldBy(await dockerd.docker('logs', taskName(task)));
    const { CapBnd = '', ...others } = told;
    // CAP_CHOWN is bit 0, CAP_NET_ADMIN bit 12.
    expect(BigInt(`0x${CapBnd}`) & 0x1001n).toBe(0x1000n);
    expect(others).toEqual({
      env: 'host-1,',
      hostname: 'web-host',
      directory: '/etc',
      identity: '1000 1001 1001 2000',
      terminal: 'yes',
      root: 'read-only',
      bound: 'hello, read-only',
      limits: '512 1024',
      sysctl: '1',
      oom: '321',
      NoNewPrivs: '1',
      Seccomp: '0',
      '/scratch': expect.stringMatching(/^tmpfs,rw.*size=1024k.*mode=700/) as string,
      '/data': expect.stringMatching(/^tmpfs,rw.*size=2048k/) as string,
      '/dev/shm': expect.stringMatching(/^tmpfs,rw.*size=1024k/) as string,
      host: 'one',
      'dns nameserver': '10.9.8.7',
      'dns search': 'example.org',
      'dns options': 'ndots:3',
      device: '1:3 0',
    });
    const volume = await dockerd.docker('volume', 'inspect', '-f', '{{json .Labels}}', `data-${task.slot}`);
    expect(JSON.parse(volume)).toEqual({ of: 'web' });
  } finally {
    rmSync(bound, { recursive: true });
  }
});

test('all privileges are asked of the engine where they are allowed, and the task is rejected where they are not', async () => {
  const asked = { serviceLabels: { 'skep.privileged': 'true' }, desiredState: 'ready' } as const;
  const [given, refused] = [makeTask({}, asked), makeTask({}, asked)];
  const generous = startWorker('privileged');
  generous.worker.assign([given], true);
  await generous.until(given.id, 'ready');
  // Not started: a machine that has not all capabilities itself could not.
  expect(await dockerd.docker('inspect', '-f', '{{.HostConfig.Privileged}}', taskName(given))).toBe('true');
  await generous.stop();
  const strict = startWorker();
  strict.worker.assign([refused], true);
  const { report } = await strict.until(refused.id, 'rejected');
  expect(report).toMatchObject({ err: 'skep.privileged is not allowed on this node' });
  expect(await dockerd.engine.container(taskName(refused))).toBeUndefined();
});

test('following a task gives its lines as they come', async () => {
  const agent = startWorker();
  const task = makeTask(sh('for i in 1 2 3; do echo $i; sleep 0.2; done; sleep 600'));
  const logs = engineTaskLogs(
    dockerd.engine,
    (id, signal) => agent.worker.untilStarted(id, signal),
    systemClock,
  );
  const selection = {
    id: 's',
    close: false,
    taskIds: [task.id],
    stdout: true,
    stderr: true,
    follow: true,
    tail: -1,
    since: '',
  };
  agent.worker.assign([task], true);
  const enough = new AbortController();
  const seen: string[] = [];
  try {
    for await (const line of flat(logs(task.id, selection, enough.signal))) {
      seen.push(line.text);
      if (seen.length === 3) enough.abort(new Error('enough'));
    }
  } catch (err) {
    if (!enough.signal.aborted) throw err;
  }
  expect(seen).toEqual(['1\n', '2\n', '3\n']);
});

/** Lines that come some at a time, one by one. */
async function* flat(source: AsyncIterable<Buffer>): AsyncGenerator<PlainLine, void> {
  for await (const some of source) yield* unpacked(some);
}
