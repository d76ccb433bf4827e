/** The end of a process, as the kernel tells of it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { watchHostProcess } from '../../src/controlplane/agent/process-watch.js';
import { createLog } from '../../src/runtime/log.js';

const log = createLog('test');
log.level = 'silent';
const watch = watchHostProcess(log);

/** A process that is no child of this one. */
async function stranger(): Promise<number> {
  const shell = spawn('sh', ['-c', 'sleep 60 >/dev/null 2>&1 & echo $!'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [said] = (await once(shell.stdout, 'data')) as [Buffer];
  await once(shell, 'exit');
  return Number(said.toString());
}

test('of a process that is nobody’s child here it tells once, at once, and uses no processor afterwards', async () => {
  const pid = await stranger();
  let ends = 0;
  using _watch = watch(pid, () => (ends += 1));
  await delay(50);
  expect(ends).toBe(0);
  const killedMs = performance.now();
  process.kill(pid, 'SIGKILL');
  await expect.poll(() => ends, { interval: 1 }).toBe(1);
  expect(performance.now() - killedMs).toBeLessThan(1_000);
  const before = process.cpuUsage();
  await delay(200);
  const { user, system } = process.cpuUsage(before);
  expect(ends).toBe(1);
  expect((user + system) / 1_000).toBeLessThan(150);
});

/** @param fd of this process; the kernel names what it is of */
const isProcess = (fd: string): boolean => {
  try {
    return /pidfd/.test(readlinkSync(`/proc/self/fd/${fd}`));
  } catch {
    return false;
  }
};

test('of one that is disposed of, it tells nothing, and holds no descriptor', async () => {
  const pid = await stranger();
  const descriptors = (): number => readdirSync('/proc/self/fd').filter(isProcess).length;
  const before = descriptors();
  let ends = 0;
  const watches = Array.from({ length: 50 }, () => watch(pid, () => (ends += 1)));
  expect(descriptors()).toBe(before + 50);
  for (const one of watches) one[Symbol.dispose]();
  await expect.poll(descriptors).toBe(before);
  process.kill(pid, 'SIGKILL');
  await delay(50);
  expect(ends).toBe(0);
});

test('one that has ended already is told of soon, none never', async () => {
  const child = spawn('true');
  await once(child, 'exit');
  let ends = 0;
  using _watch = watch(child.pid ?? 0, () => (ends += 1));
  using _none = watch(0, () => (ends += 100));
  expect(ends).toBe(0);
  await expect.poll(() => ends, { interval: 1 }).toBe(1);
  const disposed = watch(child.pid ?? 0, () => (ends += 1));
  disposed[Symbol.dispose]();
  await delay(20);
  expect(ends).toBe(1);
});
