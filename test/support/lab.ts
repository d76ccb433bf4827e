/**
 * A lab for one test file: taken up before its tests and down after them, whatever became of them. The name is the file's own,
 * so what an interrupted run has left is found and removed by the next one.
 */
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect } from 'vitest';
import { Lab } from '../../src/lab/lab.js';
import type { Kernel } from '../../src/lab/kernels.js';
import type { LoadReport } from '../../src/lab/http-load.js';
import { loadFrom } from './http-load.js';

const upDeadlineMs = 240_000;
const downDeadlineMs = 60_000;
const commandDeadlineMs = 60_000;
const verifiedMs = 20_000;
/** Lines of one log. */
const complaintsMax = 40;

export interface TestLabOptions {
  readonly name: string;
  readonly nodes: number;
  readonly engineOnly?: boolean;
  readonly kernel?: Kernel;
}

/** A lab that is up while the tests of the calling file run. */
export class TestLab {
  #lab: Lab | undefined;

  /** Registers the hooks; call it at the top of a test file. */
  constructor(options: TestLabOptions) {
    beforeAll(async () => {
      await Lab.down(options.name);
      this.#lab = await Lab.up({ ...options, progress: () => undefined });
    }, upDeadlineMs);
    afterAll(async () => {
      await Lab.down(options.name);
    }, downDeadlineMs);
  }

  get lab(): Lab {
    if (!this.#lab) throw new Error('the lab is not up');
    return this.#lab;
  }

  /** Runs a command in a node, expects exit code 0 and returns its standard output without the last newline. */
  async run(node: string, argv: readonly string[], deadlineMs = commandDeadlineMs): Promise<string> {
    const { exitCode, stdout, stderr } = await this.lab.exec(node, argv, { deadlineMs });
    const said = exitCode === 0 ? '' : stdout + stderr;
    expect({ command: argv.join(' '), exitCode, said }).toEqual({
      command: argv.join(' '),
      exitCode: 0,
      said: '',
    });
    return stdout.trimEnd();
  }

  /** As `run`, for a command line of the docker CLI written as one string (no quoting: words are split at spaces). */
  docker(node: string, words: string, deadlineMs?: number): Promise<string> {
    return this.run(node, ['docker', ...words.split(' ')], deadlineMs);
  }

  /** What the daemons of a node complained of last, of each the last lines: for whoever has to explain a failure. */
  async complaints(node: string): Promise<string> {
    const files = await this.lab.logFiles(node);
    const texts = await Promise.all(
      files.map(async (file) => {
        const lines = (await readFile(file, 'utf8'))
          .split('\n')
          .filter((line) => /"level":[456]0/.test(line));
        return lines.length === 0 ? [] : [`${file}:`, ...lines.slice(-complaintsMax)];
      }),
    );
    return texts.flat().join('\n');
  }

  /** The node's kernel is soon as it is to be: what was changed last may be under way still. Fails with what differs. */
  async expectVerified(node: string, withinMs = verifiedMs): Promise<void> {
    try {
      await eventually(
        `skep verify on ${node}`,
        withinMs,
        () => this.lab.exec(node, ['skep', 'verify'], { deadlineMs: 30_000 }),
        ({ exitCode, stdout, stderr }) =>
          expect({ exitCode, said: exitCode === 0 ? '' : stdout + stderr }).toEqual({
            exitCode: 0,
            said: '',
          }),
      );
    } catch (cause) {
      throw new Error([String(cause), await this.complaints(node), await this.#processes(node)].join('\n'), {
        cause,
      });
    }
  }

  /** What runs on a node, with the processor time that it has had, and what it waits for. */
  async #processes(node: string): Promise<string> {
    const { stdout, stderr } = await this.lab.exec(node, ['ps', '-eo', 'pid,ni,stat,time,wchan:24,args']);
    return stdout + stderr;
  }

  /** `count` requests from the client at `perSecond`, spread over the URLs in turn. */
  load(count: number, perSecond: number, urls: readonly string[]): Promise<LoadReport> {
    return loadFrom(this.lab, count, perSecond, urls);
  }
}

/**
 * Asks again until the answer passes `check` (which throws like any assertion) and returns it; when `deadlineMs` have passed
 * the last failure is thrown, with what was waited for.
 */
export async function eventually<T>(
  what: string,
  deadlineMs: number,
  observe: () => Promise<T>,
  check: (value: T) => void,
): Promise<T> {
  const end = Date.now() + deadlineMs;
  for (;;) {
    try {
      const value = await observe();
      check(value);
      return value;
    } catch (cause) {
      if (Date.now() >= end)
        throw new Error(`${what}: not within ${deadlineMs} ms: ${(cause as Error).message}`, { cause });
      await delay(500);
    }
  }
}
