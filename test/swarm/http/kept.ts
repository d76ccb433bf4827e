/** The answers of Docker's own Swarm that are kept beside the script, one file for each newest API version of an engine. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Answer } from './answer.js';
import type { Answers } from './play.js';

const fileOf = (version: string): string =>
  fileURLToPath(new URL(`./kept/swarm-${version}.json`, import.meta.url));

/** Undefined where none of this version are kept. */
export function keptAnswers(version: string): Answers | undefined {
  const file = fileOf(version);
  if (!existsSync(file)) return undefined;
  return new Map(Object.entries(JSON.parse(readFileSync(file, 'utf8')) as Record<string, Answer>));
}

/** One line an answer: a change is read as one. */
export function keepAnswers(version: string, answers: Answers): void {
  const lines = [...answers].map(([title, answer]) => `${JSON.stringify(title)}: ${JSON.stringify(answer)}`);
  writeFileSync(fileOf(version), `{\n${lines.join(',\n')}\n}\n`);
}
