/** The nearest of some names to one that is mistyped. */

/** More edits than this are another word: one for each third of what was typed, two at most. */
const editsMax = (typed: string): number => Math.min(2, Math.ceil(typed.length / 3));

/**
 * Undefined if none is near. Case and the two kinds of dashes are no difference; a name that begins with what was typed is near; of equals,
 * the first.
 */
export function nearest(typed: string, names: readonly string[]): string | undefined {
  // Comparing costs the product of the lengths, and what was typed may be a file's.
  const longest = Math.max(0, ...names.map((name) => name.length));
  if (typed === '' || typed.length > longest + editsMax(typed)) return undefined;
  const beginning = names.find((name) => plain(name).startsWith(plain(typed)));
  if (beginning !== undefined) return beginning;
  const [best] = names
    .map((name) => ({ name, edits: editsBetween(plain(typed), plain(name)) }))
    .filter(({ edits }) => edits <= editsMax(typed))
    .sort((a, b) => a.edits - b.edits);
  return best?.name;
}

const plain = (name: string): string => name.toLowerCase().replaceAll('_', '-');

/** Insertions, deletions, replacements and swaps of neighbours that make one word the other (optimal string alignment). */
export function editsBetween(one: string, other: string): number {
  let twoBack: number[] = [];
  let back = Array.from({ length: other.length + 1 }, (_, at) => at);
  for (let i = 1; i <= one.length; i++) {
    const row = [i];
    for (let j = 1; j <= other.length; j++) {
      const same = one[i - 1] === other[j - 1];
      const swapped = i > 1 && j > 1 && one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1];
      row[j] = Math.min(
        (back[j] ?? 0) + 1,
        (row[j - 1] ?? 0) + 1,
        (back[j - 1] ?? 0) + (same ? 0 : 1),
        ...(swapped ? [(twoBack[j - 2] ?? 0) + 1] : []),
      );
    }
    [twoBack, back] = [back, row];
  }
  return back[other.length] ?? 0;
}
