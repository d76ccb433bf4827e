/** How a node joins by scripts/provision.sh: what its API is asked, and that nobody else sees the token. */
import { readFileSync, readdirSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { tryHostCommand } from '../../../src/lab/host-command.js';
import type { CommandResult } from '../../../src/lab/host-command.js';

const script = resolve(import.meta.dirname, '../../../scripts/provision.sh');
const token = `SWMTKN-1-${'a'.repeat(50)}-${'7'.repeat(25)}`;
const other = `SWMTKN-1-${'a'.repeat(50)}-${'8'.repeat(25)}`;

/** A node's API: its state, the requests that change it, and what processes showed of the token meanwhile. */
class FakeApi {
  state = 'inactive';
  refusal = '';
  readonly requests: Array<{ readonly path: string; readonly body: unknown }> = [];
  readonly seen: string[] = [];
  readonly #server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.once('end', () => {
      const path = `${request.method} ${request.url}`;
      const send = (status: number, body: unknown): void => {
        response.writeHead(status, { 'Content-Type': 'application/json' });
        response.end(JSON.stringify(body));
      };
      if (path === 'GET /_ping') send(200, 'OK');
      else if (path === 'GET /info') send(200, { Swarm: { NodeID: '', LocalNodeState: this.state } });
      else if (path === 'GET /swarm') send(200, { JoinTokens: { Worker: other, Manager: token } });
      else {
        this.requests.push({ path, body: JSON.parse(Buffer.concat(chunks).toString()) });
        this.seen.push(...processesThatShow(token));
        if (this.refusal !== '') send(400, { message: this.refusal });
        else {
          this.state = 'active';
          send(200, null);
        }
      }
    });
  });

  listen(socket: string): Promise<void> {
    return new Promise((done) => this.#server.listen(socket, done));
  }

  close(): Promise<void> {
    return new Promise((done) => void this.#server.close(() => done()));
  }
}

/** Command lines and environments of all processes that hold the words. */
const processesThatShow = (words: string): string[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => ['cmdline', 'environ'].map((file) => `/proc/${pid}/${file}`))
    .filter((path) => {
      try {
        return readFileSync(path, 'utf8').includes(words);
      } catch {
        return false; // it has ended, or is another user's
      }
    });

describe('cluster', () => {
  let api: FakeApi;
  let directory = '';
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'skep-provision-'));
    await mkdir(join(directory, 'tmp'));
    api = new FakeApi();
    await api.listen(join(directory, 'socket'));
  });
  afterEach(async () => {
    await api.close();
    await rm(directory, { recursive: true });
  });

  const cluster = async (args: readonly string[], input = ''): Promise<CommandResult> => {
    const settings = [`SKEP_API_SOCKET=${directory}/socket`, `TMPDIR=${directory}/tmp`];
    const result = await tryHostCommand(['env', ...settings, script, 'cluster', ...args], { input });
    expect(readdirSync(join(directory, 'tmp'))).toEqual([]);
    return result;
  };

  test('init: the first manager is reached at the given address', async () => {
    const { exitCode } = await cluster(['init', '192.0.2.11']);
    expect(exitCode).toBe(0);
    expect(api.requests).toEqual([
      { path: 'POST /swarm/init', body: { ListenAddr: '0.0.0.0:2377', AdvertiseAddr: '192.0.2.11' } },
    ]);
  });

  test.each([
    ['manager', token],
    ['worker', other],
  ])('token %s: the token and nothing else', async (role, expected) => {
    expect(await cluster(['token', role])).toEqual({ exitCode: 0, stdout: `${expected}\n`, stderr: '' });
  });

  test('join: the token goes from the input to the API, and is in no list of processes, file or output', async () => {
    const { exitCode, stdout, stderr } = await cluster(['join', '192.0.2.12', '192.0.2.11'], `${token}\n`);
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: '' });
    expect(stderr).not.toContain(token);
    expect(api.requests).toEqual([
      {
        path: 'POST /swarm/join',
        body: {
          ListenAddr: '0.0.0.0:2377',
          AdvertiseAddr: '192.0.2.12',
          RemoteAddrs: ['192.0.2.11:2377'],
          JoinToken: token,
        },
      },
    ]);
    expect(api.seen).toEqual([]);
  });

  test('what would see a token on a command line sees one', async () => {
    const shown = tryHostCommand(['sh', '-c', 'read line', token], { input: '' });
    expect(processesThatShow(token)).not.toEqual([]);
    await shown;
  });

  test.each<[what: string, args: readonly string[], input: string, words: string]>([
    ['no token', ['join', '192.0.2.12', '192.0.2.11'], '', 'no join token on the standard input'],
    [
      'what is no token',
      ['join', '192.0.2.12', '192.0.2.11'],
      'SWMTKN-1-"x\n',
      'standard input is no join token',
    ],
    ['what is no address', ['join', '192.0.2.12', '"'], `${token}\n`, '" is no address'],
    ['what is no address, either', ['init', '192.0.2.12"'], '', 'is no address'],
  ])('%s is refused before anything is asked', async (_, args, input, words) => {
    const { exitCode, stderr } = await cluster(args, input);
    expect(exitCode).toBe(1);
    expect(stderr).toContain(words);
    expect(api.requests).toEqual([]);
  });

  test('a refusal is told in the API’s words, without the token', async () => {
    api.refusal = 'A valid join token is necessary to join this cluster';
    const { exitCode, stderr } = await cluster(['join', '192.0.2.12', '192.0.2.11'], `${token}\n`);
    expect(exitCode).toBe(1);
    expect(stderr).toContain(
      'this node does not join 192.0.2.11: A valid join token is necessary to join this cluster\n',
    );
    expect(stderr).not.toContain(token);
  });

  test('a node that is in a swarm stays there', async () => {
    api.state = 'pending';
    const { exitCode, stderr } = await cluster(['init', '192.0.2.12']);
    expect(exitCode).toBe(1);
    expect(stderr).toContain('this node is in a swarm already, and pending there');
    expect(api.requests).toEqual([]);
  });

  test.each([[['token', 'boss']], [['token']], [['join', '192.0.2.12']], [['rule']], [[]]])(
    'cluster %j makes no sense, and what does is told',
    async (args) => {
      const { exitCode, stderr } = await cluster(args);
      expect(exitCode).toBe(2);
      expect(stderr).toContain('cluster join ADDRESS MANAGER');
      expect(api.requests).toEqual([]);
    },
  );
});

test.each([
  [['install', '/nowhere/skep.deb'], 1, 'there is no package at /nowhere/skep.deb: "npm run package"'],
  [['install'], 2, 'install [--no-fetch] FILE'],
  [['explode'], 2, 'no such step: explode'],
])('provision.sh %j is refused', async (args, code, words) => {
  const { exitCode, stderr } = await tryHostCommand([script, ...args]);
  expect(exitCode).toBe(code);
  expect(stderr).toContain(words);
});
