/**
 * One administrator's session, done with the stock docker CLI to a lab whoever manages it, and what it said: with everything
 * replaced that differs from one cluster to the next, so that two transcripts can be compared.
 */
import type { ManagedLab } from '../support/managed-lab.js';

/** What was asked and what came of it. */
export interface Said {
  readonly asked: string;
  readonly exitCode: number;
  readonly output: string;
}

const deadlineMs = 60_000;

const normalise = (text: string): string =>
  text
    .replace(/SWMTKN-1-[0-9a-z-]+/g, 'TOKEN')
    .replace(/SWMKEY-1-[A-Za-z0-9+/]+/g, 'KEY')
    .replace(/\b[0-9a-z]{25}\b/g, 'ID')
    .replace(/ ((about|less than) )?(a|an|\d+) (second|minute)s? ago/gi, '')
    .trim();

export class Session {
  readonly #said: Said[] = [];

  constructor(readonly lab: ManagedLab) {}

  get transcript(): readonly Said[] {
    return this.#said;
  }

  /** Runs a command of the CLI, which may fail. @returns what it wrote to standard output */
  async docker(node: string, words: string | readonly string[]): Promise<string> {
    const { exitCode, stdout, stderr } = await this.lab.docker(node, words);
    this.#said.push({
      asked: normalise(`${node}: docker ${typeof words === 'string' ? words : words.join(' ')}`),
      exitCode,
      output: normalise(`${stdout}\n${stderr}`),
    });
    return stdout.trim();
  }

  /** One request to the API, as {@link ManagedLab.ask}. @param named what it is called in the transcript; by default as it was sent */
  async ask(node: string, method: string, path: string, body?: object, named?: string): Promise<string> {
    const answer = await this.lab.ask(node, method, path, body);
    const sent = body === undefined ? '' : ` ${JSON.stringify(body)}`;
    const asked = normalise(`${node}: ${named ?? `${method} ${path}${sent}`}`);
    this.#said.push({
      asked,
      exitCode: 0,
      output: normalise(answer.replace(/"Index":\d+/g, '"Index":N').replace(/"20\d\d-[^"]*Z"/g, 'TIME')),
    });
    return answer;
  }

  /** Asks until `check` holds and notes the last answer. */
  async until(
    node: string,
    words: string | readonly string[],
    check: (output: string) => boolean,
  ): Promise<void> {
    await this.lab.until(node, words, check, deadlineMs);
    await this.docker(node, words);
  }

  /** What was seen otherwise than word by word: parts in no order. */
  note(asked: string, seen: readonly string[]): void {
    this.#said.push({ asked, exitCode: 0, output: seen.map(normalise).sort().join('\n--\n') });
  }

  /** Waits until the service has as many tasks as it is to have, and notes how many of them each node runs. */
  async spread(node: string, service: string, replicas: string): Promise<void> {
    await this.lab.until(
      node,
      `service ls --filter name=${service} --format {{.Replicas}}`,
      (output) => output === replicas,
      deadlineMs,
    );
    const words = `service ps ${service} --filter desired-state=running --format {{.Node}}`;
    const rows = (await this.lab.must(node, words)).split('\n').sort();
    this.#said.push({ asked: `${node}: tasks of ${service} by node`, exitCode: 0, output: rows.join(' ') });
  }
}
