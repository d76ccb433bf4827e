/** What is not the swarm's: the bytes between client and engine, in both directions and to the end. */
import { once } from 'node:events';
import { request } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { AnsweredRequest } from '../../../src/controlplane/api/server.js';
import { Collector, Harness } from './harness.js';

let api: Harness;
beforeEach(async () => {
  api = await Harness.start();
});
afterEach(async () => {
  await api[Symbol.asyncDispose]();
});

const open = (method: string, path: string, headers: Record<string, string> = {}) =>
  request({ socketPath: api.socketPath, method, path, headers, agent: false });
const answer = async (call: ReturnType<typeof open>): Promise<IncomingMessage> =>
  ((await once(call, 'response')) as [IncomingMessage])[0];
const text = async (stream: AsyncIterable<Buffer>): Promise<string> => {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
};

describe('requests', () => {
  test('arrive as they were sent, and so do answers', async () => {
    api.behaviour = (received, reply) => {
      void text(received).then((body) => {
        reply.writeHead(418, 'teapot', { 'X-One': 'Two', 'Content-Type': 'x/y' });
        reply.end(
          JSON.stringify({ method: received.method, url: received.url, headers: received.headers, body }),
        );
      });
    };
    const reply = await api.call('PUT', '/v1.41/volumes/x%2Fy?version=1&a=b%20c', 'the body', {
      'X-Thing': 'kept',
    });
    expect(reply).toMatchObject({ status: 418, headers: { 'x-one': 'Two', 'content-type': 'x/y' } });
    expect(reply.json).toMatchObject({
      method: 'PUT',
      url: '/v1.41/volumes/x%2Fy?version=1&a=b%20c',
      headers: { 'x-thing': 'kept', 'content-length': '8' },
      body: 'the body',
    });
  });

  test('a POST without a body stays one', async () => {
    api.behaviour = (received, reply) => reply.end(JSON.stringify(received.headers));
    const call = open('POST', '/containers/x/stop');
    call.removeHeader('transfer-encoding');
    call.setHeader('Content-Length', '0');
    call.end();
    expect(JSON.parse(await text(await answer(call)))).toMatchObject({ 'content-length': '0' });
  });

  test('chunks pass as they come, both ways, unbuffered', async () => {
    api.behaviour = (received, reply) => {
      reply.writeHead(200);
      reply.flushHeaders();
      received.on('data', (chunk: Buffer) => reply.write(`<${chunk.toString()}>`));
      received.on('end', () => reply.end());
    };
    const call = open('POST', '/build', { 'Transfer-Encoding': 'chunked' });
    call.flushHeaders();
    const reply = await answer(call);
    for (const part of ['one', 'two', 'three']) {
      call.write(part);
      // Lock-step: each part must come back before the next is sent.
      const [chunk] = (await once(reply, 'data')) as [Buffer];
      expect(chunk.toString()).toBe(`<${part}>`);
    }
    call.end();
    await once(reply, 'end');
  });

  test('a client that reads slowly slows the engine down', async () => {
    const total = 64 * 1024 * 1024;
    let written = 0;
    api.behaviour = (_, reply) => {
      const chunk = Buffer.alloc(64 * 1024);
      const fill = (): void => {
        while (written < total) {
          written += chunk.length;
          if (!reply.write(chunk)) return void reply.once('drain', fill);
        }
        reply.end();
      };
      fill();
    };
    const call = open('GET', '/images/x/get');
    call.end();
    const reply = await answer(call);
    reply.pause();
    // The engine has stopped writing when what it wrote no longer grows.
    for (let last = -1; last !== written; await new Promise((resolve) => setTimeout(resolve, 50)))
      last = written;
    expect(written).toBeLessThan(total / 2);
    let read = 0;
    for await (const chunk of reply as AsyncIterable<Buffer>) read += chunk.length;
    expect(read).toBe(total);
  });

  test('a client that goes away ends the engine’s work', async () => {
    const gone = new Promise<void>((resolve) => {
      api.behaviour = (_, reply) => {
        reply.writeHead(200);
        reply.write('tick');
        reply.once('close', resolve);
      };
    });
    const call = open('GET', '/containers/x/logs?follow=1');
    call.end();
    await once(await answer(call), 'data');
    call.destroy();
    await gone;
  });

  test('an engine that dies in the middle cuts the client, it does not end the answer', async () => {
    api.behaviour = (_, reply) => {
      reply.writeHead(200);
      reply.write('part', () => reply.destroy());
    };
    const call = open('GET', '/containers/x/logs');
    call.end();
    await expect(text(await answer(call))).rejects.toThrow();
  });

  test('each request that is over is told of once, with who answered it', async () => {
    const next = (): Promise<AnsweredRequest> => new Promise((resolve) => (api.onAnswered = resolve));
    const about = async (asked: Promise<AnsweredRequest>): Promise<unknown> => {
      const { tookMs, ...rest } = await asked;
      expect(tookMs).toBeGreaterThan(0);
      return rest;
    };
    let asked = next();
    await api.call('GET', '/services');
    expect(await about(asked)).toEqual({ method: 'GET', status: 200, handler: 'swarm' });
    asked = next();
    await api.call('DELETE', '/services/none');
    expect(await about(asked)).toEqual({ method: 'DELETE', status: 404, handler: 'swarm' });
    asked = next();
    api.behaviour = (_, reply) => reply.writeHead(200).end('fine');
    await api.call('GET', '/images/json');
    expect(await about(asked)).toEqual({ method: 'GET', status: 200, handler: 'engine' });
    asked = next();
    api.behaviour = (_, reply) => void reply.writeHead(200).write('part');
    const call = open('GET', '/containers/x/logs?follow=1');
    call.end();
    await once(await answer(call), 'data');
    call.destroy();
    expect(await about(asked)).toEqual({ method: 'GET', status: null, handler: 'engine' });
  });

  test('no engine: 503 and why, and it works again when the engine is back', async () => {
    api.behaviour = (_, reply) => reply.end('fine');
    await api.stopEngine();
    const reply = await api.call('GET', '/containers/json');
    expect(reply).toMatchObject({ status: 503, headers: { 'api-version': '1.41' } });
    expect(reply.text).toMatch(/^\{"message":"the Docker Engine behind Skep cannot be reached: .*"\}\n$/);
    await api.startEngine();
    expect((await api.call('GET', '/containers/json')).text).toBe('fine');
  });
});

describe('upgrades', () => {
  /** An engine that switches and answers every line in capitals; it says `bye` when its input ends. */
  const shouting = (): void => {
    api.engine.on('upgrade', (received: IncomingMessage, socket: Socket, head: Buffer) => {
      socket.write('HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n');
      // Node hands the request's body over as the head of the new protocol.
      const body = Number(received.headers['content-length'] ?? 0);
      let skipped = 0;
      const shout = (chunk: Buffer): void => {
        const skip = Math.min(body - skipped, chunk.length);
        skipped += skip;
        if (chunk.length > skip) socket.write(chunk.subarray(skip).toString().toUpperCase());
      };
      if (head.length > 0) shout(head);
      socket.on('error', () => undefined);
      socket.on('data', shout);
      socket.on('end', () => socket.end('bye'));
    });
  };
  const hijack = async (path: string, more = '', body = ''): Promise<Socket> => {
    const socket = connect({ path: api.socketPath, allowHalfOpen: true });
    socket.write(
      `POST ${path} HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n${more}\r\n${body}`,
    );
    return socket;
  };
  const collectors = new WeakMap<Socket, Collector>();
  /** What came since the last call, up to and with `wanted`. */
  const until = async (socket: Socket, wanted: string): Promise<string> => {
    const seen = collectors.get(socket) ?? new Collector(socket);
    collectors.set(socket, seen);
    const text = await seen.until(wanted);
    seen.text = '';
    return text;
  };

  test('become a tunnel, half-closed by the client', async () => {
    shouting();
    const socket = await hijack('/v1.41/containers/x/attach?stream=1&stdin=1');
    expect(await until(socket, '\r\n\r\n')).toMatch(/^HTTP\/1.1 101 UPGRADED\r\n/);
    socket.write('hello');
    expect(await until(socket, 'HELLO')).toBe('HELLO');
    // The client's input ends; what the engine still has to say must arrive.
    socket.end();
    expect(await until(socket, 'bye')).toBe('bye');
    await once(socket, 'close');
  });

  test('with a body (exec start), the body goes first', async () => {
    shouting();
    const body = '{"Detach":false}';
    const socket = await hijack(
      '/exec/x/start',
      `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n`,
      body,
    );
    await until(socket, '\r\n\r\n');
    socket.write('abc');
    expect(await until(socket, 'ABC')).toBe('ABC');
    socket.destroy();
  });

  test('half-closed by the engine: the client can still write', async () => {
    const received = new Promise<string>((resolve) => {
      api.engine.on('upgrade', (_: IncomingMessage, socket: Socket) => {
        socket.end('HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nonly this');
        resolve(text(socket as AsyncIterable<Buffer>));
      });
    });
    const socket = await hijack('/containers/x/attach');
    await until(socket, 'only this');
    if (!socket.readableEnded) await once(socket, 'end');
    socket.end('late input');
    expect(await received).toBe('late input');
  });

  test('that the engine refuses are answered, and the connection is not a way around us', async () => {
    api.behaviour = (_, reply) => {
      reply.writeHead(409, { 'Content-Type': 'application/json' });
      reply.end('{"message":"container x is not running"}\n');
    };
    const socket = await hijack('/containers/x/attach');
    const seen = await text(socket as AsyncIterable<Buffer>);
    expect(seen).toMatch(/^HTTP\/1.1 409 Conflict\r\nConnection: close\r\n/);
    expect(seen).toContain('container x is not running');
    socket.destroy();
  });

  test('without an engine: 503', async () => {
    await api.stopEngine();
    const socket = await hijack('/containers/x/attach');
    const seen = await text(socket as AsyncIterable<Buffer>);
    expect(seen).toMatch(/^HTTP\/1.1 503 /);
    expect(seen).toContain('cannot be reached');
    socket.destroy();
  });

  test.each(['/swarm/init', '/v1.41/swarm/init', '/swarm%2Finit', '/v1.41%2Fswarm/init', '/services/create'])(
    'and other spellings are no way to the engine’s own swarm mode: %s',
    async (path) => {
      let reached = 0;
      api.behaviour = (_, reply) => reply.end(String((reached += 1)));
      api.engine.on('upgrade', (_: IncomingMessage, socket: Socket) => socket.end(String((reached += 1))));
      const socket = await hijack(path);
      const seen = await text(socket as AsyncIterable<Buffer>);
      expect(seen).toMatch(/^HTTP\/1.1 400 /);
      const [head = '', body = ''] = seen.split('\r\n\r\n');
      expect(head).toContain(`Content-Length: ${body.length}`);
      socket.destroy();
      await api.call('POST', path, '{}');
      expect(reached).toBe(0);
    },
  );

  test('end when the client is gone', async () => {
    const closed = new Promise<void>((resolve) => {
      api.engine.on('upgrade', (_: IncomingMessage, socket: Socket) => {
        socket.write('HTTP/1.1 101 UPGRADED\r\n\r\n');
        socket.on('error', () => undefined);
        socket.on('close', () => resolve());
        socket.resume();
        socket.on('end', () => socket.end());
      });
    });
    const socket = await hijack('/containers/x/attach');
    await until(socket, '\r\n\r\n');
    socket.destroy();
    await closed;
  });
});

test('two daemons do not share a socket', async () => {
  await expect(api.server.listen(api.socketPath)).rejects.toThrow('another daemon is listening');
});
