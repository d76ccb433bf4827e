/** Images that only some may pull: a task brings its own credentials, the engine asks the registry, and refuses in its own words. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/lab.js';
import { password, registryConfig, registryUsers, user } from '../support/registry.js';
import { startDockerd } from './agent-dockerd.js';
import type { TestDockerd } from './agent-dockerd.js';
import { RunningWorker, makeTask } from './agent-worker.js';

/** Engines take a registry on loopback without TLS. */
const registry = '127.0.0.1:5000';
const image = `${registry}/private/app:1`;
/** As clients send it: with padding, without which the engine takes it for none. */
const auth = (secret: string): string =>
  Buffer.from(JSON.stringify({ username: user, password: secret, serveraddress: registry }))
    .toString('base64')
    .replaceAll('+', '-')
    .replaceAll('/', '_');

let directory: string;
let dockerd: TestDockerd;
let server: ChildProcess;
const docker = (...words: string[]): Promise<string> =>
  dockerd.docker('--config', join(directory, 'client'), ...words);

/** Pushes another image by the same name. @returns its digest */
async function push(content: string): Promise<string> {
  await docker('import', '--message', content, '--change', `ENV CONTENT=${content}`, join(directory, 'root.tar'), image); // prettier-ignore
  const pushed = await docker('push', image);
  await docker('image', 'rm', image);
  return /digest: (sha256:[0-9a-f]{64})/.exec(pushed)?.[1] ?? expect.fail(pushed);
}

/** Runs a task until it is in that state. @returns what its image holds, or why it was rejected */
async function run(container: Parameters<typeof makeTask>[0], state: string): Promise<string> {
  const agent = new RunningWorker(dockerd.engine);
  const task = makeTask({ command: ['/bin/env'], args: [], ...container });
  agent.worker.assign([task], true);
  const { report } = await agent.until(task.id, state);
  if (state === 'rejected') {
    await agent.stop();
    return report.err ?? '';
  }
  const said = await docker('logs', report.container?.containerId ?? '');
  agent.worker.assign([], true);
  await agent.stop();
  return /CONTENT=(.*)/.exec(said)?.[1] ?? said;
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'skep-registry-'));
  dockerd = await startDockerd();
  writeFileSync(join(directory, 'htpasswd'), registryUsers);
  writeFileSync(join(directory, 'config.yml'), registryConfig(directory));
  const argv = [
    `--net=/proc/${dockerd.pid}/ns/net`,
    'docker-registry',
    'serve',
    join(directory, 'config.yml'),
  ];
  server = spawn('nsenter', argv, { stdio: 'ignore' });
  mkdirSync(join(directory, 'client'));
  const login = { auths: { [registry]: { auth: Buffer.from(`${user}:${password}`).toString('base64') } } };
  writeFileSync(join(directory, 'client/config.json'), JSON.stringify(login));
  const container = await docker('create', 'busybox:test', 'true');
  await docker('export', '-o', join(directory, 'root.tar'), container);
  await docker('rm', container);
  await eventually('the registry answers', 30_000, () => push('first'), () => undefined); // prettier-ignore
});

afterAll(async () => {
  if (server.exitCode === null) {
    const ended = once(server, 'exit');
    server.kill();
    await ended;
  }
  await dockerd?.[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true, force: true });
});

test('without credentials, or with wrong ones, the task is rejected in the words of the engine and its registry', async () => {
  expect(await run({ image }, 'rejected')).toBe(
    `No such image: ${image}: Head "http://${registry}/v2/private/app/manifests/1": no basic auth credentials`,
  );
  expect(await run({ image, registryAuth: auth('guessed') }, 'rejected')).toBe(
    `No such image: ${image}: unauthorized: authentication required`,
  );
});

test('with the right ones it runs; a tag that names another image by now is pulled again, a digest is not', async () => {
  const registryAuth = auth(password);
  expect(await run({ image, registryAuth }, 'complete')).toBe('first');
  const first = await docker('image', 'inspect', '-f', '{{index .RepoDigests 0}}', image);
  const second = await push('second');
  expect(await run({ image, registryAuth }, 'complete')).toBe('second');
  expect(await run({ image: `${image}@${second}`, registryAuth }, 'complete')).toBe('second');
  // It is here, so nobody asks whether this task might pull it.
  expect(await run({ image: first.replace('@', ':1@') }, 'complete')).toBe('first');
});
