/**
 * UDP sockets that the host's resolvers are asked from. Opening one takes time and a connection that the host tracks, so it is
 * used again: for one question at a time, for a few seconds and a bounded number of questions, because its port is, beside the
 * question's id, what a forged answer has to guess. One whose question was not answered, or that failed, is not used again.
 */
import { createSocket } from 'node:dgram';
import type { Socket } from 'node:dgram';
import { once } from 'node:events';
import { familyOf } from '../../model/addresses.js';

/** A resolver. */
export interface Upstream {
  readonly address: string;
  readonly port: number;
}

/** Of each resolver, those that wait for a question. */
const idleMax = 64;
/** How often a port may be seen. */
const questionsMax = 64;
/** By then the host may have another address, or other resolvers. */
const ageMsMax = 5_000;

/** A socket that hears one resolver alone. */
interface Connected {
  readonly socket: Socket;
  readonly retireAtMs: number;
  questions: number;
}

export class UpstreamSockets implements Disposable {
  /** By resolver; the one that was used last is taken first, so that those that are too many grow old. */
  readonly #idle = new Map<string, Connected[]>();
  #isSweepDue = false;
  #isClosed = false;

  /**
   * Sends one message and waits for the one that answers it. Never rejects.
   * @param isAnswer whether a message that came is waited for; a late or forged one is passed over
   * @returns null after `deadlineMs` or an error
   */
  async ask(
    upstream: Upstream,
    message: Buffer,
    isAnswer: (received: Buffer) => boolean,
    deadlineMs: number,
  ): Promise<Buffer | null> {
    const key = `${upstream.address} ${upstream.port}`;
    const connected = this.#idle.get(key)?.pop() ?? (await connect(upstream));
    if (!connected) return null;
    connected.questions += 1;
    const answer = await exchange(connected.socket, message, isAnswer, deadlineMs);
    if (answer === null) connected.socket.close();
    else this.#keep(key, connected);
    return answer;
  }

  /** Closes what waits now, and what is asked yet once it has its answer. */
  [Symbol.dispose](): void {
    this.#isClosed = true;
    for (const { socket } of [...this.#idle.values()].flat()) socket.close();
    this.#idle.clear();
  }

  #keep(key: string, connected: Connected): void {
    const idle = this.#idle.get(key) ?? [];
    const isSpent = connected.questions >= questionsMax || performance.now() >= connected.retireAtMs;
    if (isSpent || this.#isClosed || idle.length >= idleMax) return void connected.socket.close();
    idle.push(connected);
    this.#idle.set(key, idle);
    this.#sweepLater();
  }

  #sweepLater(): void {
    if (this.#isSweepDue) return;
    this.#isSweepDue = true;
    setTimeout(() => {
      this.#isSweepDue = false;
      this.#closeOld();
      if (this.#idle.size > 0) this.#sweepLater();
    }, ageMsMax).unref();
  }

  /** Closes what waits and is too old. */
  #closeOld(): void {
    const nowMs = performance.now();
    for (const [key, idle] of this.#idle) {
      for (const { socket, retireAtMs } of idle) if (retireAtMs <= nowMs) socket.close();
      const young = idle.filter(({ retireAtMs }) => retireAtMs > nowMs);
      if (young.length > 0) this.#idle.set(key, young);
      else this.#idle.delete(key);
    }
  }
}

/** A socket of a port of its own; null when the host has no way to the resolver. */
async function connect({ address, port }: Upstream): Promise<Connected | null> {
  const socket = createSocket(familyOf(address) === 4 ? 'udp4' : 'udp6');
  try {
    const connected = once(socket, 'connect');
    socket.connect(port, address);
    await connected;
  } catch {
    socket.close();
    return null;
  }
  // While it waits, nobody minds what it hears of.
  socket.on('error', () => undefined);
  return { socket, retireAtMs: performance.now() + ageMsMax, questions: 0 };
}

/** One message there and its answer back. */
function exchange(
  socket: Socket,
  message: Buffer,
  isAnswer: (received: Buffer) => boolean,
  deadlineMs: number,
): Promise<Buffer | null> {
  return new Promise((resolve) => {
    const finish = (answer: Buffer | null): void => {
      clearTimeout(timer);
      socket.off('message', onMessage).off('error', onError);
      resolve(answer);
    };
    const onMessage = (received: Buffer): void => {
      if (isAnswer(received)) finish(received);
    };
    const onError = (): void => finish(null);
    const timer = setTimeout(onError, deadlineMs);
    socket.on('message', onMessage).on('error', onError);
    socket.send(message, (err) => err && finish(null));
  });
}
