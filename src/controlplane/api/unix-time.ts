/** Times of queries, `since` and `until`: seconds since the epoch with a fraction, exact to the nanosecond. */

/** Go's ParseTimestamps: `seconds[.fraction]`. Without text, and for -1, which stands for that in dockerd, there is none. */
export function unixNano(text: string): bigint | 'none' | undefined {
  if (text === '') return 'none';
  const found = /^([+-]?\d{1,12})(?:\.(\d{1,9}))?$/.exec(text);
  if (!found) return undefined;
  const [, seconds = '', fraction = ''] = found;
  if (Number(seconds) === -1) return 'none';
  return BigInt(seconds) * 1_000_000_000n + BigInt(fraction.padEnd(9, '0'));
}

/** Whether dockerd could read it as a time; no text is no time, and well. */
export const isUnixTime = (text: string): boolean => unixNano(text) !== undefined;

/** The same time as the engine reads it. */
export const formatUnixNano = (nano: bigint): string =>
  `${nano / 1_000_000_000n}.${String(nano % 1_000_000_000n).padStart(9, '0')}`;
