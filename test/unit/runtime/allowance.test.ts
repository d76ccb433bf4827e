import { expect, test } from 'vitest';
import { Allowance } from '../../../src/runtime/allowance.js';

test('a debt is let through once, and waited for', () => {
  let nowMs = 1_000_000;
  const allowance = new Allowance(100, { nowMs: () => nowMs });
  const steps: readonly [laterMs: number, amount: number, taken: boolean][] = [
    [0, 60, true],
    [0, 240, true], // 40 were left: 200 are owed
    [0, 1, false],
    [2_000, 1, false], // paid, and nothing left
    [10, 1, true],
    [-5_000, 1, false], // the clock was put back
    [60_000, 100, true], // never more than one second's
    [0, 1, false],
  ];
  for (const [index, [laterMs, amount, taken]] of steps.entries()) {
    nowMs += laterMs;
    expect(allowance.take(amount), `step ${index}`).toBe(taken);
  }
});
