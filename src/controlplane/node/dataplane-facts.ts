/**
 * What skep-dataplane says of this node: which engine balances, for `docker info` and the node's engine labels, and what it
 * can encrypt with. Asked at most every ten seconds and for at most one, so that nobody waits for a dataplane that does not
 * answer; one that did not is asked again two seconds later.
 */
import type { DataplaneFacts } from '../agent/node-description.js';
import { OutsideError, SkepError } from '../../model/errors.js';
import type { Clock } from '../../runtime/clock.js';

const freshMs = 10_000;
const answerMs = 1_000;
/** From the question that was not answered: a dataplane that starts with the node is known when it is needed. */
const againMs = 2_000;

export interface FactsOptions {
  readonly status: (
    signal: AbortSignal,
  ) => Promise<{ readonly engine: string; readonly esp: boolean; readonly espEpoch: number }>;
  readonly clock: Clock;
}

export class FactsOfDataplane {
  #answer: Promise<DataplaneFacts | undefined> | undefined;
  #freshUntilMs = 0;

  constructor(private readonly options: FactsOptions) {}

  /** Undefined while the dataplane cannot be asked or does not know its engine yet. Never rejects but for a bug. */
  readonly now = (): Promise<DataplaneFacts | undefined> => {
    const nowMs = this.options.clock.steadyMs();
    if (this.#answer === undefined || nowMs >= this.#freshUntilMs) {
      this.#freshUntilMs = nowMs + freshMs;
      this.#answer = this.#ask(nowMs);
    }
    return this.#answer;
  };

  async #ask(nowMs: number): Promise<DataplaneFacts | undefined> {
    const signal = AbortSignal.timeout(answerMs);
    try {
      const { engine, esp, espEpoch } = await this.options.status(signal);
      if (engine !== '') return { balancer: engine, esp, espEpoch };
    } catch (err) {
      if (!(err instanceof OutsideError || err instanceof SkepError || err === signal.reason)) throw err;
    }
    this.#freshUntilMs = nowMs + againMs;
    return undefined;
  }
}

/** `ask`, but keeping what was last known: a dataplane that is away for a moment does not change what the host is. */
export function lastKnown<T>(ask: () => Promise<T | undefined>): () => Promise<T | undefined> {
  let known: T | undefined;
  return async () => (known = (await ask()) ?? known);
}
