/** Containers' logs read from an engine that writes them line by line, goes away within them and comes back. */
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { Server, ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { engineTaskLogs } from '../../../src/controlplane/agent/engine-task-logs.js';
import { Engine } from '../../../src/controlplane/dockerd/client.js';
import type { SubscriptionMessage } from '../../../src/controlplane/rpc/messages.js';
import type { TaskId } from '../../../src/model/ids.js';
import { systemClock } from '../../../src/runtime/clock.js';
import type { Clock } from '../../../src/runtime/clock.js';
import { packed, unpacked } from '../../support/log-lines.js';

let directory: string;
let server: Server;
let path: string;
/** What answers requests for logs, one after the other. */
let answers: ((response: ServerResponse) => void)[];
/** `tail since` of each. */
let asked: string[];
let status: string;

const start = async (): Promise<void> => {
  server = createServer((request, response) => {
    const url = new URL(request.url ?? '', 'http://engine');
    if (url.pathname === '/containers/json') return response.end('[{"Id":"c1","Labels":{}}]');
    if (url.pathname === '/containers/c1/json')
      return response.end(
        JSON.stringify({
          ...{ Id: 'c1', State: { Status: status, Pid: 1 }, Config: { Tty: false, Labels: {} } },
          ...{ NetworkSettings: {}, HostConfig: {} },
        }),
      );
    asked.push(`${url.searchParams.get('tail')} ${url.searchParams.get('since') ?? 'ever'}`);
    response.writeHead(200);
    const answer = answers.shift();
    if (answer) answer(response);
    else response.end();
  });
  await new Promise<void>((done) => server.listen(path, done));
};

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'skep-engine-'));
  path = join(directory, 'docker.sock');
  [answers, asked, status] = [[], [], 'running'];
  await start();
});
afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await rm(directory, { recursive: true });
});

const second = Date.parse('2026-11-21T03:07:00Z') / 1_000;
const line = (number: number): Buffer =>
  packed({ timestamp: `2026-11-21T03:07:00.${String(number).padStart(9, '0')}Z`, text: `${number}\n` });
const behind = (number: number): string => `all ${second}.${String(number + 1).padStart(9, '0')}`;

async function read(
  follow: boolean,
  { clock = systemClock, tail = -1 }: { clock?: Clock; tail?: number } = {},
): Promise<(number | string)[]> {
  const logs = engineTaskLogs(new Engine(`unix://${path}`), async () => undefined, clock);
  const selection = { follow, tail, stdout: true, stderr: true, since: '' } as SubscriptionMessage;
  const seen: (number | string)[] = [];
  try {
    for await (const some of logs('t1' as TaskId, selection, new AbortController().signal))
      seen.push(...unpacked(some).map(({ text }) => Number(text)));
  } catch (err) {
    seen.push((err as Error).message);
  }
  return seen;
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
const say =
  (...numbers: readonly number[]) =>
  (response: ServerResponse) => {
    for (const number of numbers) response.write(line(number));
    return response;
  };

test('lines that come one by one come whole and in order, in a few pieces', async () => {
  answers = [(response) => void say(...upTo(20_000))(response).end()];
  const engine = new Engine(`unix://${path}`);
  const container = { id: 'c1', tty: false };
  const all = { stdout: true, stderr: true, follow: false, tail: -1, since: '' };
  const pieces: Buffer[] = [];
  for await (const some of engine.logs(container, all, new AbortController().signal)) pieces.push(some);
  expect(pieces.flatMap((some) => unpacked(some).map(({ text }) => Number(text)))).toEqual(upTo(20_000));
  expect(pieces.length).toBeLessThan(2_000);
});

test('an engine is read no further than its lines are taken', async () => {
  let written = 0;
  let isFull = false;
  answers = [
    (response) => {
      const on = (): void => {
        while (written < 2_000 && !isFull) {
          isFull = !response.write(packed({ text: 'x'.repeat(16_000) }));
          written += 1;
        }
        if (written === 2_000) return void response.end();
        response.once('drain', () => {
          isFull = false;
          on();
        });
      };
      on();
    },
  ];
  const logs = new Engine(`unix://${path}`).logs(
    { id: 'c1', tty: false },
    { stdout: true, stderr: true, follow: false, tail: -1, since: '' },
    new AbortController().signal,
  );
  let seen = 0;
  for await (const some of logs) {
    // It has stopped when it is at the same place twice.
    if (seen === 0) for (let before = -1; before < written; await systemClock.sleep(50)) before = written;
    if (seen === 0) expect(written * 16_000).toBeLessThan(2 * 1024 * 1024);
    seen += unpacked(some).length;
  }
  expect(seen).toBe(2_000);
});

test('an engine that has said all is read to the end, however slowly', async () => {
  const count = 20_000;
  answers = [
    (response) => {
      let next = 0;
      const on = (): void => {
        while (next < count) if (!response.write(line(next++))) return void response.once('drain', on);
        response.end();
      };
      on();
    },
  ];
  const all = { stdout: true, stderr: true, follow: false, tail: -1, since: '' };
  const seen: number[] = [];
  const engine = new Engine(`unix://${path}`);
  for await (const some of engine.logs({ id: 'c1', tty: false }, all, new AbortController().signal)) {
    seen.push(...unpacked(some).map(({ text }) => Number(text)));
    await systemClock.sleep(5);
  }
  expect(seen).toEqual(upTo(count));
});

test.each([true, false])(
  'an engine that dies within a log goes on behind the last line, following: %s',
  async (follow) => {
    answers = [
      (response) => response.write(line(0), () => setTimeout(() => response.destroy(), 20)),
      (response) => response.destroy(),
      (response) => {
        status = 'exited';
        say(1, 2)(response).end();
      },
    ];
    expect(await read(follow, { tail: 5 })).toEqual([0, 1, 2]);
    expect(asked).toEqual(['5 ever', behind(0), behind(0)]);
  },
);

test('an engine that dies before the first line is asked the same again', async () => {
  answers = [(response) => response.destroy(), (response) => void say(7)(response).end()];
  expect(await read(false, { tail: 5 })).toEqual([7]);
  expect(asked).toEqual(['5 ever', '5 ever']);
});

test('what is followed does not end with an engine that shuts down in order, but with its container', async () => {
  answers = [
    (response) => {
      say(0)(response).end();
      server.close();
      setTimeout(() => void start(), 600);
    },
    (response) => {
      status = 'exited';
      say(1)(response).end();
    },
  ];
  expect(await read(true)).toEqual([0, 1]);
  expect(asked).toEqual(['all ever', behind(0)]);
});

test('a history does not wait for ever for an engine that is away', async () => {
  server.closeAllConnections();
  server.close();
  let nowMs = 0;
  const clock: Clock = {
    nowMs: () => nowMs,
    steadyMs: () => nowMs,
    sleep: async (ms) => void (nowMs += ms),
  };
  expect(await read(false, { clock })).toEqual([expect.stringMatching(/ENOENT|ECONNREFUSED/)]);
  expect(nowMs).toBe(30_250);
  await start();
});

test('a log that the engine cannot read ends at once, with the reason behind what could be read', async () => {
  answers = [
    (response) => {
      say(0)(response);
      const broken = packed({ text: '' });
      const text = Buffer.from('Error grabbing logs: unexpected EOF\n');
      broken[0] = 3;
      broken.writeUInt32BE(text.length, 4);
      response.end(Buffer.concat([broken.subarray(0, 8), text]));
    },
  ];
  expect(await read(false)).toEqual([0, 'unexpected EOF']);
});
