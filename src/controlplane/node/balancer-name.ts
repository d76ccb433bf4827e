/**
 * Which engine balances on this node, as skep-dataplane says: for `docker info` and for the node's engine labels. Asked at most
 * every ten seconds and for at most one, so that nobody waits for a dataplane that does not answer.
 */
import { OutsideError, SkepError } from '../../model/errors.js';
import type { Clock } from '../../runtime/clock.js';

const freshMs = 10_000;
const answerMs = 1_000;

export interface BalancerNameOptions {
  readonly status: (signal: AbortSignal) => Promise<{ readonly engine: string }>;
  readonly clock: Clock;
}

export class BalancerName {
  #last: { readonly askedAtMs: number; readonly answer: Promise<string | undefined> } | undefined;

  constructor(private readonly options: BalancerNameOptions) {}

  /** `ipvs` or `ebpf`; undefined while the dataplane cannot be asked or does not know yet. Never rejects but for a bug. */
  readonly now = (): Promise<string | undefined> => {
    const nowMs = this.options.clock.nowMs();
    if (this.#last === undefined || nowMs - this.#last.askedAtMs >= freshMs)
      this.#last = { askedAtMs: nowMs, answer: this.#ask() };
    return this.#last.answer;
  };

  async #ask(): Promise<string | undefined> {
    const signal = AbortSignal.timeout(answerMs);
    try {
      return (await this.options.status(signal)).engine || undefined;
    } catch (err) {
      if (err instanceof OutsideError || err instanceof SkepError || err === signal.reason) return undefined;
      throw err;
    }
  }
}

/** `name`, but keeping what was last known: a dataplane that is away for a moment does not change what the host is. */
export function lastKnown(name: () => Promise<string | undefined>): () => Promise<string | undefined> {
  let known: string | undefined;
  return async () => (known = (await name()) ?? known);
}
