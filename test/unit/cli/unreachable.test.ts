/** What is said of a daemon that gives no answer, by what its socket says of why. */
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { trace } from '../../../src/cli/trace.js';
import { observeSocket, unreachable } from '../../../src/cli/unreachable.js';
import { status, verify } from '../../../src/cli/verify.js';
import type { CommandError } from '../../../src/cli/command.js';

const at = { daemon: 'skep-dataplane', socketPath: '/run/skep/dataplane.sock' } as const;

test.each([
  [
    'ENOENT',
    /there is no such socket$/,
    /does not run on this host/,
    /systemctl start skep-dataplane.*SKEP_RUN_DIR/,
  ],
  [
    'ECONNREFUSED',
    /nobody listens$/,
    /has ended/,
    /systemctl start skep-dataplane.*journalctl -u skep-dataplane/,
  ],
  ['EACCES', /permission denied$/, /root alone/, /sudo/],
  ['open', /deadline exceeded$/, /runs and did not answer/, /Try again.*journalctl/],
  ['ENOTSOCK', /deadline exceeded$/, /cannot be used \(ENOTSOCK\)/, /systemctl status skep-dataplane/],
])('%s', (state, what, means, todo) => {
  const said = unreachable(at, state, 'deadline exceeded');
  expect(said.what).toMatch(/^skep-dataplane at \/run\/skep\/dataplane\.sock gives no answer: /);
  expect(said.what).toMatch(what);
  expect(said.advice.means).toMatch(means);
  expect(said.advice.todo).toMatch(todo);
});

test('the socket of skepd is for its group, too', () => {
  const { advice } = unreachable({ ...at, daemon: 'skepd' }, 'EACCES', '');
  expect(advice.means).toMatch(/SKEP_GROUP/);
});

describe('a socket', () => {
  let directory: string;
  const path = (): string => join(directory, 'dataplane.sock');
  beforeEach(async () => void (directory = await mkdtemp(join(tmpdir(), 'skep-cli-'))));
  afterEach(() => rm(directory, { recursive: true }));

  test('that is not there, is no socket, has nobody behind it, or somebody', async () => {
    expect(await observeSocket(path())).toBe('ENOENT');
    await writeFile(path(), '');
    expect(await observeSocket(path())).toBe('ECONNREFUSED');
    await rm(path());
    // A process that is killed leaves its socket.
    const listen = `require('node:net').createServer().listen(${JSON.stringify(path())}, () => process.kill(process.pid, 'SIGKILL'))`;
    expect(() => execFileSync(process.execPath, ['-e', listen], { stdio: 'ignore' })).toThrow();
    expect(await observeSocket(path())).toBe('ECONNREFUSED');
    await rm(path());
    const server = createServer().listen(path());
    await new Promise((resolve) => server.once('listening', resolve));
    expect(await observeSocket(path())).toBe('open');
    await new Promise((resolve) => server.close(resolve));
  });

  test.each([
    ['verify', verify, []],
    ['status', status, ['--json']],
    ['trace', trace, ['web']],
  ])('that is not there is why skep %s cannot tell: exit code 2', async (_name, run, args) => {
    const terminal = {
      out: () => expect.unreachable(),
      err: () => undefined,
      env: { SKEP_RUN_DIR: directory },
    };
    const error = await run(args, terminal).catch((cause: unknown) => cause as CommandError);
    expect(error).toMatchObject({
      exitCode: 2,
      message: `skep-dataplane at ${path()} gives no answer: there is no such socket`,
    });
  });
});
