/** bench/RESULTS.md: the last run of each bench on each kernel, one section each. Written by the harness alone. */
import type { Cells, Report } from './report.js';
import { seriesCells, verdictCells } from './report.js';

/** Where and of what a run was. */
export interface Provenance {
  readonly commit: string;
  /** Processors, memory and kernel, in words. */
  readonly machine: string;
  readonly date: string;
  readonly rounds: number;
}

const head = `# Results

The last run of each bench, written by \`npm run bench\` and never by hand. Ratios are of medians over alternating rounds of one run, in brackets the
smallest and the largest of the rounds. Absolute figures are those of a small, busy machine and say nothing by themselves. What each means: [README.md](README.md).
`;

/** One run as a section. @param plot the picture's path from bench/ */
export const sectionOf = (title: string, provenance: Provenance, report: Report, plot: string): string =>
  [
    `## ${title}`,
    `Commit ${provenance.commit}, ${provenance.date}, ${provenance.rounds} rounds. ${provenance.machine}`,
    markdownOf(seriesCells(report.series)),
    ...(report.verdicts.length > 0 ? [markdownOf(verdictCells(report.verdicts))] : []),
    `![${title}](${plot})`,
  ].join('\n\n');

/** The document with that section instead of an older one of its title; sections are in the order of their titles. */
export function withSection(document: string, section: string): string {
  const titleOf = (text: string): string => text.slice(0, text.indexOf('\n'));
  const others = document
    .split(/^(?=## )/m)
    .slice(1)
    .map((text) => text.trimEnd())
    .filter((text) => titleOf(text) !== titleOf(section));
  const sections = [...others, section.trimEnd()].sort((a, b) => titleOf(a).localeCompare(titleOf(b), 'en'));
  return `${[head, ...sections].join('\n\n')}\n`;
}

const markdownOf = ([first = [], ...rows]: Cells): string =>
  [first, first.map(() => '---'), ...rows]
    .map((row) => `| ${row.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`)
    .join('\n');
