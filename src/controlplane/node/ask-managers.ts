import { OutsideError, SkepError } from '../../model/errors.js';

/** Asks one after another; only "nobody answers there" is a reason to ask the next. */
export async function firstThatAnswers<T>(
  addresses: readonly string[],
  ask: (address: string) => Promise<T>,
): Promise<T> {
  const failures: unknown[] = [];
  for (const address of addresses) {
    try {
      return await ask(address);
    } catch (err) {
      if (!(err instanceof SkepError && (err.kind === 'unavailable' || err.kind === 'deadlineExceeded')))
        throw err;
      failures.push(err);
    }
  }
  throw new OutsideError(`no manager answers at ${addresses.join(', ')}`, true, { cause: failures[0] });
}
