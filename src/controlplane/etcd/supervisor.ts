/**
 * Keeps one etcd running for this manager. What must stay true: never two on one data directory; it outlives this
 * process (own session, kill -9 of the daemon stops no store) and is adopted by the next one; an etcd that does not
 * answer or was started otherwise is replaced; one that dies is started again with backoff. Which process is ours is
 * read from /proc by its data directory, at every start: there is no window in which a started etcd is not yet
 * written down, as a pid file would have. The init system must not kill it with the daemon (systemd: KillMode=process).
 */
import { spawn } from 'node:child_process';
import { chmod, mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { OutsideError } from '../../model/errors.js';
import { backoffMs } from '../../runtime/backoff.js';
import type { Clock } from '../../runtime/clock.js';
import { systemClock } from '../../runtime/clock.js';
import { late, within } from '../../runtime/deadline.js';
import { decide } from '../../runtime/decide.js';
import type { Log } from '../../runtime/log.js';
import { orAbort } from '../../runtime/or-abort.js';
import { clientAddress, etcdArguments, lastingArguments, socketPath, trustFileOf } from './arguments.js';
import type { EtcdConfig, StartMode } from './arguments.js';
import { EtcdClient } from './client.js';
import { hasLog } from './data-directory.js';
import { EtcdEndedError, endOf } from './ended.js';
import { etcdSettingsDefaults } from './settings.js';
import type { EtcdSettings } from './settings.js';
import { isAlive, startTimeOf } from './process-table.js';
import { endEtcd, endProcess, etcdProgram, etcdsOf } from './running-etcd.js';
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
const retryMsMax = 10_000;
const logBytesMax = 8 * 1024 * 1024;

/** Of the end of etcd's log, which says why it ended. */
const logEndBytes = 256 * 1024;
/** So often etcd may end on the data that it has before they are taken to be lost: a start may be killed by others. */
const endsMax = 3;

export class EtcdSupervisor {
  /** gRPC target for clients. */
  readonly address: string;
  readonly #options: EtcdSupervisorOptions;
  readonly #clock: Clock;
  readonly #ending = new AbortController();
  #config: EtcdConfig;
  #current: ProcessRef | undefined;
  #trustFile = '';
  /** Where in its log the etcd that was started last begins. */
  #logStart = 0;
  #restarting: { readonly done: () => void } | undefined;
  #error = '';
  readonly #lost: { promise: Promise<EtcdEndedError>; resolve: (err: EtcdEndedError) => void };
  #guarding: Promise<void> = Promise.resolve();

  constructor(options: EtcdSupervisorOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#config = options.config;
    this.address = clientAddress(options.config);
    let resolve: (err: EtcdEndedError) => void = () => undefined;
    const promise = new Promise<EtcdEndedError>((settle) => (resolve = settle));
    this.#lost = { promise, resolve };
  }

  /** Resolves when etcd ends again and again on the data that it has; it is not started any more then. */
  get lost(): Promise<EtcdEndedError> {
    return this.#lost.promise;
  }

  /** Why etcd is away now; empty for no reason. */
  get error(): string {
    return this.#error;
  }

  get settings(): EtcdSettings {
    return this.#config.settings ?? etcdSettingsDefaults;
  }

  /** The file of roots that the etcd that runs was started with; empty: it speaks without TLS. */
  get trustFile(): string {
    return this.#trustFile;
  }

  /** The etcd that runs now. */
  get pid(): number | undefined {
    return this.#current?.pid;
  }

  /**
   * Resolves when etcd answers with a leader. Throws OutsideError when it does not in time; the etcd started for
   * it is ended then. `forceNew` ends a running one first.
   * @param signal rejects with its reason when that aborts; the etcd is left running then, as by {@link detach}
   */
  async start(mode: StartMode, signal?: AbortSignal): Promise<void> {
    const running = await this.#running();
    this.#current = await this.#adopt(running, mode, signal);
    try {
      if (!this.#current) {
        for (const process of running) await endProcess(process, this.#clock);
        this.#current = await this.#spawn(mode);
        await this.#ready(this.#current, this.#options.readyMs ?? readyMsDefault, signal);
      }
    } catch (err) {
      if (signal?.aborted) await this.detach();
      else await this.stop();
      throw err;
    }
    this.#guarding = this.#guard(this.#current);
  }

  /**
   * Ends the etcd that runs, and resolves when one with these settings answers. Throws OutsideError when it does not in time.
   * @param rootFile other roots to trust; absent: those of before
   */
  async restart(settings: EtcdSettings, rootFile?: string): Promise<void> {
    const answers = new Promise<void>((done) => (this.#restarting = { done }));
    const { peerTls } = this.#config;
    const trust = peerTls && rootFile !== undefined ? { peerTls: { ...peerTls, rootFile } } : {};
    this.#config = { ...this.#config, settings, ...trust };
    if (this.#current) await endProcess(this.#current, this.#clock);
    try {
      const readyMs = this.#options.readyMs ?? readyMsDefault;
      if ((await within(this.#clock, readyMs, orAbort(answers, this.#ending.signal))) === late)
        throw new OutsideError(`etcd did not answer within ${readyMs} ms`, true);
    } finally {
      this.#restarting = undefined;
    }
  }

  /** Ends etcd and the watch over it. A supervisor that was stopped or detached does not start again. */
  async stop(): Promise<void> {
    await this.detach();
    const { program } = this.#options;
    await endEtcd(this.#config.dataDir, { clock: this.#clock, ...(program !== undefined && { program }) });
    this.#current = undefined;
  }

  /** Stops watching over etcd and leaves it running for the next supervisor. */
  async detach(): Promise<void> {
    this.#ending.abort(new OutsideError('the etcd supervisor has ended', false));
    await this.#guarding;
  }

  #running(): Promise<readonly RunningProcess[]> {
    const { program = etcdProgram } = this.#options;
    return etcdsOf(this.#config.dataDir, program);
  }

  async #adopt(
    running: readonly RunningProcess[],
    mode: StartMode,
    signal?: AbortSignal,
  ): Promise<ProcessRef | undefined> {
    const [only, ...more] = running;
    if (!only || more.length > 0 || mode !== 'existing') return undefined;
    const { log } = this.#options;
    const wanted = lastingArguments(this.#config);
    if (!wanted.every((arg) => only.args.includes(arg))) {
      log.info({ pid: only.pid }, 'etcd runs with other settings, will be replaced');
      return undefined;
    }
    try {
      await this.#ready(only, adoptMs, signal);
    } catch (err) {
      if (signal?.aborted) throw err;
      log.warn({ pid: only.pid, err }, 'etcd runs and does not answer, will be replaced');
      return undefined;
    }
    decide(log, 'etcd.adopted', { etcdPid: only.pid });
    this.#trustFile = trustFileOf(only.args);
    return only;
  }

  async #spawn(mode: StartMode): Promise<ProcessRef> {
    const { log, logFile, program = etcdProgram } = this.#options;
    const config = this.#config;
    await mkdir(config.socketDir, { recursive: true, mode: 0o700 });
    await mkdir(config.dataDir, { recursive: true, mode: 0o700 });
    // Also when they were there before: the socket admits whoever can reach it, and etcd insists for its data.
    await chmod(config.socketDir, 0o700);
    await chmod(config.dataDir, 0o700);
    // A killed etcd leaves its socket, and 3.4 fails to bind over it. No other etcd runs here: see start and guard.
    await rm(socketPath(config), { force: true });
    const output = await openLog(logFile);
    this.#logStart = (await output.stat()).size;
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
      const startTime = pid === undefined ? undefined : startTimeOf(pid);
      if (pid === undefined || startTime === undefined) throw await this.#ended();
      decide(log, 'etcd.started', { etcdPid: pid, mode });
      this.#trustFile = config.peerTls?.rootFile ?? '';
      return { pid, startTime };
    } finally {
      await output.close();
    }
  }

  /** Polls until etcd answers with a leader; throws when it died or time is up. */
  async #ready(target: ProcessRef, withinMs: number, signal?: AbortSignal): Promise<void> {
    const client = new EtcdClient(this.address);
    const deadlineMs = performance.now() + withinMs;
    try {
      for (;;) {
        this.#ending.signal.throwIfAborted();
        signal?.throwIfAborted();
        if (!isAlive(target)) throw await this.#ended();
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

  /** Starts etcd again whenever it is gone, until told to stop or its data are lost. */
  async #guard(first: ProcessRef): Promise<void> {
    const { signal } = this.#ending;
    const { log } = this.#options;
    let current = first;
    let failures = 0;
    let ends = 0;
    while (!signal.aborted) {
      // An adopted process is nobody's child here, so there is no event to wait for.
      if (isAlive(current)) {
        await this.#clock.sleep(this.#restarting ? pollMs : watchMs, signal).catch(() => undefined);
        continue;
      }
      this.#current = undefined;
      if (!this.#restarting) decide(log, 'etcd.gone', { etcdPid: current.pid, failures });
      await this.#clock.sleep(backoffMs(failures, retryMsMax), signal).catch(() => undefined);
      if (signal.aborted) return;
      failures += 1;
      if (!(await hasLog(this.#config.dataDir))) {
        const words = 'its data are gone';
        return this.#lost.resolve(new EtcdEndedError({ reason: 'damaged', words }, this.#options.logFile));
      }
      try {
        this.#current = current = await this.#spawn('existing');
        await this.#ready(current, this.#options.readyMs ?? readyMsDefault);
        failures = ends = 0;
        this.#error = '';
        this.#restarting?.done();
      } catch (err) {
        if (signal.aborted) return;
        this.#error = (err as Error).message;
        log.error({ err, failures }, 'etcd could not be started');
        if (!(err instanceof EtcdEndedError) || err.reason === 'host') continue;
        ends += 1;
        if (ends >= endsMax) return this.#lost.resolve(err);
      }
    }
  }

  /** Why the etcd that was started last has ended, by its log. */
  async #ended(): Promise<EtcdEndedError> {
    const { logFile } = this.#options;
    return new EtcdEndedError(endOf(await readEnd(logFile, this.#logStart)), logFile);
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

/** What was written from `start` on, the last of it. */
async function readEnd(path: string, start: number): Promise<string> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    const from = Math.max(start, size - logEndBytes);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(Math.max(0, size - from)), 0, undefined, from);
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await file.close();
  }
}
