/**
 * The agent of a lab node: runs commands for `skep lab exec` and says when a daemon answers. It listens on a unix socket that this
 * machine sees too, or, in a kernel of the node's own, in a network namespace of its own on an interface that only the lab's
 * relay can reach. It hands every command the node's namespace; so whatever a test does to the node's network, the way in stays
 * open.
 * A command whose caller goes away gets SIGHUP, then SIGKILL: no test leaves a process behind by being interrupted.
 *
 * Runs inside the node: `node guest-agent.js ADDRESS` or `node guest-agent.js /SOCKET`.
 */
import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { request } from 'node:http';
import { constants } from 'node:os';
import { createServer } from 'node:net';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { FrameParser, formatFrame, formatJsonFrame, frameTypes } from './frames.js';
import type { AgentReply, AgentRequest, Frame } from './frames.js';
import { agentPort } from './layout.js';

const hangupGraceMs = 1_000;
const pingGapMs = 100;
const pingTimeoutMs = 5_000;
/** Below the longest payload; what a pipe gives in one read is less anyway. */
const chunkBytesMax = 1024 * 1024;

const finish = (socket: Socket, reply: AgentReply): void => {
  socket.end(formatJsonFrame(frameTypes.reply, reply));
};

/** Runs the command; returns what takes the frames that follow the request. */
function handleExec(socket: Socket, argv: readonly string[]): (frame: Frame) => void {
  const child = spawn('nsenter', ['--net=/proc/1/ns/net', '--', ...argv], { cwd: '/', detached: true });
  let exited = false;
  child.once('error', (err) => finish(socket, { error: `cannot run ${argv[0] ?? ''}: ${err.message}` }));
  child.once('exit', () => (exited = true));
  child.once('close', (code, signal) =>
    finish(socket, { exitCode: code ?? 128 + (signal === null ? 0 : constants.signals[signal]) }),
  );
  for (const [stream, type] of [
    [child.stdout, frameTypes.stdout],
    [child.stderr, frameTypes.stderr],
  ] as const) {
    stream.on('data', (chunk: Buffer) => {
      let room = true;
      for (let at = 0; at < chunk.length; at += chunkBytesMax)
        room = socket.write(formatFrame(type, chunk.subarray(at, at + chunkBytesMax)));
      if (!room) {
        stream.pause();
        socket.once('drain', () => stream.resume());
      }
    });
  }
  // A command may end without having read its input; that is its own business.
  child.stdin.on('error', () => undefined);
  socket.once('close', () => {
    if (exited || child.pid === undefined) return;
    const group = -child.pid;
    killGroup(group, 'SIGHUP');
    const timer = setTimeout(() => killGroup(group, 'SIGKILL'), hangupGraceMs);
    child.once('close', () => clearTimeout(timer));
  });
  return ({ type, payload }) => {
    if (type !== frameTypes.stdin) return;
    if (payload.length === 0) child.stdin.end();
    else if (!child.stdin.write(payload)) {
      socket.pause();
      const resume = (): void => {
        child.stdin.off('drain', resume).off('close', resume);
        socket.resume();
      };
      child.stdin.on('drain', resume).on('close', resume);
    }
  };
}

function killGroup(group: number, signal: NodeJS.Signals): void {
  try {
    process.kill(group, signal);
  } catch (err) {
    if ((err as NodeJS.ErrnoException).code !== 'ESRCH') throw err;
  }
}

/** Whether `GET /_ping` on the socket is answered 200. */
const ping = (socketPath: string): Promise<string | undefined> =>
  new Promise((resolve) => {
    const call = request({ socketPath, path: '/_ping', timeout: pingTimeoutMs, agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode === 200 ? undefined : `status ${response.statusCode ?? 0}`);
    });
    call.once('timeout', () => call.destroy(new Error('no answer')));
    call.once('error', (err) => resolve(err.message));
    call.end();
  });

async function handleAwaitPing(socket: Socket, socketPath: string, deadlineMs: number): Promise<void> {
  const end = Date.now() + deadlineMs;
  for (;;) {
    const refusal = await ping(socketPath);
    if (socket.destroyed) return;
    if (refusal === undefined) return finish(socket, { exitCode: 0 });
    if (Date.now() >= end) return finish(socket, { error: `${socketPath} does not answer: ${refusal}` });
    await delay(pingGapMs);
  }
}

function handleConnection(socket: Socket): void {
  const parser = new FrameParser();
  let next: ((frame: Frame) => void) | undefined;
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk) => {
    for (const frame of parser.push(chunk)) {
      if (next) {
        next(frame);
        continue;
      }
      const message = JSON.parse(frame.payload.toString()) as AgentRequest;
      switch (message.kind) {
        case 'exec':
          next = handleExec(socket, message.argv);
          break;
        case 'awaitPing':
          next = () => undefined;
          void handleAwaitPing(socket, message.socketPath, message.deadlineMs);
          break;
      }
    }
  });
}

const place = process.argv[2] ?? '';
const server = createServer(handleConnection);
if (place.startsWith('/')) {
  rmSync(place, { force: true }); // of an agent that was killed
  server.listen(place);
} else server.listen(agentPort, place);
