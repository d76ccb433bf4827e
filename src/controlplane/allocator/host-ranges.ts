/** Sets of host parts as short text: `2-17,20`. Addresses are given serially, so thousands of them are a few ranges. */
import assert from 'node:assert';

/** Ascending ranges, whatever the order of the numbers. */
export function formatHosts(hosts: Iterable<number>): string {
  const sorted = Float64Array.from(hosts).sort();
  const ranges: string[] = [];
  for (let at = 0; at < sorted.length;) {
    const first = sorted[at] ?? 0;
    let last = first;
    for (at++; sorted[at] === last + 1; at++) last++;
    ranges.push(first === last ? String(first) : `${first}-${last}`);
  }
  return ranges.join(',');
}

/** The numbers of a text that {@link formatHosts} wrote, ascending. */
export function parseHosts(text: string): number[] {
  const hosts: number[] = [];
  for (const range of text === '' ? [] : text.split(',')) {
    const [first = NaN, last = first] = range.split('-').map(Number);
    assert(Number.isSafeInteger(first) && last >= first, `${range} is no range of hosts`);
    for (let host = first; host <= last; host++) hosts.push(host);
  }
  return hosts;
}
