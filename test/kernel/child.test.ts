/** Tools run in a namespace: what they are given and say, and how they end. */
import { execFileSync } from 'node:child_process';
import { readdirSync, readlinkSync } from 'node:fs';
import { constants } from 'node:os';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { isToolMissing, runTool } from '../../src/dataplane/kernel/child.js';
import type { KernelError } from '../../src/dataplane/kernel/kernel-error.js';
import { native } from '../../src/runtime/native.js';

const name = `skt${process.pid % 100_000}`;
const netns = `/run/netns/${name}`;
beforeAll(() => native().createNetns(netns));
afterAll(() => native().deleteNetns(netns));

const failure = (...command: [string, ...string[]]): Promise<KernelError> =>
  runTool(netns, command, '').then(
    () => expect.fail('it did not fail'),
    (err: KernelError) => err,
  );

test('a tool runs in the namespace, in ours without one, and finds nothing of us open', async () => {
  const shows = ['readlink', '/proc/self/ns/net'] as const;
  const inside = execFileSync('nsenter', [`--net=${netns}`, ...shows]).toString();
  expect(await runTool(netns, shows, '')).toBe(inside);
  expect(await runTool(null, shows, '')).toBe(`${readlinkSync('/proc/self/ns/net')}\n`);
  // What whoever started the tests has left open is everybody's.
  const open = ['ls', '/proc/self/fd'] as const;
  expect(await runTool(netns, open, '')).toBe(execFileSync(open[0], [open[1]]).toString());
  // Node ignores SIGPIPE; the lowest bit is signal 1.
  const ignored = /[0-9a-f]+$/m.exec(await runTool(netns, ['grep', 'SigIgn', '/proc/self/status'], ''))?.[0];
  expect((BigInt(`0x${ignored}`) >> BigInt(constants.signals.SIGPIPE - 1)) & 1n).toBe(0n);
});

test('it is given its input and says as much as it likes', async () => {
  const text = 'add x\n'.repeat(1_000_000);
  expect(await runTool(netns, ['cat'], text)).toBe(text);
  expect(await runTool(netns, ['cat'], '')).toBe('');
});

test('what fails says why', async () => {
  expect(await failure('ls', '/no/such')).toMatchObject({
    code: 'EXIT',
    message: expect.stringMatching(/^ls \/no\/such: EXIT \(status 2: ls: .*No such file/) as string,
  });
  expect((await failure('sh', '-c', 'kill -9 $$')).message).toMatch(/EXIT \(signal 9: \)/);
  const missing = await failure('skep-no-such-tool');
  expect(missing.code).toBe('ENOENT');
  expect(isToolMissing(missing)).toBe(true);
  for (const path of ['/run/netns/skep-none', '/etc/hostname']) {
    const away = await runTool(path, ['true'], '').catch((err: KernelError) => err);
    expect(isToolMissing(away as KernelError), path).toBe(false);
    expect(['ENOENT', 'EINVAL']).toContain((away as KernelError).code);
  }
});

test('many at once leave neither a process nor a descriptor behind', async () => {
  const open = (): number => readdirSync('/proc/self/fd').length;
  const before = open();
  await Promise.all(
    Array.from({ length: 40 }, (_, index) =>
      runTool(netns, ['sh', '-c', `exit ${index % 2}`], '').catch(() => ''),
    ),
  );
  expect(open()).toBe(before);
  expect(execFileSync('ps', ['-o', 'stat=', '--ppid', String(process.pid)]).toString()).not.toMatch(/Z/);
});
