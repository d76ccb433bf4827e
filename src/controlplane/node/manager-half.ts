/**
 * This node's manager half: brought up, for as long as it takes, when the node is a manager; taken down for good when it is one
 * no more. Nothing else of the node waits for it.
 */
import { backoffMs } from '../../runtime/backoff.js';
import type { Clock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';
import type { MembershipFile } from './membership-file.js';
import type { NodeParts, RunningManager } from './node-parts.js';

export interface ManagerHalfOptions {
  readonly parts: Pick<NodeParts, 'startManager' | 'removeManager'>;
  readonly clock: Clock;
  readonly log: Log;
}

const retryMsMax = 30_000;

export class ManagerHalf {
  #running: RunningManager | undefined;
  #starting: Promise<void> | undefined;
  #stop = new AbortController();
  #error = '';

  constructor(private readonly options: ManagerHalfOptions) {}

  get running(): RunningManager | undefined {
    return this.#running;
  }

  /** Why it does not run yet, or not well; empty for no reason. */
  get error(): string {
    return this.#running?.error() ?? this.#error;
  }

  /** One that somebody else has started: that of a new cluster. */
  adopt(membership: MembershipFile, manager: RunningManager): void {
    this.#stop = new AbortController();
    this.#watch(membership, manager, this.#stop.signal);
  }

  /**
   * Resolves once it runs, or was told to stop. What may pass is tried again; rejects with a refusal.
   * @param alone see NodeParts
   */
  start(membership: MembershipFile, alone = false): Promise<void> {
    this.#stop = new AbortController();
    this.#starting = this.#start(membership, alone, this.#stop.signal);
    return this.#starting;
  }

  /** Ends what talks to others; etcd and its data stay for the next start. */
  async close(): Promise<void> {
    this.#stop.abort(new Error('closing'));
    await this.#starting?.catch(() => undefined);
    const running = this.#running;
    this.#running = undefined;
    this.#error = '';
    await running?.close();
  }

  /** Closes, and forgets all that a manager has and a worker must not. */
  async remove(): Promise<void> {
    await this.close();
    await this.options.parts.removeManager();
  }

  async #start(membership: MembershipFile, alone: boolean, signal: AbortSignal): Promise<void> {
    const { parts, clock, log } = this.options;
    for (let failures = 1; !signal.aborted; failures++) {
      try {
        const running = await parts.startManager(membership, alone, signal);
        if (signal.aborted) return await running.close();
        this.#watch(membership, running, signal);
        return;
      } catch (err) {
        if (err === signal.reason) return;
        this.#error = (err as Error).message;
        if (!mayPass(err)) throw err;
        log.error({ err, failures }, 'cannot start this manager, will retry');
        await clock.sleep(backoffMs(failures, retryMsMax), signal).catch(() => undefined);
      }
    }
  }

  /** From now on it runs; when its store is lost it is started anew. */
  #watch(membership: MembershipFile, running: RunningManager, signal: AbortSignal): void {
    this.#running = running;
    this.#error = '';
    void running.lost.then(async (err) => {
      if (signal.aborted) return;
      const { log } = this.options;
      log.error({ err }, 'the store of this manager is lost');
      this.#running = undefined;
      this.#error = err.message;
      this.#starting = running.close().then(() => this.#start(membership, false, signal));
      await this.#starting.catch((refusal: unknown) =>
        log.error({ err: refusal }, 'this manager is refused by the others'),
      );
    });
  }
}

const refusals = ['permissionDenied', 'unauthenticated', 'invalidArgument', 'unimplemented'];
const mayPass = (err: unknown): boolean => !refusals.includes((err as { kind?: string }).kind ?? '');
