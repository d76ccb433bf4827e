/** `docker service logs` and those of tasks as clients get them; statuses and texts as recorded from dockerd 20.10.24. */
import { once } from 'node:events';
import { request } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ServiceId, TaskId } from '../../../src/model/ids.js';
import type { TaskLines } from '../../../src/controlplane/task-logs.js';
import { packed } from '../../support/log-lines.js';
import { Harness, nodeId, taskOf } from './harness.js';

let api: Harness;
beforeEach(async () => {
  api = await Harness.start();
});
afterEach(async () => {
  await api[Symbol.asyncDispose]();
});

describe('logs', () => {
  const timestamp = '2026-11-21T03:07:14.127641534Z';
  const line = (stream: 1 | 2, text: string, details = ''): TaskLines => ({
    ...{ taskId: 'task1' as TaskId, nodeId },
    packed: packed({ stream, timestamp, details, text }),
  });
  const ready = async (container: object = {}): Promise<string> => {
    const id = await api.createService({
      Name: 'web',
      TaskTemplate: { ContainerSpec: { Image: 'b', ...container } },
    });
    await api.store.update((tx) => tx.create('task', taskOf(tx.get('service', id as ServiceId)!, 'task1')));
    api.lines = async function* () {
      yield [line(1, 'out1\n', 'b+c=x%3Dy'), line(2, 'err1\n')];
    };
    return id;
  };
  const frames = (data: Buffer): [number, string][] => {
    const found: [number, string][] = [];
    for (let at = 0; at < data.length;) {
      const size = data.readUInt32BE(at + 4);
      found.push([data[at] ?? 0, data.toString('utf8', at + 8, at + 8 + size)]);
      at += 8 + size;
    }
    return found;
  };

  test('are framed, one frame a line', async () => {
    await ready();
    const reply = await api.call('GET', '/services/web/logs?stdout=1&stderr=1');
    expect(reply.headers['content-type'], '20.10 sends none').toBeUndefined();
    expect(frames(reply.bytes)).toEqual([
      [1, 'out1\n'],
      [2, 'err1\n'],
    ]);
  });

  test('carry timestamps and sorted, escaped details', async () => {
    const id = await ready();
    const reply = await api.call('GET', '/tasks/task1/logs?stdout=1&details=1&timestamps=1');
    const swarm = `com.docker.swarm.node.id=${nodeId},com.docker.swarm.service.id=${id},com.docker.swarm.task.id=task1`;
    expect(frames(reply.bytes)[0]).toEqual([1, `${timestamp} b+c=x%3Dy,${swarm} out1\n`]);
  });

  test('of a terminal are raw', async () => {
    await ready({ TTY: true });
    expect((await api.call('GET', '/services/web/logs?stdout=1&stderr=1')).text).toBe('out1\nerr1\n');
  });

  test('that break off say why', async () => {
    await ready();
    api.lines = async function* () {
      yield [line(1, 'x\n')];
      throw new Error('node gone');
    };
    expect(frames((await api.call('GET', '/services/web/logs?stdout=1')).bytes)).toEqual([
      [1, 'x\n'],
      [3, 'Error grabbing logs: node gone\n'],
    ]);
  });

  test('end when the client goes', async () => {
    await ready();
    let ended!: () => void;
    const aborted = new Promise<void>((resolve) => (ended = resolve));
    api.lines = async function* (_, __, signal) {
      yield [line(1, 'x\n')];
      await once(signal, 'abort');
      ended();
    };
    const call = request({
      socketPath: api.socketPath,
      path: '/services/web/logs?stdout=1&follow=1',
      agent: false,
    });
    call.end();
    await once(((await once(call, 'response')) as [IncomingMessage])[0], 'data');
    call.destroy();
    await aborted;
  });

  test.each<[path: string, status: number, message: string]>([
    ['/services/web/logs', 500, 'Bad parameters: you must choose at least one stream'],
    ['/services/web/logs?stdout=1&tail=x', 500, 'tail value must be a positive integer or "all"'],
    ['/services/web/logs?stdout=1&tail=-3', 500, 'negative tail values not supported'],
    [
      '/services/web/logs?stdout=1&since=x',
      500,
      'could not parse since timestamp: strconv.ParseInt: parsing "x": invalid syntax',
    ],
    ['/services/zz/logs?stdout=1&tail=x', 404, 'service zz not found'],
    ['/tasks/zz/logs?stdout=1', 404, 'task zz not found'],
  ])('%s', async (path, status, message) => {
    await ready();
    const reply = await api.call('GET', path);
    expect([reply.status, reply.json]).toEqual([status, { message }]);
  });
});
