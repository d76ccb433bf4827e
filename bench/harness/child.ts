/**
 * A part of a bench in a process of its own, so that what it takes can be told from what the others take: asked by name and
 * answering in turn, over Node's channel between processes. It ends with its parent, whatever becomes of that.
 */
import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';

/** Milliseconds by a clock that all processes of this machine share. */
export const machineMs = (): number => Number(process.hrtime.bigint()) / 1e6;

interface Question {
  readonly id: number;
  readonly method: string;
  readonly request: unknown;
}

interface Answer {
  readonly id: number;
  readonly reply?: unknown;
  readonly error?: string;
}

interface Asked {
  readonly resolve: (reply: unknown) => void;
  readonly reject: (err: Error) => void;
}

/** The parent's end. */
export class BenchChild implements AsyncDisposable {
  readonly #asked = new Map<number, Asked>();
  #count = 0;

  private constructor(private readonly child: ChildProcess) {
    child.on('message', (message) => this.#take(message as Answer));
    child.once('exit', (code, signal) => {
      for (const { reject } of this.#asked.values())
        reject(new Error(`the process ended: ${signal ?? code}`));
      this.#asked.clear();
    });
  }

  /** @param program JavaScript that calls {@link serveParent} */
  static start(program: string, flags: readonly string[] = []): BenchChild {
    return new BenchChild(
      fork(program, { execArgv: ['--enable-source-maps', ...flags], serialization: 'advanced' }),
    );
  }

  get pid(): number {
    return this.child.pid ?? NaN;
  }

  /** Rejects with what the other end's answer rejected with, or when the process ends. */
  ask<Reply>(method: string, request: unknown = null): Promise<Reply> {
    const id = (this.#count += 1);
    return new Promise<Reply>((resolve, reject) => {
      this.#asked.set(id, { resolve: resolve as (reply: unknown) => void, reject });
      this.child.send({ id, method, request } satisfies Question, (err) => err && reject(err));
    });
  }

  #take({ id, reply, error }: Answer): void {
    const asked = this.#asked.get(id);
    this.#asked.delete(id);
    if (error === undefined) asked?.resolve(reply);
    else asked?.reject(new Error(error));
  }

  /** Resolves when it has given back what it had and has ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = once(this.child, 'exit');
    this.child.disconnect();
    await ended;
  }
}

/**
 * The child's end: answers until the parent is gone, then closes and ends the process.
 * @param close what is to be given back
 */
export function serveParent(
  methods: Readonly<Record<string, (request: never) => Promise<unknown>>>,
  close: () => Promise<void>,
): void {
  const answer = async ({ id, method, request }: Question): Promise<Answer> => {
    try {
      const handle = methods[method];
      if (!handle) throw new Error(`nobody answers ${method}`);
      return { id, reply: await handle(request as never) };
    } catch (err) {
      return { id, error: (err as Error).stack ?? String(err) };
    }
  };
  process.on('message', (message) => {
    void answer(message as Question).then((reply) => process.connected && process.send?.(reply));
  });
  let ending: Promise<void> | undefined;
  const end = (): void => void (ending ??= close().finally(() => process.exit()));
  for (const reason of ['disconnect', 'SIGTERM', 'SIGINT'] as const) process.once(reason, end);
}
