/**
 * Keeps the kernel equal to the desired value. A pass observes each namespace that may differ, plans, and applies in four
 * stages across all of them (see plan/diff.ts): make reachable, balance, unbalance, make unreachable. Passes are caused
 * by a new desired value, a notification of the kernel, a poke, or time.
 *
 * A namespace that was right for the value desired before is not looked at when that value changes: what differs between the
 * two plans is put and removed, whatever the kernel holds of it (docs/adr/0021). Everything else is planned from a look.
 *
 * What must stay true: no pass before the first desired value (planning from nothing would remove everything); memory is
 * never trusted for longer than until the next look for what the kernel holds; no notification is lost, whenever it comes; a
 * namespace that fails is looked at again, with backoff, and holds up nobody else. The process may die at any op: the
 * next one's first pass looks at everything.
 * Cost of a change: what it touches. Of a look: all that the namespace holds; at each that notified, once more `recheckMs`
 * after a change of our own, at all every `resyncMs`.
 */
import { AssertionError } from 'node:assert';
import { OutsideError } from '../../model/errors.js';
import type { TraceId } from '../../model/trace.js';
import { joinTraces } from '../../model/trace.js';
import { backoffMs } from '../../runtime/backoff.js';
import type { Clock } from '../../runtime/clock.js';
import { decide } from '../../runtime/decide.js';
import type { Log } from '../../runtime/log.js';
import { runLoop, Trigger } from '../../runtime/loop.js';
import { together } from '../../runtime/together.js';
import { Waiters } from '../../runtime/waiters.js';
import type { Kernel, Quiet } from '../kernel/kernel.js';
import type { EngineName } from '../plan/balancing.js';
import type { Difference } from '../difference.js';
import { differenceOf } from '../difference.js';
import type { Stage } from '../plan/diff.js';
import { opLine, stages } from '../plan/diff.js';
import type { EspSender } from '../plan/esp.js';
import type { Desired, Scope } from '../plan/node.js';
import { scopeName } from '../plan/node.js';
import type { ReconcilerFigures } from './figures.js';
import { Behind, countScopes, PassCounts } from './figures.js';
import { NodePass, sandboxesAtOnce } from './node-pass.js';
import type { EspLook, ScopeWork, Target } from './node-pass.js';
import { PassSummary } from './pass-summary.js';
import { ScopeRecord } from './scope-record.js';

export interface ReconcilerOptions {
  readonly kernel: Kernel;
  readonly clock: Clock;
  readonly log: Log;
  /** Longest time without a look at every namespace, where that takes little of it. */
  readonly resyncMs?: number;
  /** Longest time without a look that takes nothing for granted, chains and sets included. */
  readonly freshMs?: number;
  /** After ops of ours during which a namespace notified: what somebody else did meanwhile cannot be told from our own. */
  readonly recheckMs?: number;
  /** Shortest time between two passes: bursts of notifications become one. */
  readonly gapMs?: number;
  readonly retryMsMax?: number;
  /** Absent: kept for as long as this reconciler lives. */
  readonly espSender?: EspSenderRecord;
  /** That this process has taken so far; default: as the kernel counts it. */
  readonly processorMs?: () => number;
}

/** What this node has sent ESP with, kept beyond the process. */
export interface EspSenderRecord {
  readonly current: EspSender;
  /** Resolves once it is on disk. */
  save(sender: EspSender): Promise<void>;
}

/** Forgotten with the process. By the clock: what it made before must not be made again. */
export function unkeptSender(nowMs: number): EspSenderRecord {
  let current: EspSender = { epoch: Math.floor(nowMs / 1000), made: [] };
  return {
    get current() {
      return current;
    },
    save: async (sender) => void (current = sender),
  };
}

/** User and system time of this process so far. */
function ownProcessorMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}

/** How often an interface that the engine has yet to move is looked for, should no notification tell. */
const awaitedMs = 500;
/**
 * A container that has left its last network is nearly always about to end, and its namespace with it. One that is still there
 * after this was disconnected, and what we have in it must go.
 */
const abandonedMs = 1_000;
/** Somebody else's flush of our chains is repaired within a second, and so asked for as often where the kernel does not tell; */
const chainsMs = 250;
/** all else that changes without a word is within five. */
const quietMs = 2_000;
/** Rules that somebody changes all the time are not read all the time: each time takes a process. */
const rulesGapMs = 100;
/**
 * Looking at everything that is listened to besides is for what was not heard, and is to take a twentieth of a processor: with
 * 100,000 endpoints a look is two seconds of it.
 */
const restPerLook = 19;
/** Of a repair of drift, in the log: a flush of a chain may have taken a thousand. */
const opsShownMax = 20;
/** A repair that takes something apart to make it anew needs another pass for what hung on it. */
const repairPassesMax = 3;

/** What there is to be done in a namespace, and how much of it was done to make it reachable. */
interface Reached {
  readonly work: ScopeWork | null;
  readonly isChange: boolean;
  readonly ops: number;
}

/** What {@link Reconciler.repair} found and did. */
export interface Repair {
  readonly found: readonly Difference[];
  /** Operations done. */
  readonly repaired: number;
  /** What differs still. */
  readonly left: readonly Difference[];
}

export class Reconciler {
  readonly #kernel: Kernel;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #resyncMs: number;
  readonly #freshMs: number;
  readonly #recheckMs: number;
  readonly #gapMs: number;
  readonly #retryMsMax: number;
  readonly #espSender: EspSenderRecord;
  readonly #processorMs: () => number;
  readonly #trigger = new Trigger();
  readonly #rulesTold = new Trigger();
  readonly #waiters = new Waiters();
  readonly #records = new Map<string, ScopeRecord>();
  /** Paths of sandboxes that are no longer desired, and when they are looked at for the last time. */
  readonly #abandoned = new Map<string, number>();
  /** See {@link NodePass}; only of containers that are there. */
  readonly #joined = new Map<string, ReadonlyMap<string, string>>();
  #onNamespaceMade: () => void = () => undefined;
  #desired: Desired | null = null;
  /** Null: one that ended half way may have left anything. */
  #lastPass: NodePass | null = null;
  #programmedRevision = 0;
  #driftRepairs = 0;
  #opsDone = 0;
  readonly #behind: Behind;
  readonly #counts = new PassCounts();
  /** Of the requests that no pass has yet made true. */
  #traces: readonly TraceId[] = [];
  #lastError = '';
  #resyncDueMs = 0;
  #freshDueMs = 0;
  #queue: Promise<unknown> = Promise.resolve();

  constructor(options: ReconcilerOptions) {
    const { kernel, clock, log, resyncMs, freshMs, recheckMs, gapMs, retryMsMax } = options;
    const { espSender, processorMs } = options;
    this.#kernel = kernel;
    this.#clock = clock;
    this.#behind = new Behind(clock);
    this.#log = log;
    this.#resyncMs = resyncMs ?? 10_000;
    this.#freshMs = freshMs ?? 300_000;
    this.#recheckMs = recheckMs ?? 1_500;
    this.#gapMs = gapMs ?? 20;
    this.#retryMsMax = retryMsMax ?? 5_000;
    this.#espSender = espSender ?? unkeptSender(clock.nowMs());
    this.#processorMs = processorMs ?? ownProcessorMs;
  }

  /** Revision of the newest state that host and overlays were brought to; 0 before the first. */
  get programmedRevision(): number {
    return this.#programmedRevision;
  }

  /** Of the keys that this node sends ESP with. */
  get espEpoch(): number {
    return this.#espSender.current.epoch;
  }

  /** Replaces the desired value; programming follows at once where {@link run} is running. */
  setDesired(desired: Desired): void {
    // Given again with what else has changed, it is not of another request.
    if (desired.traces !== this.#desired?.traces)
      this.#traces = joinTraces(this.#traces, desired.traces ?? []);
    this.#desired = desired;
    this.#behind.changed();
    this.#trigger.fire();
  }

  /** Something that a namespace waits for may have come: those that wait for nothing need no look. */
  poke(): void {
    for (const record of this.#records.values()) {
      if (record.complete) continue;
      record.dirty = true;
      record.retryAtMs = 0;
    }
    this.#trigger.fire();
  }

  /** Calls `listener` whenever an overlay's namespace was made, or made anew in the place of one that is gone, and programmed. */
  onNamespaceMade(listener: () => void): void {
    this.#onNamespaceMade = listener;
  }

  /** Resolves with the programmed revision once host and overlays equal a state of at least `revision`; rejects with the signal's reason. */
  async waitProgrammed(revision: number, signal: AbortSignal): Promise<number> {
    await this.#waiters.until(() => this.#programmedRevision >= revision, signal);
    return this.#programmedRevision;
  }

  /** Resolves once the endpoint's veth pair stands, its outer end a port of the overlay. */
  waitVeth(endpointId: string, signal: AbortSignal): Promise<void> {
    return this.#waiters.until(() => this.#isPresent('overlay', endpointId), signal);
  }

  /** Resolves once the endpoint's interface is inside its container and the inside equals the plan. */
  waitSandbox(endpointId: string, signal: AbortSignal): Promise<void> {
    return this.#waiters.until(() => this.#isPresent('sandbox', endpointId), signal);
  }

  /** For the daemon's status: what balances, what was reached, what stands in the way ('' when nothing does), repairs of drift. */
  status(): {
    readonly engine: EngineName;
    readonly programmedRevision: number;
    readonly lastError: string;
    readonly driftRepairs: number;
  } {
    return {
      engine: this.#kernel.engine.name,
      programmedRevision: this.#programmedRevision,
      lastError: this.#lastError,
      driftRepairs: this.#driftRepairs,
    };
  }

  /** For whoever watches it; see {@link status} for what stands in the way. */
  figures(): ReconcilerFigures {
    return {
      programmedRevision: this.#programmedRevision,
      behindMs: this.#behind.ms,
      driftRepairs: this.#driftRepairs,
      operations: this.#opsDone,
      passes: this.#counts.passes.values,
      failures: this.#counts.failures,
      scopes: countScopes(this.#records.values()),
    };
  }

  /** Passes until the signal aborts; then closes what it opened. The kernel keeps all it was given. */
  async run(signal: AbortSignal): Promise<void> {
    try {
      await Promise.all([
        runLoop(
          {
            name: 'reconcile',
            trigger: this.#trigger,
            clock: this.#clock,
            log: this.#log,
            resyncMs: this.#resyncMs,
            gapMs: this.#gapMs,
            retryMsMax: this.#retryMsMax,
          },
          () => this.pass(),
          signal,
        ),
        this.#watchQuiet(signal),
        this.#watchRules(signal),
      ]);
    } finally {
      await this.#queue;
      for (const record of this.#records.values()) this.#forget(record);
    }
  }

  /** What the kernel says nothing of is asked for, as often as it must be repaired in time. */
  async #watchQuiet(signal: AbortSignal): Promise<void> {
    let allDueMs = this.#clock.nowMs() + quietMs;
    while (!signal.aborted) {
      await this.#clock.sleep(chainsMs, signal).catch(() => undefined);
      if (signal.aborted) return;
      const nowMs = this.#clock.nowMs();
      const all = nowMs >= allDueMs;
      if (all) allDueMs = nowMs + quietMs;
      await this.refresh(all ? 'all' : 'chains');
    }
  }

  /** Rules of which the kernel tells that somebody has changed some. */
  async #watchRules(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#rulesTold.wait(this.#resyncMs, this.#clock, signal);
      if (signal.aborted) return;
      await this.refreshRules();
      await this.#clock.sleep(rulesGapMs, signal).catch(() => undefined);
    }
  }

  /** Asks of every namespace whether something changed there without a word; the next pass looks at those where it did. */
  async refresh(quiet: Quiet): Promise<void> {
    for (const [name, record] of [...this.#records]) await this.#refreshOne(name, record, quiet);
  }

  /** As {@link refresh}, of those namespaces in which rules were changed. */
  async refreshRules(): Promise<void> {
    for (const [name, record] of [...this.#records]) {
      if (!record.rulesTold) continue;
      record.rulesTold = false;
      await this.#refreshOne(name, record, 'chains');
    }
  }

  /** Between two namespaces a pass may run. */
  async #refreshOne(name: string, { scope }: ScopeRecord, quiet: Quiet): Promise<void> {
    if (scope === null) return;
    await this.#alone(async () => {
      try {
        if (await this.#kernel.refresh(scope, quiet)) this.#changed(name);
      } catch (err) {
        this.#log.debug({ scope: name, err: outside(err) }, 'cannot look for silent changes');
        this.#suspect(name);
      }
    });
  }

  /**
   * One pass over the namespaces that may differ. Never rejects for a namespace's failure: that is kept, see
   * {@link status}, and retried.
   * @returns after how many ms it wants to run again
   */
  pass(): Promise<number> {
    return this.#alone(() => this.#pass());
  }

  /** Observes and plans everything, changes nothing itself: one entry an operation that a repair would make; [] when equal. */
  verify(signal?: AbortSignal): Promise<Difference[]> {
    return this.#alone(async () => {
      signal?.throwIfAborted();
      return this.#differences();
    });
  }

  /** As {@link verify}, and puts right at once what differs. */
  repair(signal?: AbortSignal): Promise<Repair> {
    return this.#alone(async () => {
      signal?.throwIfAborted();
      const found = await this.#differences();
      const before = this.#opsDone;
      let left = found;
      for (let passes = 0; left.length > 0 && passes < repairPassesMax; passes++) {
        for (const record of this.#records.values()) {
          record.dirty = true;
          record.retryAtMs = 0;
        }
        await this.#pass();
        left = await this.#differences();
      }
      return { found, repaired: this.#opsDone - before, left };
    });
  }

  async #differences(): Promise<Difference[]> {
    if (this.#desired === null) return [];
    const pass = new NodePass(this.#kernel, this.#desired, this.#espLook(), true, this.#joined);
    const works = await pass.observeAll();
    const stale = await pass.staleOverlays();
    for (const { name, ops } of works) if (ops.length > 0) this.#suspect(name);
    return [
      ...works.flatMap(({ name, ops, error, unavailable }) => [
        ...ops.map((op) => differenceOf(name, op)),
        ...[error, unavailable].flatMap((err): Difference[] =>
          err ? [{ scope: name, op: 'unknown', object: err.message }] : [],
        ),
      ]),
      ...stale.map((vni) => differenceOf(`overlay ${vni}`, { op: 'delete', object: { kind: 'namespace' } })),
    ];
  }

  /** A namespace may not be as it was left: the next pass looks, unless it is waiting for its next try. */
  #suspect(name: string): void {
    const record = this.#records.get(name);
    if (record === undefined) return;
    record.dirty = true;
    if (record.error === null) record.retryAtMs = 0;
    this.#trigger.fire();
  }

  /**
   * Somebody changed a namespace: the next pass looks. Where it waited for its next try, that is now: what failed may be
   * mended, and what was changed must not wait for it.
   */
  #changed(name: string): void {
    const record = this.#records.get(name);
    if (record === undefined) return;
    record.retryAtMs = 0;
    this.#suspect(name);
  }

  async #pass(): Promise<number> {
    const desired = this.#desired;
    if (desired === null) return this.#resyncMs;
    const begunMs = this.#clock.steadyMs();
    const begunProcessorMs = this.#processorMs();
    this.#behind.begins();
    const nowMs = this.#clock.nowMs();
    const traces = this.#traces;
    this.#traces = [];
    const summary = new PassSummary();
    const freshAll = nowMs >= this.#freshDueMs;
    const resync = freshAll || nowMs >= this.#resyncDueMs;
    if (resync) {
      for (const record of this.#records.values()) record.dirty = true;
      this.#resyncDueMs = nowMs + this.#resyncMs;
    }
    if (freshAll) this.#freshDueMs = nowMs + this.#freshMs;
    const pass = new NodePass(this.#kernel, desired, this.#espLook(), freshAll, this.#joined, this.#lastPass);
    this.#lastPass = null;
    const works: ScopeWork[] = [];
    /** Those whose plan is that of the last pass. */
    const unchanged = new Set<ScopeWork>();
    let opCount = 0;

    // Before any overlay that relies on it stands, and taken away after the last one is gone.
    const esp = pass.esp();
    const { work: protection, isChange } = await this.#workOf(esp, nowMs);
    if (protection) {
      if (!isChange) unchanged.add(protection);
      opCount += await this.#protect(protection);
    }
    const { error: unprotected = null } = protection ?? this.#records.get(esp.name) ?? {};
    // Overlays first: the host's half of ingress is made together with ingress's own.
    const reach = async (target: Target): Promise<Reached> => {
      const { work, isChange } = await this.#workOf(target, nowMs);
      return { work, isChange, ops: work === null ? 0 : await this.#applyStage(work, 'reach') };
    };
    const note = ({ work, isChange, ops }: Reached): void => {
      if (work === null) return;
      works.push(work);
      if (!isChange) unchanged.add(work);
      opCount += ops;
    };
    for (const target of await pass.overlays(unprotected)) note(await reach(target));
    note(await reach(await pass.host()));
    // A container costs some processes, and many may come at once.
    for (const reached of await together(await pass.sandboxes(), sandboxesAtOnce, reach)) note(reached);

    for (const stage of stages.slice(1)) {
      const order = stage === 'balance' ? works : [...works].reverse();
      for (const work of order) opCount += await this.#applyStage(work, stage);
    }
    for (const work of works) this.#settle(work, unchanged.has(work), nowMs);
    const failuresBefore = pass.errors.length;
    opCount += await this.#removeStale(pass);
    if (protection) {
      if (pass.errors.length === failuresBefore) opCount += await this.#applyStage(protection, 'unreach');
      else protection.error ??= new OutsideError('overlays that are no longer wanted still stand', true);
      this.#settle(protection, unchanged.has(protection), nowMs);
    }
    opCount += await this.#clearAbandoned(pass, nowMs);
    if (desired.state === null) await this.#release(pass);
    if (resync && opCount === 0) {
      const tookMs = this.#processorMs() - begunProcessorMs;
      this.#resyncDueMs = Math.max(this.#resyncDueMs, this.#clock.nowMs() + restPerLook * tookMs);
    }
    this.#conclude(desired, pass, nowMs);
    this.#lastPass = pass;
    this.#counts.passes.observe((this.#clock.steadyMs() - begunMs) / 1000);
    // What fails is tried again, for the same requests.
    if (this.#lastError !== '') this.#traces = joinTraces(traces, this.#traces);
    for (const work of protection ? [protection, ...works] : works) summary.add(work.name, work.applied);
    if (opCount > 0)
      decide(
        this.#log,
        'kernel.programmed',
        {
          revision: desired.state?.revision ?? null,
          ops: opCount,
          ...summary.fields,
          durationMs: Math.round(this.#clock.steadyMs() - begunMs),
        },
        { traces },
      );
    return this.#nextMs();
  }

  /** Makes states and policies; a sender that could not be kept makes none. */
  async #protect(work: ScopeWork): Promise<number> {
    try {
      if (work.sender && work.sender !== this.#espSender.current) await this.#espSender.save(work.sender);
    } catch (err) {
      work.error ??= outside(err);
    }
    return this.#applyStage(work, 'reach');
  }

  #espLook(): EspLook {
    const error = this.#records.get('esp')?.error ?? null;
    return { sender: this.#espSender.current, retrying: error !== null };
  }

  /** Applies one stage of one namespace. A failure keeps later puts of that namespace from being tried, not the removals. */
  async #applyStage(work: ScopeWork, stage: Stage): Promise<number> {
    const ops = work.stages[stage];
    const putting = stage === 'reach' || stage === 'balance';
    if (ops.length === 0 || !work.exists || (putting && (work.error || this.#hasLeft(work.scope)))) return 0;
    const record = this.#records.get(work.name);
    if (record) record.applying = true;
    try {
      await this.#kernel.apply(work.scope, ops);
      // One by one: of a large network there are more than a call takes arguments.
      for (const op of ops) {
        this.#log.debug({ scope: work.name, op: opLine(op) }, 'applied');
        work.applied.push(op);
      }
      this.#opsDone += ops.length;
      return ops.length;
    } catch (err) {
      work.error ??= outside(err);
      return 0;
    } finally {
      // Notifications of these ops are there by now, and are read in this turn.
      await new Promise(setImmediate);
      if (record) record.applying = false;
    }
  }

  /** A container that the engine has taken off its networks since the pass began: what is missing there is to be missing. */
  #hasLeft(scope: Scope): boolean {
    return (
      scope.kind === 'sandbox' &&
      !this.#desired?.sandboxes.some(({ sandboxKey }) => sandboxKey === scope.path)
    );
  }

  /** What is to be done in a namespace now; null: nothing, or nothing yet. */
  async #workOf(target: Target, nowMs: number): Promise<{ work: ScopeWork | null; isChange: boolean }> {
    const record = this.#records.get(target.name) ?? new ScopeRecord();
    this.#records.set(target.name, record);
    const change = target.change();
    const isChange = change !== 'none';
    // What fails is not tried again before its time, by a change neither.
    if (change === 'look' || (isChange && record.error !== null)) record.programmed = false;
    if (record.isDue(nowMs)) {
      // What is told of from here on, this look may have missed; what nobody listened for, no look has seen.
      record.dirty = false;
      this.#listen(record, target);
      return { work: await target.observe(), isChange };
    }
    return { work: isChange && change !== 'look' && record.error === null ? change : null, isChange };
  }

  /**
   * Notes how a namespace's pass went and sees to it that its changes are heard of.
   * @param unchanged what is planned there, apart from what hangs on what was found, is what the last pass has planned
   */
  #settle(work: ScopeWork, unchanged: boolean, nowMs: number): void {
    const record = this.#records.get(work.name);
    if (!record) return;
    record.scope = work.scope;
    // Reachable is enough here: a kernel that cannot balance still connects containers.
    record.present = work.error === null ? work.present.map(({ endpointId }) => endpointId) : [];
    work.error ??= work.unavailable;
    const samePlan = unchanged && record.programmed && record.planKey === work.planKey;
    if (samePlan && record.complete && work.applied.length > 0) {
      this.#driftRepairs += work.applied.length;
      decide(this.#log, 'drift.repaired', {
        scope: work.name,
        count: work.applied.length,
        ops: work.applied.slice(0, opsShownMax).map(opLine),
      });
    }
    record.error = work.error;
    record.complete = work.complete;
    if (work.error) {
      if (!samePlan) record.programmed = false;
      record.failures += 1;
      this.#counts.failed(work.scope.kind);
      const waitMs = backoffMs(record.failures, this.#retryMsMax);
      // Told of since the look: by somebody else, or for what another namespace was given. At once would be without end.
      record.retryAtMs = nowMs + (record.dirty ? Math.min(waitMs, this.#recheckMs) : waitMs);
      decide(this.#log, 'kernel.failed', { scope: work.name, failures: record.failures, err: work.error });
    } else {
      // An object made anew lost what hung on it: the next look tells what.
      const remade = work.applied.some(({ op }) => op === 'remake');
      record.failures = 0;
      record.programmed = !remade;
      record.planKey = work.planKey ?? record.planKey;
      if (!work.complete) record.lookAgain(nowMs + awaitedMs);
      else if (record.notified) record.lookAgain(nowMs + this.#recheckMs);
    }
    record.notified = false;
    // What was opened in a namespace that is gone is of no use in the next of that name.
    if (!work.exists) this.#forget(record);
    // Whoever listened in one of that name before hears nothing of it.
    if (work.ops.some(({ object }) => object.kind === 'namespace')) this.#stopListening(record);
    if (work.applied.some(({ object }) => object.kind === 'namespace')) this.#onNamespaceMade();
    if (work.exists && record.watch === null) {
      this.#listen(record, work);
      // It was made by this pass, and nobody listened while it was.
      if (work.error === null) record.lookAgain(nowMs + this.#recheckMs);
    }
  }

  /** Sees to it that changes of the namespace are heard of, once there is one. */
  #listen(record: ScopeRecord, { scope, name }: Pick<Target, 'scope' | 'name'>): void {
    record.watch ??= this.#kernel.watch(scope, (what) => {
      if (what === 'rules') {
        record.rulesTold = true;
        this.#rulesTold.fire();
      } else if (record.applying) record.notified = true;
      else this.#changed(name);
    });
  }

  async #removeStale(pass: NodePass): Promise<number> {
    let removed = 0;
    for (const vni of await pass.staleOverlays()) {
      try {
        await this.#kernel.deleteOverlayNamespace(vni);
        removed += 1;
      } catch (err) {
        pass.errors.push(`overlay ${vni}: ${outside(err).message}`);
      }
    }
    return removed;
  }

  async #clearAbandoned(pass: NodePass, nowMs: number): Promise<number> {
    let cleared = 0;
    for (const [path, dueMs] of this.#abandoned) {
      const scope = { kind: 'sandbox', path } as const;
      const isBack = pass.names.has(scopeName(scope));
      if (!isBack && nowMs < dueMs) continue;
      this.#abandoned.delete(path);
      if (isBack) continue;
      this.#joined.delete(path);
      const work = await pass.abandonedSandbox(path);
      for (const stage of stages) cleared += await this.#applyStage(work, stage);
      if (work.error) this.#log.warn({ scope: work.name, err: work.error }, 'not cleared');
      this.#kernel.forget(scope);
    }
    return cleared;
  }

  /** The node left: once nothing hangs on it any more, the engine goes, too. */
  async #release(pass: NodePass): Promise<void> {
    if (pass.errors.length > 0 || [...this.#records.values()].some(({ error }) => error !== null)) return;
    try {
      await this.#kernel.release();
    } catch (err) {
      pass.errors.push(outside(err).message);
    }
  }

  #conclude(desired: Desired, pass: NodePass, nowMs: number): void {
    for (const [name, record] of this.#records) {
      if (pass.names.has(name)) continue;
      this.#forget(record);
      this.#records.delete(name);
      if (record.scope?.kind !== 'sandbox') continue;
      // Should it be connected again before its rules are gone, these are no sign that the engine is done with it.
      this.#joined.set(record.scope.path, new Map());
      this.#abandoned.set(record.scope.path, nowMs + abandonedMs);
    }
    const failing = [...this.#records].filter(([, { error }]) => error !== null);
    const errors = [...pass.errors, ...failing.map(([name, { error }]) => `${name}: ${error?.message}`)];
    this.#lastError = errors.join('; ');
    const behind = [...this.#records].some(
      ([, record]) => record.scope?.kind !== 'sandbox' && !record.isProgrammed,
    );
    // Also when a newer state has come meanwhile: who waits would wait for ever where states come faster than passes end. Not
    // when the node is another's by now, whose revisions are others.
    const isOurs = this.#desired?.state?.nodeId === desired.state?.nodeId;
    if (!behind && pass.errors.length === 0 && isOurs && desired.state)
      this.#programmedRevision = desired.state.revision;
    else if (desired.state === null) this.#programmedRevision = 0;
    if (!behind && pass.errors.length === 0) this.#behind.reached();
    if (pass.errors.length > 0) this.#resyncDueMs = Math.min(this.#resyncDueMs, nowMs + 1_000);
    this.#waiters.check();
  }

  #nextMs(): number {
    const nowMs = this.#clock.nowMs();
    let next = Math.min(this.#resyncDueMs, ...this.#abandoned.values());
    for (const record of this.#records.values())
      if (record.dirty || !record.isProgrammed) next = Math.min(next, record.retryAtMs);
    return Math.max(0, next - nowMs);
  }

  #isPresent(kind: 'overlay' | 'sandbox', endpointId: string): boolean {
    return [...this.#records.values()].some(
      ({ scope, present }) => scope?.kind === kind && present.includes(endpointId),
    );
  }

  #stopListening(record: ScopeRecord): void {
    record.watch?.[Symbol.dispose]();
    record.watch = null;
  }

  #forget(record: ScopeRecord): void {
    this.#stopListening(record);
    if (record.scope) this.#kernel.forget(record.scope);
  }

  /** One at a time: a dump while another pass writes would tell of neither state. */
  #alone<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#queue.then(work);
    this.#queue = done.catch(() => undefined);
    return done;
  }
}

/** A failure from outside, or a bug (what carries no errno) rethrown. */
function outside(err: unknown): OutsideError {
  if (err instanceof OutsideError) return err;
  if (err instanceof AssertionError || !(err instanceof Error) || !('code' in err)) throw err;
  return new OutsideError(err.message, true, { cause: err });
}
