/** Exponential delay: 100 ms after the first failure, doubling, at most `maxMs`. */
export const backoffMs = (failures: number, maxMs: number): number =>
  failures === 0 ? 0 : Math.min(maxMs, 100 * 2 ** Math.min(failures - 1, 30));
