/** What is wrong with the options of a host: each with what happened, what it means and what to do. */
import { OutsideError } from '../model/errors.js';
import type { DaemonName } from './table.js';

export interface Finding {
  /** Where it was said. */
  readonly from: 'file' | 'environment';
  /** In the file, from 1; undefined where it has no place there. */
  readonly line?: number;
  /** Whom it concerns: they do not start with it. */
  readonly daemons: readonly DaemonName[];
  /** They start all the same, and `means` says how. */
  readonly tolerated?: true;
  readonly what: string;
  readonly means: string;
  readonly todo: string;
}

/** What does not happen because of a finding, and what goes on all the same. */
export const notStarting = (daemons: readonly DaemonName[]): string =>
  daemons.length === 1
    ? `${daemons[0]} does not start with it; what runs and the network go on as they are`
    : 'neither skepd nor skep-dataplane starts with it; what runs and the network go on as they are';

const placeOf = ({ from, line }: Finding, file: string): string =>
  from === 'environment' ? 'environment' : line === undefined ? file : `${file}:${line}`;

/** For a terminal: the place and what is wrong, what it means, what to do. */
export const findingLines = (finding: Finding, file: string): string[] => [
  `${placeOf(finding, file)}: ${finding.what}`,
  `  what it means: ${finding.means}`,
  `  what to do: ${finding.todo}`,
];

/** For a log: all in one line. */
export const findingText = (finding: Finding, file: string): string =>
  `${placeOf(finding, file)}: ${finding.what}; ${finding.means}; to mend it: ${finding.todo}`;

/**
 * A daemon does not start with options like these. `message` has all findings, in words for who wrote the file; it is all that a log gets
 * of it, once, since a daemon that is started again and again says it each time.
 */
export class OptionsError extends OutsideError {
  override readonly name = 'OptionsError';

  constructor(file: string, findings: readonly Finding[]) {
    super(findings.map((finding) => findingText(finding, file)).join(' | '), false);
    // Where it was thrown says nothing to who wrote the file.
    this.stack = this.name;
  }
}
