/**
 * Removal from a host, one step after another. A step that fails is told of and the next one is done all the same: what can be
 * removed is, and a package can always be removed.
 */

/** One step, and what to say where it fails. */
export interface Step {
  /** What could not be done. */
  readonly failed: string;
  readonly meaning: string;
  readonly remedy: string;
  readonly run: () => Promise<void>;
}

/** @returns whether all went well */
export async function runSteps(steps: readonly Step[], say: (line: string) => void): Promise<boolean> {
  let well = true;
  for (const { failed, meaning, remedy, run } of steps) {
    try {
      await run();
    } catch (err) {
      well = false;
      say(`skep: ${failed}: ${(err as Error).message}`);
      say(`  meaning: ${meaning}`);
      say(`  to do:   ${remedy}`);
    }
  }
  return well;
}
