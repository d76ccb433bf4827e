/** The name that somebody may have meant. */

/** At most so many letters may be wrong, and fewer in short names. */
const wrongMax = 3;

/** How many letters must be put in, taken out, changed or swapped with their neighbour. */
function editDistance(a: string, b: string): number {
  let [before, last]: [number[], number[]] = [[], Array.from({ length: b.length + 1 }, (_, at) => at)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (last[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      row.push(
        Math.min(
          change,
          (last[j] ?? 0) + 1,
          (row[j - 1] ?? 0) + 1,
          swapped ? (before[j - 2] ?? 0) + 1 : Infinity,
        ),
      );
    }
    [before, last] = [last, row];
  }
  return last[b.length] ?? 0;
}

/** Case and the two kinds of dashes are no difference. Undefined: none is near. */
export function nearest(text: string, names: readonly string[]): string | undefined {
  const plain = (name: string): string => name.toLowerCase().replaceAll('_', '-');
  const length = Math.max(...names.map((name) => name.length)) + wrongMax;
  if (text.length > length) return undefined;
  const [best] = names
    .map((name) => ({ name, distance: editDistance(plain(text), plain(name)) }))
    .sort((a, b) => a.distance - b.distance);
  const allowed = Math.min(wrongMax, Math.ceil(text.length / 3));
  return best && best.distance <= allowed ? best.name : undefined;
}
