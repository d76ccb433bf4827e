/** As {@link FaultJudge}, of emptied chains: another process looks. */
import type { ChildProcess } from 'node:child_process';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { KernelError } from '../../src/dataplane/kernel/kernel-error.js';
import type { Chain } from '../../src/dataplane/plan/objects.js';
import type { ScopePlan } from '../../src/dataplane/plan/node.js';
import type { ChainsOrder, ChainsWord } from './fault-chains.js';
import type { Fault } from './fault-kinds.js';
import type { FaultNode } from './fault-node.js';
import type { Pending, Verdict } from './fault-verdict.js';
import { Verdicts } from './fault-verdict.js';

const program = join(import.meta.dirname, 'fault-chains.js');

export class ChainsJudge implements Disposable {
  readonly #child: ChildProcess;
  readonly #pending = new Map<number, Pending>();
  readonly #verdicts: Verdicts;
  #last = 0;
  readonly #ended: Promise<never>;

  /**
   * @param pathOf of the namespace that a plan is of
   * @param slowness see FaultReport
   */
  constructor(
    private readonly pathOf: (node: FaultNode, plan: ScopePlan) => string,
    private readonly slowness: number,
  ) {
    this.#verdicts = new Verdicts(slowness);
    this.#child = fork(program, [], { execArgv: [] });
    this.#ended = once(this.#child, 'exit').then(() => {
      throw new Error('whoever looks at chains has ended');
    });
    this.#ended.catch(() => undefined);
    this.#child.on('message', (message) => {
      const word = message as ChainsWord;
      if (!('looked' in word)) return;
      const pending = this.#pending.get(word.looked);
      if (!pending) return;
      this.#pending.delete(word.looked);
      this.#verdicts.settle(pending, word.ms, word.repaired);
    });
  }

  [Symbol.dispose](): void {
    this.#child.kill('SIGKILL');
  }

  get pending(): number {
    return this.#pending.size;
  }

  isPending(node: FaultNode, { id }: Fault): boolean {
    return [...this.#pending.values()].some((one) => one.node === node && one.fault.id === id);
  }

  /** Empties the chain. Rejects with KernelError. */
  async inject(fault: Fault, node: FaultNode, plan: ScopePlan): Promise<void> {
    const flush = ++this.#last;
    // The daemon that was there before it was emptied counts.
    const pending = { fault, node, plan, atMs: Date.now() };
    this.#pending.set(flush, pending);
    const path = this.pathOf(node, plan);
    const { slowness } = this;
    this.#send({
      flush,
      path,
      chain: fault.was as Chain,
      givenUpMs: this.#verdicts.givenUpMs(pending),
      slowness,
    });
    const word = await this.#heard(
      (one) => ('flushed' in one && one.flushed === flush) || ('failed' in one && one.failed === flush),
    );
    if (!('failed' in word)) return;
    this.#pending.delete(flush);
    throw new KernelError(fault.what, 'EXIT', { text: word.text });
  }

  /** See FaultJudge.leave; until {@link back}. */
  async leave(node: FaultNode, plan: ScopePlan): Promise<void> {
    const path = this.pathOf(node, plan);
    this.#send({ leave: path });
    await this.#heard((word) => 'left' in word && word.left === path);
  }

  back(node: FaultNode, plan: ScopePlan): void {
    this.#send({ back: this.pathOf(node, plan) });
  }

  /** See FaultJudge.end. Rejects when nobody looks. */
  async end(): Promise<Verdict> {
    while (this.#pending.size > 0) await this.#heard((word) => 'looked' in word);
    return this.#verdicts;
  }

  /** Rejects when nobody is there to say it. */
  #heard(isIt: (word: ChainsWord) => boolean): Promise<ChainsWord> {
    const heard = new Promise<ChainsWord>((resolve) => {
      const hear = (message: unknown): void => {
        if (!isIt(message as ChainsWord)) return;
        this.#child.off('message', hear);
        resolve(message as ChainsWord);
      };
      this.#child.on('message', hear);
    });
    return Promise.race([heard, this.#ended]);
  }

  #send(order: ChainsOrder): void {
    this.#child.send(order);
  }
}
