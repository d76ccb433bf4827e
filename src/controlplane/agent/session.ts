/**
 * The agent's conversation with the managers: one session with one of them at a time, for as long as it lasts, then
 * the next one. Nothing that runs on this node depends on a session: without one, tasks and network stay as they are
 * and reports wait.
 */
import assert from 'node:assert';
import { isDeepStrictEqual } from 'node:util';
import type { ChannelCredentials, ChannelOptions } from '@grpc/grpc-js';
import type { RandomSource } from '../../model/ids.js';
import { isAttachment } from '../../model/attachments.js';
import { SkepError } from '../../model/errors.js';
import type { Task } from '../../model/objects.js';
import type { TraceId } from '../../model/trace.js';
import { backoffMs } from '../../runtime/backoff.js';
import type { Clock } from '../../runtime/clock.js';
import { Deadline } from '../../runtime/deadline.js';
import type { Garbage } from '../../runtime/garbage.js';
import type { Log } from '../../runtime/log.js';
import { Trigger } from '../../runtime/loop.js';
import type {
  Assignment,
  AssignmentChange,
  AssignmentsMessage,
  WireAssignmentsMessage,
} from '../rpc/assignment.js';
import { parseMessage } from '../rpc/assignment.js';
import { DispatcherClient, rpcTimeoutMs, sessionRetryMsMax } from '../rpc/clients.js';
import type { SessionClient } from '../rpc/clients.js';
import type { ManagerAddress, SessionMessage, WireNodeDescription } from '../rpc/messages.js';
import { NotLeaderError } from '../rpc/not-leader.js';
import { fromServiceError } from '../rpc/status.js';
import type { AttachmentCalls } from './attachments.js';
import type { ContainerTunnels } from './container-tunnels.js';
import { Heartbeat } from './heartbeat.js';
import { HeldAssignments } from './held-assignments.js';
import type { LogPublisher } from './log-publisher.js';
import type { Silence } from './silence.js';
import type { StatusReporter } from './status-reporter.js';
import type { TaskBarrier } from './task-barrier.js';
import type { Worker } from './worker.js';

/** Swarm's agent describes its host anew every 20 s. */
const describeEveryMs = 20_000;
/** While its dataplane has not said yet what it is: constraints ask for that. */
const describeAgainMs = 2_000;
/** After all was told anew: longer than that takes to be programmed. */
const garbageMs = 15_000;
/** A session that lasted as long was a good one: the next failure is a first one. */
const goodSessionMs = 8_000;
/** Managers in a row that name another one to lead: more, and they do not agree yet. */
const redirectsMax = 3;

export interface SessionOptions {
  /** This node's credentials, asked for before each session so that a renewed certificate is used. */
  readonly credentials: () => ChannelCredentials;
  readonly channelOptions?: ChannelOptions;
  /** Opens a connection to a manager, `host:port`; by default gRPC's with the above. */
  readonly connect?: (addr: string) => SessionClient;
  /** Managers known so far. */
  readonly managers: readonly ManagerAddress[];
  /** Empty: the managers take the address the connection comes from. */
  readonly dataPathAddr: string;
  readonly describe: () => Promise<WireNodeDescription>;
  /** Tells when there are other credentials: a session is held with those of now. */
  readonly certificate?: { subscribe(listener: () => void): () => void };
  readonly network: {
    set(
      assignments: ReadonlyMap<string, Assignment>,
      revision: number,
      changes: readonly AssignmentChange[] | null,
      traces: readonly TraceId[],
    ): void;
  };
  readonly barrier: Pick<TaskBarrier, 'run'>;
  readonly worker: Worker;
  /** What tasks are given as files. */
  readonly payloads: { set(assignments: ReadonlyMap<string, Assignment>): void };
  /** What users' containers hold on the swarm's networks. */
  readonly attachments: {
    set(tasks: readonly Task[], revision: number): void;
    run(calls: AttachmentCalls, signal: AbortSignal): Promise<void>;
  };
  readonly reporter: StatusReporter;
  /** Whom this node's dataplane does not hear. */
  readonly silence: Pick<Silence, 'nodes' | 'subscribe'>;
  readonly logs: LogPublisher;
  /** What managers' users ask of this node's containers. */
  readonly tunnels: Pick<ContainerTunnels, 'run'>;
  /** Absent: none is collected for a session's sake. */
  readonly garbage?: Pick<Garbage, 'collect'>;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly log: Log;
  /** Called with each session message, e.g. to keep the managers' addresses and the trust root on disk. */
  readonly onMessage?: (message: SessionMessage) => void;
}

export class AgentSession {
  #managers: readonly ManagerAddress[];
  /** Failures in a row by manager address. */
  readonly #held = new HeldAssignments();
  readonly #failures = new Map<string, number>();
  #description: WireNodeDescription | undefined;
  /** Of the certificate, so far. */
  #changes = 0;
  readonly #changed = new Trigger();
  #settleReady: { resolve: () => void; reject: (err: Error) => void } | undefined;
  /** Resolves with the first registration; rejects when the first answer is that this node is none. */
  readonly ready: Promise<void>;

  constructor(private readonly options: SessionOptions) {
    assert(options.managers.length > 0, 'an agent needs a manager to turn to');
    this.#managers = options.managers;
    this.ready = new Promise((resolve, reject) => (this.#settleReady = { resolve, reject }));
    this.ready.catch(() => undefined);
  }

  /** As the last session message named them. */
  managers(): readonly ManagerAddress[] {
    return this.#managers;
  }

  /** Holds sessions, one after another, until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const unsubscribe = this.options.certificate?.subscribe(() => {
      this.#changes += 1;
      this.#changed.fire();
    });
    try {
      await this.#holdAll(signal);
    } finally {
      unsubscribe?.();
    }
  }

  async #holdAll(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.options;
    let redirects = 0;
    for (let failures = 0, leader = ''; !signal.aborted;) {
      const manager = leader === '' ? this.#chooseManager() : { nodeId: '', addr: leader };
      leader = '';
      const startedMs = clock.steadyMs();
      try {
        await this.#hold(manager, signal);
      } catch (err) {
        if (signal.aborted) return;
        if (err instanceof Outdated) continue;
        if (err instanceof assert.AssertionError) throw err;
        const refusal = fromServiceError(err);
        if (refusal instanceof NotLeaderError && refusal.leader !== '' && redirects < redirectsMax) {
          redirects += 1;
          leader = refusal.leader;
          continue;
        }
        redirects = 0;
        failures = clock.steadyMs() - startedMs >= goodSessionMs ? 1 : failures + 1;
        this.#failures.set(manager.addr, (this.#failures.get(manager.addr) ?? 0) + 1);
        log.warn({ manager: manager.addr, failures, err: refusal.message }, 'session ended, will retry');
        if (isFinal(refusal)) this.#settleReady?.reject(refusal);
        const delayMs = backoffMs(failures, sessionRetryMsMax);
        await this.#changed.wait(delayMs / 2 + this.#fraction() * (delayMs / 2), clock, signal);
      }
    }
  }

  /** One of those that failed least lately. */
  #chooseManager(): ManagerAddress {
    const failuresOf = ({ addr }: ManagerAddress): number => this.#failures.get(addr) ?? 0;
    const fewest = Math.min(...this.#managers.map(failuresOf));
    const best = this.#managers.filter((manager) => failuresOf(manager) === fewest);
    const chosen = best[Math.min(best.length - 1, Math.floor(this.#fraction() * best.length))];
    assert(chosen);
    return chosen;
  }

  #fraction(): number {
    const [a = 0, b = 0] = this.options.random(2);
    return (a * 256 + b) / 65_536;
  }

  /** One session, until anything of it fails. */
  async #hold({ addr }: ManagerAddress, signal: AbortSignal): Promise<void> {
    const { credentials, channelOptions, barrier, reporter, logs, tunnels, clock, log } = this.options;
    const connect = this.options.connect ?? ((to) => new DispatcherClient(to, credentials(), channelOptions));
    const end = new AbortController();
    const over = AbortSignal.any([signal, end.signal]);
    const changes = this.#changes;
    const heartbeat = new Heartbeat(this.options);
    const client = connect(addr);
    let parts: Promise<void>[] = [];
    try {
      const description = await this.#describe();
      const { dataPathAddr } = this.options;
      const messages = client.session({ description, dataPathAddr }, over)[Symbol.asyncIterator]();
      const first = await firstMessage(messages, clock);
      const { sessionId } = first;
      this.#take(first, heartbeat);
      log.info({ manager: addr, session: sessionId }, 'registered with a manager');
      this.#failures.delete(addr);
      this.#settleReady?.resolve();
      parts = [
        this.#followSession(messages, heartbeat),
        heartbeat.run(client, sessionId, over),
        this.#followAssignments(client, sessionId, over),
        reporter.run((updates) => client.updateTaskStatus({ sessionId, updates }), over),
        barrier.run(client, sessionId, over),
        logs.run(client, sessionId, over),
        tunnels.run(client, () => connect(addr), sessionId, over),
        this.options.attachments.run(
          {
            attachNetwork: (request) => client.attachNetwork({ ...request, sessionId }),
            detachNetworks: (attachmentIds) => client.detachNetworks({ sessionId, attachmentIds }),
          },
          over,
        ),
        this.#watchDescription(
          (is) => client.describeNode({ sessionId, description: is }),
          description,
          over,
        ),
        this.#watchCertificate(changes, over),
      ];
      await Promise.race(parts);
      over.throwIfAborted();
      throw new SkepError('unavailable', 'the manager ended the session');
    } finally {
      end.abort(new Error('session ended'));
      await Promise.allSettled(parts);
      client.close();
    }
  }

  /** Takes over what a session message says. */
  #take(message: SessionMessage, heartbeat: Heartbeat): void {
    if (message.managers.length > 0) this.#managers = message.managers;
    heartbeat.asked(message.beatsAsked);
    this.options.onMessage?.(message);
  }

  async #followSession(messages: AsyncIterator<SessionMessage>, heartbeat: Heartbeat): Promise<void> {
    for (let next = await messages.next(); !next.done; next = await messages.next())
      this.#take(next.value, heartbeat);
  }

  async #followAssignments(client: SessionClient, sessionId: string, signal: AbortSignal): Promise<void> {
    const { network, worker, attachments, payloads, garbage } = this.options;
    let tasks: readonly Task[] = [];
    const byId = new Map<string, Task>();
    let sequence = 0;
    /** What has come of a set whose last part has not. */
    let begun = { complete: false, tasksChanged: false };
    for await (const wire of client.assignments({ sessionId, takesParts: true, takesPacked: true }, signal)) {
      const message = parseMessage(wire as WireAssignmentsMessage);
      if (!message.complete && message.appliesTo !== sequence)
        throw new SkepError('aborted', `assignments out of order: at ${sequence}, got ${message.appliesTo}`);
      sequence = message.resultsIn;
      const known = this.#held.take(message);
      const tasksChanged = followTasks(byId, message) || begun.tasksChanged;
      const complete = message.complete || begun.complete;
      begun = message.more ? { complete, tasksChanged } : { complete: false, tasksChanged: false };
      if (known === null) continue;
      // Network first: a new task looks whether its overlays are known, and what there is for it.
      network.set(known, message.revision, complete ? null : message.changes, message.traces ?? []);
      payloads.set(known);
      if (tasksChanged) tasks = [...byId.values()];
      // Attachments hold their networks before the worker sweeps what nobody holds.
      attachments.set(tasks, message.revision);
      // Also for an overlay: it may come after the first task on it, and what is remembered of that needs both.
      if (tasksChanged || message.changes.some(({ assignment }) => assignment.kind === 'overlay'))
        worker.assign(
          tasks.filter((task) => !isAttachment(task)),
          complete,
        );
      // What it came in is garbage, and with 100,000 endpoints as much as what is kept.
      if (complete) void garbage?.collect(garbageMs, signal);
    }
  }

  /** Tells when the host is not what it said to be. */
  async #watchDescription(
    tell: (description: WireNodeDescription) => Promise<unknown>,
    said: WireNodeDescription,
    signal: AbortSignal,
  ): Promise<void> {
    while (!signal.aborted) {
      const waitMs = said.espEpoch === 0 ? describeAgainMs : describeEveryMs;
      await this.options.clock.sleep(waitMs, signal).catch(() => undefined);
      if (signal.aborted) return;
      const description = await this.#describe();
      if (isDeepStrictEqual(description, said)) continue;
      await tell(description).catch((err: unknown) => {
        // A manager that is not upgraded yet takes it at the beginning of a session only.
        throw fromServiceError(err).kind === 'unimplemented' ? new Outdated() : err;
      });
      said = description;
    }
  }

  /** Ends the session when the host shows another certificate, so that the next one is held with that. */
  async #watchCertificate(changes: number, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      if (this.#changes !== changes) throw new Outdated();
      await this.#changed.wait(describeEveryMs, this.options.clock, signal);
    }
  }

  /** An engine that is away for a moment does not change what the host is. */
  async #describe(): Promise<WireNodeDescription> {
    try {
      this.#description = await this.options.describe();
    } catch (err) {
      if (!this.#description) throw err;
      this.options.log.warn({ err }, 'cannot describe this host, keeping the last description');
    }
    return this.#description;
  }
}

/** Keeps up the node's tasks by id; true when there may be others now. */
function followTasks(
  tasks: Map<string, Task>,
  { complete, changes }: Pick<AssignmentsMessage, 'complete' | 'changes'>,
): boolean {
  if (complete) tasks.clear();
  let changed = complete;
  for (const { remove, assignment } of changes) {
    if (assignment.kind !== 'task') continue;
    changed = true;
    const { id, task } = assignment.item;
    if (remove) tasks.delete(id);
    else tasks.set(id, task);
  }
  return changed;
}

/** The next session says what this one cannot be told. */
class Outdated extends Error {
  override readonly name = 'Outdated';
}

/** Refusals that no other manager and no later time will take back. */
const isFinal = ({ kind }: SkepError): boolean =>
  kind === 'notFound' || kind === 'permissionDenied' || kind === 'unauthenticated';

async function firstMessage(messages: AsyncIterator<SessionMessage>, clock: Clock): Promise<SessionMessage> {
  using deadline = new Deadline(clock, rpcTimeoutMs);
  const timeout = new Promise<never>((_, reject) => {
    deadline.signal.addEventListener('abort', () =>
      reject(new SkepError('deadlineExceeded', 'the manager did not answer')),
    );
  });
  const first = await Promise.race([messages.next(), timeout]);
  if (first.done) throw new SkepError('unavailable', 'the manager ended the session');
  return first.value;
}
