/** Work that makes sense only together. */

/** Runs all until the signal aborts; when one fails, ends the others and rejects. */
export async function allOrNone(
  signal: AbortSignal,
  parts: readonly ((over: AbortSignal) => Promise<void>)[],
): Promise<void> {
  const failed = new AbortController();
  const over = AbortSignal.any([signal, failed.signal]);
  await settleAll(
    parts.map((part) =>
      part(over).catch((err: unknown) => {
        failed.abort(err);
        throw err;
      }),
    ),
  );
}

/** Resolves when all have ended, and rejects then with the first failure. */
async function settleAll(running: readonly Promise<void>[]): Promise<void> {
  const outcomes = await Promise.allSettled(running);
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
}
