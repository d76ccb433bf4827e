/**
 * What skepd has done since it began, counted where it happens by plain additions: the loops, the dispatcher, calls to etcd, requests to
 * the API. Outlives each manager that this node is, so that its counters never go back.
 */
import { status as GrpcStatus } from '@grpc/grpc-js';
import type { ControlplaneMetrics } from '../../metrics/controlplane-table.js';
import type { Samples } from '../../metrics/samples.js';
import { Histogram, Histograms } from '../../runtime/histogram.js';
import type { AnsweredRequest } from '../api/server.js';
import type { ManagerObserver } from '../node/manager-core.js';
import { confirmedMessage } from '../scheduler/scheduler.js';
import type { Plan, Write } from '../plan.js';

/** Seconds: from what memory answers to what is worth a look. */
const callBounds = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
/** A node is told, programs, and says so: some ten milliseconds, or as long as a new image. */
const acknowledgementBounds = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

type Decision = 'assigned' | 'confirmed' | 'unplaced' | 'ended';

export class ControlplaneCounts implements ManagerObserver {
  readonly #passes = new Histograms<string>(callBounds);
  readonly #passFailures = new Counter();
  readonly #writes = new Counter();
  readonly #decisions = new Counter();
  readonly #acknowledgements = new Histogram(acknowledgementBounds);
  readonly #calls = new Histograms<string>(callBounds);
  readonly #callFailures = new Counter();
  readonly #requests = new Counter();
  readonly #requestSeconds = new Histograms<AnsweredRequest['handler']>(callBounds);
  #messages = 0;
  #bytes = 0;
  #terms = 0;

  readonly loops: ManagerObserver['loops'] = {
    passed: (loop, tookMs) => this.#passes.observe(loop, tookMs / 1000),
    failed: (loop) => this.#passFailures.add([loop]),
    committed: (loop, plan) => {
      this.#writes.add([loop], plan.writes.length);
      if (loop === 'scheduler') this.#count(plan);
    },
  };

  readonly dispatcher: ManagerObserver['dispatcher'] = {
    sent: (bytes) => {
      this.#messages += 1;
      this.#bytes += bytes;
    },
    acknowledged: (tookMs) => this.#acknowledgements.observe(tookMs / 1000),
  };

  readonly onTerm = (): void => void (this.#terms += 1);

  readonly onEtcdCall: ManagerObserver['onEtcdCall'] = (operation, tookMs, failure) => {
    // Behind these comes a key.
    const [, read] = /^(range|get) /.exec(operation) ?? [];
    const kind = read ?? operation.replaceAll(' ', '_');
    this.#calls.observe(kind, tookMs / 1000);
    if (failure) this.#callFailures.add([kind, GrpcStatus[failure.code] ?? String(failure.code)]);
  };

  readonly onRequest = ({ method, status, handler, tookMs }: AnsweredRequest): void => {
    const known = methods.includes(method) ? method : 'other';
    this.#requests.add([known, status === null ? 'cut' : `${Math.floor(status / 100)}xx`, handler]);
    this.#requestSeconds.observe(handler, tookMs / 1000);
  };

  put(into: Samples<ControlplaneMetrics>): void {
    for (const [loop, values] of this.#passes) into.putHistogram('skep_loop_pass_seconds', { loop }, values);
    for (const [[loop = ''], count] of this.#passFailures)
      into.put('skep_loop_pass_failures_total', { loop }, count);
    for (const [[loop = ''], count] of this.#writes) into.put('skep_loop_writes_total', { loop }, count);
    for (const [[outcome = ''], count] of this.#decisions)
      into.put('skep_scheduler_decisions_total', { outcome }, count);
    into.put('skep_dispatcher_assignment_messages_total', {}, this.#messages);
    into.put('skep_dispatcher_assignment_bytes_total', {}, this.#bytes);
    into.putHistogram('skep_dispatcher_acknowledgement_seconds', {}, this.#acknowledgements.values);
    into.put('skep_leader_terms_total', {}, this.#terms);
    for (const [operation, values] of this.#calls)
      into.putHistogram('skep_etcd_request_seconds', { operation }, values);
    for (const [[operation = '', code = ''], count] of this.#callFailures)
      into.put('skep_etcd_request_failures_total', { operation, code }, count);
    for (const [[method = '', status = '', handler = ''], count] of this.#requests)
      into.put('skep_api_requests_total', { method, status, handler }, count);
    for (const [handler, values] of this.#requestSeconds)
      into.putHistogram('skep_api_request_seconds', { handler }, values);
  }

  #count({ writes }: Plan): void {
    for (const write of writes) {
      const decision = decisionOf(write);
      if (decision) this.#decisions.add([decision]);
    }
  }
}

const methods = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS'];

function decisionOf(write: Write): Decision | undefined {
  if (write.kind !== 'task' || write.op !== 'update') return undefined;
  const { state, message } = write.object.status;
  if (state === 'pending') return 'unplaced';
  if (state === 'shutdown') return 'ended';
  return message === confirmedMessage ? 'confirmed' : 'assigned';
}

/** Counts by label values, which are few. */
class Counter implements Iterable<readonly [readonly string[], number]> {
  readonly #counts = new Map<string, { readonly values: readonly string[]; count: number }>();

  add(values: readonly string[], by = 1): void {
    const key = values.join('\0');
    const known = this.#counts.get(key);
    if (known) known.count += by;
    else this.#counts.set(key, { values, count: by });
  }

  *[Symbol.iterator](): Iterator<readonly [readonly string[], number]> {
    for (const { values, count } of this.#counts.values()) yield [values, count];
  }
}
