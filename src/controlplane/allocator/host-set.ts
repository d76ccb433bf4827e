/**
 * Sets of host parts: a bitmap in pages, so that a network of 100,000 addresses is copied and compared in microseconds; and their
 * short text, `2-17,20`: addresses are given serially, so thousands of them are a few ranges.
 */
import assert from 'node:assert';

const hostsPerPage = 4_096;
const hostsPerWord = 32;
type Page = Uint32Array;

export class HostSet {
  /** By the first host over {@link hostsPerPage}. */
  readonly #pages: Map<number, Page>;
  /** Pages that no other set has. */
  readonly #own = new Set<number>();
  #size: number;

  private constructor(pages: Map<number, Page>, size: number) {
    this.#pages = pages;
    this.#size = size;
  }

  /** @param hosts any order, safe integers from 0 */
  static of(hosts: Iterable<number> = []): HostSet {
    const made = new HostSet(new Map(), 0);
    for (const host of hosts) made.add(host);
    return made;
  }

  /** Of a text that {@link format} wrote; another one is a bug. */
  static parse(text: string): HostSet {
    const made = HostSet.of();
    for (const range of text === '' ? [] : text.split(',')) {
      assert(/^\d+(-\d+)?$/.test(range), `${range} is no range of hosts`);
      const [first = NaN, last = first] = range.split('-').map(Number);
      assert(last >= first, `${range} is no range of hosts`);
      made.#addNew(first, last);
    }
    return made;
  }

  get size(): number {
    return this.#size;
  }

  has(host: number): boolean {
    const page = this.#pages.get(pageOf(host));
    return page !== undefined && ((page[wordOf(host)] ?? 0) & bitOf(host)) !== 0;
  }

  /** @returns whether it was not there */
  add(host: number): boolean {
    if (this.has(host)) return false;
    const page = this.#writable(pageOf(host));
    page[wordOf(host)] = (page[wordOf(host)] ?? 0) | bitOf(host);
    this.#size += 1;
    return true;
  }

  /** @returns whether it was there */
  delete(host: number): boolean {
    if (!this.has(host)) return false;
    const page = this.#writable(pageOf(host));
    page[wordOf(host)] = (page[wordOf(host)] ?? 0) & ~bitOf(host);
    this.#size -= 1;
    return true;
  }

  /** Shares its pages until one of the two writes to them. */
  clone(): HostSet {
    this.#own.clear();
    return new HostSet(new Map(this.#pages), this.#size);
  }

  /** Ascending. */
  [Symbol.iterator](): Iterator<number> {
    return this.minus(HostSet.of())[Symbol.iterator]();
  }

  /** Those that the other one has not, ascending. */
  minus(other: HostSet): number[] {
    const missing: number[] = [];
    for (const [index, page] of this.#inOrder()) {
      const others = other.#pages.get(index);
      if (page === others) continue;
      for (const [word, bits] of page.entries())
        pushHosts(missing, index * hostsPerPage + word * hostsPerWord, bits & ~(others?.[word] ?? 0));
    }
    return missing;
  }

  /** Ascending ranges. */
  format(): string {
    const ranges: string[] = [];
    let first = NaN;
    let last = NaN;
    const end = (): unknown =>
      Number.isNaN(first) || ranges.push(first === last ? String(first) : `${first}-${last}`);
    for (const host of this) {
      if (host !== last + 1) {
        end();
        first = host;
      }
      last = host;
    }
    end();
    return ranges.join(',');
  }

  /** None of them is there. */
  #addNew(first: number, last: number): void {
    for (let host = first; host <= last;) {
      const isWholeWord = host % hostsPerWord === 0 && host + hostsPerWord - 1 <= last;
      if (isWholeWord) {
        this.#writable(pageOf(host))[wordOf(host)] = ~0;
        this.#size += hostsPerWord;
      } else this.add(host);
      host += isWholeWord ? hostsPerWord : 1;
    }
  }

  #writable(index: number): Page {
    const known = this.#pages.get(index);
    if (known && this.#own.has(index)) return known;
    const page = known ? Uint32Array.from(known) : new Uint32Array(hostsPerPage / hostsPerWord);
    this.#pages.set(index, page);
    this.#own.add(index);
    return page;
  }

  #inOrder(): [number, Page][] {
    return [...this.#pages].sort(([a], [b]) => a - b);
  }
}

// Hosts are up to 2^53, beyond what the operators for bits take.
const pageOf = (host: number): number => Math.floor(host / hostsPerPage);
const wordOf = (host: number): number => Math.floor((host % hostsPerPage) / hostsPerWord);
const bitOf = (host: number): number => 1 << (host % hostsPerWord);

/** @param base the host of the lowest bit */
function pushHosts(to: number[], base: number, bits: number): void {
  for (let rest = bits; rest !== 0; rest &= rest - 1) to.push(base + 31 - Math.clz32(rest & -rest));
}
