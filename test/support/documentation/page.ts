/**
 * A page of the documentation as data: its fenced blocks, its links, and the anchors that links may name. Reads the part of Markdown
 * that these pages are written in: fences of three or more backticks at the beginning of a line, ATX headings, links in brackets.
 */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** The tree whose documentation this is. */
export const checkout = resolve(import.meta.dirname, '../../..');

/** A fenced block. */
export interface Fence {
  /** The line of its opening fence, from 1. */
  readonly line: number;
  /** Words behind the opening backticks: the language, then what the block is for. */
  readonly info: readonly string[];
  readonly lines: readonly string[];
}

/** A link to another page or within this one; those to other sites are none. */
export interface Link {
  readonly line: number;
  /** As written, without its anchor; empty: this page. */
  readonly path: string;
  /** Without the `#`; empty: the page as a whole. */
  readonly anchor: string;
}

export interface Page {
  /** From the checkout, as `docs/networking.md`. */
  readonly path: string;
  readonly fences: readonly Fence[];
  readonly links: readonly Link[];
  readonly anchors: ReadonlySet<string>;
  /** Pieces of code within the text, as `skep verify`. */
  readonly codes: readonly string[];
}

const siteLink = /^[a-z]+:/;

/** @param path of the page, from the checkout */
export function parsePage(path: string, text: string): Page {
  const fences: Fence[] = [];
  const links: Link[] = [];
  const codes: string[] = [];
  const anchors = new Anchors();
  let open: { line: number; info: string[]; lines: string[]; ticks: string } | undefined;
  for (const [at, row] of text.split('\n').entries()) {
    const line = at + 1;
    if (open !== undefined) {
      if (row.trimEnd() === open.ticks) {
        fences.push({ line: open.line, info: open.info, lines: open.lines });
        open = undefined;
      } else open.lines.push(row);
      continue;
    }
    const [, ticks, info = ''] = /^(`{3,})([^`]*)$/.exec(row) ?? [];
    if (ticks !== undefined) {
      open = { line, info: info.split(' ').filter(Boolean), lines: [], ticks };
      continue;
    }
    const [, heading] = /^#{1,6} +(.*?) *$/.exec(row) ?? [];
    if (heading !== undefined) anchors.add(heading);
    codes.push(...[...row.matchAll(/`([^`]+)`/g)].map(([, code = '']) => code));
    // What is code is no link, whatever brackets it has; a link's text may be code.
    const prose = row.replace(/`[^`]*`/g, 'code');
    for (const [, target = ''] of prose.matchAll(/\]\(([^)\s]+)\)/g))
      if (!siteLink.test(target)) links.push({ line, ...splitTarget(target) });
  }
  if (open !== undefined) throw new Error(`${path}:${open.line}: this fence is never closed`);
  return { path, fences, links, anchors: anchors.names, codes };
}

const splitTarget = (target: string): { path: string; anchor: string } => {
  const [path = '', anchor = ''] = target.split('#');
  return { path, anchor };
};

/** As GitHub names them: lower case, without punctuation, blanks as dashes, the second of a name with `-1`. */
class Anchors {
  readonly names = new Set<string>();

  add(heading: string): void {
    const name = heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-');
    let unique = name;
    for (let count = 1; this.names.has(unique); count += 1) unique = `${name}-${count}`;
    this.names.add(unique);
  }
}

export const readPage = (path: string): Page => parsePage(path, readFileSync(join(checkout, path), 'utf8'));

const pagesIn = (directory: string): string[] =>
  readdirSync(join(checkout, directory))
    .filter((name) => name.endsWith('.md'))
    .sort()
    .map((name) => join(directory, name));

/** The pages whose commands are typed: all that is for users, without what is generated and what records decisions. */
export const typedPages = (): Page[] =>
  ['README.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md', ...pagesIn('docs')]
    .filter((path) => !generatedPages.includes(path))
    .map(readPage);

/** Written by tests of their own, which hold them against what they tell of. */
const generatedPages = ['docs/compatibility.md', 'docs/configuration.md', 'docs/packet-walk.md'];

/** Every page whose links are looked at. */
export const linkedPages = (): Page[] => [
  ...typedPages(),
  ...generatedPages.map(readPage),
  ...pagesIn('docs/adr').map(readPage),
];

/** Whether there is such a file or directory in the checkout. */
export const isInCheckout = (path: string): boolean => existsSync(join(checkout, path));
