/**
 * Keeps one etcd running for this manager. What must stay true: never two on one data directory; it outlives this
 * process (own session, kill -9 of the daemon stops no store) and is adopted by the next one; an etcd that does not
 * answer or was started otherwise is replaced; one that dies is started again with backoff. Which process is ours is
 * read from /proc by its data directory, at every start: there is no window in which a started etcd is not yet
 * written down, as a pid file would have. The init system must not kill it with the daemon (systemd: KillMode=process).
 */
import { spawn } from 'node:child_process';
import { chmod, mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { OutsideError } from '../../model/errors.js';
import { backoffMs } from '../../runtime/backoff.js';
import type { Clock } from '../../runtime/clock.js';
import { systemClock } from '../../runtime/clock.js';
import type { Log } from '../../runtime/log.js';
import { clientAddress, etcdArguments, lastingArguments, socketPath } from './arguments.js';
import type { EtcdConfig, StartMode } from './arguments.js';
import { EtcdClient } from './client.js';
import { findProcesses, isAlive, signalProcess, startTimeOf } from './process-table.js';
import type { ProcessRef, RunningProcess } from './process-table.js';

export interface EtcdSupervisorOptions {
  readonly config: EtcdConfig;
  /** etcd's own messages; it writes keys and sizes there, never values. */
  readonly logFile: string;
  readonly log: Log;
  readonly clock?: Clock;
  /** The program; default `etcd` on the PATH. */
  readonly program?: string;
  /** How long etcd may take to answer after its start. */
  readonly readyMs?: number;
}

const readyMsDefault = 60_000;
const pollMs = 100;
/** How often an etcd that runs is looked at. */
const watchMs = 500;
const probeMs = 2_000;
/** A process found running gets this long to answer before it is replaced. */
const adoptMs = 10_000;
const termMs = 5_000;
const retryMsMax = 10_000;
const logBytesMax = 8 * 1024 * 1024;

/** etcd does not stay up on the data that it has: they are damaged, or those of a member that was removed. */
export class EtcdEndedError extends OutsideError {
  override readonly name = 'EtcdEndedError';

  constructor(logFile: string) {
    super(`etcd ended, see ${logFile}`, true);
  }
}

export class EtcdSupervisor {
  /** gRPC target for clients. */
  readonly address: string;
  readonly #options: EtcdSupervisorOptions;
  readonly #clock: Clock;
  readonly #ending = new AbortController();
  #current: ProcessRef | undefined;
  #guarding: Promise<void> = Promise.resolve();

  constructor(options: EtcdSupervisorOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.address = clientAddress(options.config);
  }

  /** The etcd that runs now. */
  get pid(): number | undefined {
    return this.#current?.pid;
  }

  /**
   * Resolves when etcd answers with a leader. Throws OutsideError when it does not in time; the etcd started for
   * it is ended then. `forceNew` ends a running one first.
   */
  async start(mode: StartMode): Promise<void> {
    const running = await this.#running();
    this.#current = await this.#adopt(running, mode);
    try {
      if (!this.#current) {
        for (const process of running) await this.#end(process);
        this.#current = await this.#spawn(mode);
        await this.#ready(this.#current, this.#options.readyMs ?? readyMsDefault);
      }
    } catch (err) {
      await this.stop();
      throw err;
    }
    this.#guarding = this.#guard(this.#current);
  }

  /** Ends etcd and the watch over it. A supervisor that was stopped or detached does not start again. */
  async stop(): Promise<void> {
    await this.detach();
    for (const process of await this.#running()) await this.#end(process);
    this.#current = undefined;
  }

  /** Stops watching over etcd and leaves it running for the next supervisor. */
  async detach(): Promise<void> {
    this.#ending.abort(new OutsideError('the etcd supervisor has ended', false));
    await this.#guarding;
  }

  async #running(): Promise<readonly RunningProcess[]> {
    const { config, program = 'etcd' } = this.#options;
    const mark = `--data-dir=${config.dataDir}`;
    return findProcesses(
      ([executable, ...args]) => basename(executable ?? '') === basename(program) && args.includes(mark),
    );
  }

  async #adopt(running: readonly RunningProcess[], mode: StartMode): Promise<ProcessRef | undefined> {
    const [only, ...more] = running;
    if (!only || more.length > 0 || mode === 'forceNew') return undefined;
    const { log, config } = this.#options;
    const wanted = lastingArguments(config);
    if (!wanted.every((arg) => only.args.includes(arg))) {
      log.info({ pid: only.pid }, 'etcd runs with other settings, will be replaced');
      return undefined;
    }
    try {
      await this.#ready(only, adoptMs);
    } catch (err) {
      log.warn({ pid: only.pid, err }, 'etcd runs and does not answer, will be replaced');
      return undefined;
    }
    log.info({ pid: only.pid }, 'etcd adopted');
    return only;
  }

  async #spawn(mode: StartMode): Promise<ProcessRef> {
    const { config, log, logFile, program = 'etcd' } = this.#options;
    await mkdir(config.socketDir, { recursive: true, mode: 0o700 });
    await mkdir(config.dataDir, { recursive: true, mode: 0o700 });
    // Also when they were there before: the socket admits whoever can reach it, and etcd insists for its data.
    await chmod(config.socketDir, 0o700);
    await chmod(config.dataDir, 0o700);
    // A killed etcd leaves its socket, and 3.4 fails to bind over it. No other etcd runs here: see start and guard.
    await rm(socketPath(config), { force: true });
    const output = await openLog(logFile);
    try {
      const child = spawn(program, etcdArguments(config, mode), {
        cwd: config.socketDir,
        detached: true,
        stdio: ['ignore', output.fd, output.fd],
        // ETCD_… variables of this process must not configure it.
        env: { PATH: process.env['PATH'] },
      });
      await new Promise<void>((resolve, reject) => {
        child.once('spawn', resolve);
        child.once('error', (cause) => reject(new OutsideError(`cannot start ${program}`, false, { cause })));
      });
      child.unref();
      const { pid } = child;
      const startTime = pid === undefined ? undefined : await startTimeOf(pid);
      if (pid === undefined || startTime === undefined) throw new EtcdEndedError(logFile);
      log.info({ pid, mode }, 'etcd started');
      return { pid, startTime };
    } finally {
      await output.close();
    }
  }

  /** Polls until etcd answers with a leader; throws when it died or time is up. */
  async #ready(target: ProcessRef, withinMs: number): Promise<void> {
    const client = new EtcdClient(this.address);
    const deadlineMs = performance.now() + withinMs;
    try {
      for (;;) {
        this.#ending.signal.throwIfAborted();
        if (!(await isAlive(target))) throw new EtcdEndedError(this.#options.logFile);
        try {
          // Both: the status says who leads, the read proves that it can.
          if ((await client.status(probeMs)).hasLeader) {
            await client.get('/', probeMs);
            return;
          }
        } catch (err) {
          if (!(err instanceof OutsideError) || !err.retryable) throw err;
        }
        if (performance.now() > deadlineMs)
          throw new OutsideError(`etcd did not answer within ${withinMs} ms`, true);
        await this.#clock.sleep(pollMs);
      }
    } finally {
      client.close();
    }
  }

  /** Starts etcd again whenever it is gone, until told to stop. */
  async #guard(first: ProcessRef): Promise<void> {
    const { signal } = this.#ending;
    const { log } = this.#options;
    let current = first;
    let failures = 0;
    while (!signal.aborted) {
      // An adopted process is nobody's child here, so there is no event to wait for.
      if (await isAlive(current)) {
        await this.#clock.sleep(watchMs, signal).catch(() => undefined);
        continue;
      }
      this.#current = undefined;
      log.error({ pid: current.pid, failures }, 'etcd is gone, will be started again');
      await this.#clock.sleep(backoffMs(failures, retryMsMax), signal).catch(() => undefined);
      if (signal.aborted) return;
      failures += 1;
      try {
        // The data directory decides; the mode matters only when it is empty, and then nothing was lost.
        this.#current = current = await this.#spawn('existing');
        await this.#ready(current, this.#options.readyMs ?? readyMsDefault);
        failures = 0;
      } catch (err) {
        if (signal.aborted) return;
        log.error({ err, failures }, 'etcd could not be started');
      }
    }
  }

  async #end(target: ProcessRef): Promise<void> {
    await signalProcess(target, 'SIGTERM');
    if (await this.#gone(target, termMs)) return;
    await signalProcess(target, 'SIGKILL');
    if (!(await this.#gone(target, termMs)))
      throw new OutsideError(`etcd (process ${target.pid}) cannot be ended`, true);
  }

  async #gone(target: ProcessRef, withinMs: number): Promise<boolean> {
    const deadlineMs = performance.now() + withinMs;
    while (await isAlive(target)) {
      if (performance.now() > deadlineMs) return false;
      await this.#clock.sleep(pollMs / 2);
    }
    return true;
  }
}

/** Opens for appending; what has grown too large is kept once, as `<name>.1`. */
async function openLog(path: string) {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const size = await stat(path).then(
    (found) => found.size,
    () => 0,
  );
  if (size > logBytesMax) await rename(path, `${path}.1`);
  return open(path, 'a', 0o600);
}
