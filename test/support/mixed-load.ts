/** The mixed load of src/lab/mixed-load.ts, from the machine outside a lab's cluster, for as long as the scope lasts. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { checkout } from '../../src/lab/lab.js';
import type { Lab } from '../../src/lab/lab.js';
import type { MixedReport } from '../../src/lab/mixed-load.js';

/** Requests begun a second, over all services. */
export interface MixedRates {
  readonly new: number;
  readonly kept: number;
  /** Transfers of twenty seconds; the service must have them. */
  readonly streams: number;
}

const leaveMs = 10_000;
/** Not how fast answers are to come, only that they come. */
const silenceMsDefault = 15_000;

export class MixedLoad implements Disposable {
  readonly #child;
  readonly #lines: string[] = [];
  readonly #heard = new Set<() => void>();

  /**
   * @param services URLs by the service's name
   * @param silenceMs how long a request may wait for an answer, or for more of it
   */
  constructor(
    lab: Lab,
    rates: MixedRates,
    services: Readonly<Record<string, readonly string[]>>,
    silenceMs = silenceMsDefault,
  ) {
    const targets = Object.entries(services).map(([name, urls]) => `${name}=${urls.join(',')}`);
    const perSecond = [rates.new, rates.kept, rates.streams].map(String);
    const program = [
      process.execPath,
      `${checkout}/dist/lab/mixed-load.js`,
      ...perSecond,
      String(silenceMs),
      ...targets,
    ];
    const [command = '', ...args] = lab.clientCommand(program);
    this.#child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      this.#lines.push(line);
      for (const hear of this.#heard) hear();
    });
  }

  /** No more requests to the service; its streams go on. */
  async leave(name: string): Promise<void> {
    this.#child.stdin.write(`leave ${name}\n`);
    await new Promise<void>((resolve, reject) => {
      const done = (act: () => void): void => {
        clearTimeout(timer);
        this.#heard.delete(hear);
        act();
      };
      const hear = (): void => {
        if (this.#lines.includes(`left ${name}`)) done(resolve);
      };
      const late = new Error(`requests to ${name} had no end within ${leaveMs} ms`);
      const timer = setTimeout(() => done(() => reject(late)), leaveMs);
      this.#heard.add(hear);
      hear();
    });
  }

  /** Begins no more, awaits what is under way, and gives the account of all. */
  async end(): Promise<MixedReport> {
    const ended = once(this.#child, 'close');
    this.#child.stdin.end();
    await ended;
    return JSON.parse(this.#lines.at(-1) ?? '') as MixedReport;
  }

  [Symbol.dispose](): void {
    this.#child.kill('SIGKILL');
  }
}
