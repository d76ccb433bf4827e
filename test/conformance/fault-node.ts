/** The processes that are a node's daemon, one after the other: each is killed, and replaced as systemd would. */
import type { ChildProcess } from 'node:child_process';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { DaemonOrder, DaemonWord } from './fault-daemon.js';

const program = join(import.meta.dirname, 'fault-daemon.js');
/** A daemon that has not programmed its node by then never will. */
const startMsMax = 30_000;

export class FaultNode implements AsyncDisposable {
  #child: ChildProcess | null = null;
  #driftRepairs = 0;
  #ofTheDead = 0;
  /** Until when nobody kept the node the last time; a fault that was there then was nobody's for a while. */
  #killedMs = -Infinity;
  /** Starts under way; a daemon may be killed before it has programmed the node. */
  #restarts = 0;
  #failure: Error | null = null;

  constructor(
    readonly number: number,
    private readonly order: DaemonOrder,
    private readonly onLog: (line: string) => void,
  ) {}

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end();
  }

  /** By all daemons of this node, as far as they lived to tell. */
  get driftRepairs(): number {
    return this.#ofTheDead + this.#driftRepairs;
  }

  wasKilledSince(ms: number): boolean {
    return this.#restarts > 0 || this.#killedMs >= ms;
  }

  /** A daemon ended although nobody had killed it. */
  get failure(): Error | null {
    return this.#failure;
  }

  /** Resolves once the node is programmed, or somebody killed the daemon before. Rejects when it ends by itself. */
  async start(): Promise<void> {
    // Without the maps of its sources, which a guest takes seconds to read.
    const child = fork(program, [], { execArgv: [] });
    this.#child = child;
    const said: string[] = [];
    const ended = once(child, 'exit').then(() => false);
    const programmed = new Promise<boolean>((resolve) =>
      child.on('message', (message) => {
        const word = message as DaemonWord;
        if ('programmed' in word) return resolve(true);
        this.#driftRepairs = word.driftRepairs;
        said.push(word.log);
        this.onLog(`node${this.number}: ${word.log}`);
      }),
    );
    child.send(this.order);
    const tooLong = new AbortController();
    const timer = setTimeout(() => tooLong.abort(), startMsMax);
    const late = once(tooLong.signal, 'abort').then(() => false);
    const isProgrammed = await Promise.race([programmed, ended, late]);
    clearTimeout(timer);
    if (this.#child !== child) return;
    if (!isProgrammed)
      throw new Error(`the daemon of node${this.number} did not program it:\n${said.slice(-5).join('\n')}`);
    // From now on it ends only when it is killed.
    void ended.then(() => {
      if (this.#child === child)
        this.#failure = new Error(`the daemon of node${this.number} ended by itself`);
    });
  }

  /** `kill -9`, and after `downMs` the next one. Resolves once that has programmed the node. */
  async killAndRestart(downMs: number): Promise<void> {
    this.#restarts += 1;
    await this.#end();
    await new Promise((resolve) => setTimeout(resolve, downMs));
    await this.start();
    // What was there until now its predecessor may have begun, and its successor did not count.
    this.#killedMs = Date.now();
    this.#restarts -= 1;
  }

  async #end(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
    this.#ofTheDead += this.#driftRepairs;
    this.#driftRepairs = 0;
  }
}
