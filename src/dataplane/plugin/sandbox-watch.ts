/**
 * Tells the reconciler when a sandbox appears. The engine calls Join before the namespace exists; later the file of
 * the sandbox key is made and the namespace mounted on it, which inotify does not report. So a new file starts a short
 * series of pokes that ends as soon as the sandbox is programmed (or after its bound: the resync has it then).
 */
import { watch } from 'node:fs';
import type { FSWatcher } from 'node:fs';
import { basename, dirname } from 'node:path';
import type { Clock } from '../../runtime/clock.js';
import { backoffMs } from '../../runtime/backoff.js';
import type { Log } from '../../runtime/log.js';
import type { SandboxEndpoint } from '../sandbox.js';

export interface SandboxWatchOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly poke: () => void;
  /** Resolves once the inside of the sandbox equals the plan; rejects when the signal aborts. */
  readonly waitProgrammed: (endpointId: string, signal: AbortSignal) => Promise<void>;
}

/** A poke every 100, 200, … at most 1,000 ms. */
const pokeGapMsMax = 1000;
const pokesMax = 15;

export class SandboxWatch implements Disposable {
  readonly #directories = new Map<string, FSWatcher>();
  readonly #series = new Map<string, AbortController>();
  #endpoints: readonly SandboxEndpoint[] = [];
  /** Directories that cannot be watched: the engine makes its own with the first container. */
  readonly #unwatched = new Set<string>();

  constructor(private readonly options: SandboxWatchOptions) {}

  /** The endpoints to watch for from now on. Their directories are watched, one watcher each. */
  follow(endpoints: readonly SandboxEndpoint[]): void {
    const before = new Set(this.#endpoints.map((one) => `${one.endpointId} ${one.sandboxKey}`));
    this.#endpoints = endpoints;
    const wanted = new Set(endpoints.flatMap((one) => (one.sandboxKey ? [dirname(one.sandboxKey)] : [])));
    for (const [directory, watcher] of this.#directories)
      if (!wanted.has(directory)) {
        watcher.close();
        this.#directories.delete(directory);
      }
    for (const directory of wanted) if (!this.#directories.has(directory)) this.#watch(directory);
    for (const [endpointId, series] of this.#series)
      if (!endpoints.some((one) => one.endpointId === endpointId)) series.abort();
    // The file may have been made before the watch stood.
    for (const one of endpoints)
      if (one.sandboxKey && !before.has(`${one.endpointId} ${one.sandboxKey}`))
        this.#startSeries(one.endpointId);
  }

  [Symbol.dispose](): void {
    for (const watcher of this.#directories.values()) watcher.close();
    for (const series of this.#series.values()) series.abort();
    this.#directories.clear();
  }

  #watch(directory: string): void {
    const forget = (err: unknown): void => {
      // The resync still finds the sandbox, later; the next follow() tries again.
      if (!this.#unwatched.has(directory))
        this.options.log.info({ directory, err }, 'cannot watch the directory of sandboxes yet');
      this.#unwatched.add(directory);
      this.#directories.delete(directory);
    };
    try {
      const watcher = watch(directory, { persistent: false }, (_event, file) => {
        for (const { endpointId, sandboxKey } of this.#endpoints)
          if (sandboxKey && basename(sandboxKey) === file && dirname(sandboxKey) === directory)
            this.#startSeries(endpointId);
      });
      watcher.on('error', forget);
      this.#directories.set(directory, watcher);
      this.#unwatched.delete(directory);
    } catch (err) {
      forget(err);
    }
  }

  #startSeries(endpointId: string): void {
    this.#series.get(endpointId)?.abort();
    const series = new AbortController();
    this.#series.set(endpointId, series);
    void this.#poke(endpointId, series.signal).finally(() => {
      if (this.#series.get(endpointId) === series) this.#series.delete(endpointId);
    });
  }

  async #poke(endpointId: string, signal: AbortSignal): Promise<void> {
    const { clock, poke, waitProgrammed } = this.options;
    const over = new AbortController();
    const either = AbortSignal.any([signal, over.signal]);
    waitProgrammed(endpointId, either).then(
      () => over.abort(),
      () => undefined,
    );
    for (let pokes = 1; pokes <= pokesMax && !either.aborted; pokes++) {
      poke();
      await clock.sleep(backoffMs(pokes, pokeGapMsMax), either).catch(() => undefined);
    }
    over.abort();
  }
}
