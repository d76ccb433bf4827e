/**
 * The typed client of skep-dataplane, used by the agent and the `skep` command. Refusals come as SkepError, everything
 * else as OutsideError; a daemon that is not there is an OutsideError with `retryable`, and the client finds it again
 * by itself within a second of its return.
 */
import { Client, credentials, status as grpcStatus } from '@grpc/grpc-js';
import type { MethodDefinition, ServiceError } from '@grpc/grpc-js';
import type { TaskId } from '../../model/ids.js';
import type { TraceId } from '../../model/trace.js';
import { OutsideError, SkepError } from '../../model/errors.js';
import { toChangeMessage } from '../parse-change.js';
import { changeBetween } from '../state-change.js';
import type { StateChange } from '../state-change.js';
import type { NodeNetworkState } from '../state.js';
import { loadDataplaneService, messageBytesMax } from './definition.js';
import type { DataplaneStatus, SilentNodes, TraceReply, VerifyReply } from './definition.js';
import { encodeState } from './encoded-state.js';
import { fromStatus } from './status.js';
import { tracesMetadata } from './traces.js';

export type { DataplaneStatus, TraceReply, VerifyReply } from './definition.js';

/** Bounds of the calls that wait for nothing but the disk, or for one dump of the kernel. */
const shortMs = 10_000;
const verifyMs = 60_000;

type Encode = (request: object, octetsOf: (message: object) => Buffer) => Buffer;

export class DataplaneClient {
  readonly #client: Client;
  readonly #service = loadDataplaneService();
  /** What the daemon took last; null: not known. */
  #taken: NodeNetworkState | null = null;

  /** @param socketPath `<run dir>/dataplane.sock` */
  constructor(socketPath: string) {
    this.#client = new Client(`unix:${socketPath}`, credentials.createInsecure(), {
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1000,
      'grpc.max_receive_message_length': messageBytesMax,
    });
  }

  /**
   * Resolves once the state is on the daemon's disk; refused (`failedPrecondition`) if it holds a newer one. What the daemon
   * took before is not said again, where the two states share it (see share-state.ts): a call costs what has changed.
   * @param traces of the requests that changed it: they go beside the state, which is the same without
   */
  async setState(
    state: NodeNetworkState,
    traces: readonly TraceId[] = [],
    signal?: AbortSignal,
  ): Promise<void> {
    const change = this.#taken && changeBetween(this.#taken, state);
    this.#taken = null;
    if (change === null || !(await this.#changeState(change, traces, signal)))
      await this.#call('SetState', state, shortMs, signal, encodeState as Encode, traces);
    this.#taken = state;
  }

  /** False when the daemon does not hold what is changed, or knows of no changes. */
  async #changeState(
    change: StateChange,
    traces: readonly TraceId[],
    signal?: AbortSignal,
  ): Promise<boolean> {
    try {
      await this.#call('ChangeState', toChangeMessage(change), shortMs, signal, undefined, traces);
      return true;
    } catch (err) {
      if (err instanceof SkepError || (err instanceof OutsideError && !err.retryable)) return false;
      throw err;
    }
  }

  /** Makes the daemon forget the state and take all of ours out of the kernel. */
  async clearState(signal?: AbortSignal): Promise<void> {
    this.#taken = null;
    await this.#call('ClearState', {}, shortMs, signal);
  }

  /**
   * Resolves with the programmed revision once it is at least `revision` and, where given, every sandbox of the task on
   * this node is programmed. Waits without bound of its own: bring a signal.
   */
  async waitProgrammed(
    { revision, taskId }: { readonly revision: number; readonly taskId?: TaskId },
    signal: AbortSignal,
  ): Promise<number> {
    const request = { revision, taskId: taskId ?? '' };
    const reply = await this.#call<{ revision: number }>('WaitProgrammed', request, Infinity, signal);
    return reply.revision;
  }

  /**
   * Resolves with the nodes that do not answer this one once they are others than `known`; null: at once. Waits without bound of
   * its own: bring a signal.
   */
  async waitSilent(known: ReadonlySet<string> | null, signal: AbortSignal): Promise<readonly string[]> {
    const request = { known: known && { nodeIds: [...known] } };
    return (await this.#call<SilentNodes>('WaitSilent', request, Infinity, signal)).nodeIds;
  }

  status(signal?: AbortSignal): Promise<DataplaneStatus> {
    return this.#call('GetStatus', {}, shortMs, signal);
  }

  /** Dumps the kernel and compares; with `repair`, puts right what differs. */
  verify(
    { repair }: { readonly repair: boolean } = { repair: false },
    signal?: AbortSignal,
  ): Promise<VerifyReply> {
    return this.#call('Verify', { repair }, verifyMs, signal);
  }

  /**
   * Refused (`notFound`) when this node knows no such service or client.
   * @param from an address, or the name of a task or container; '': whoever calls
   */
  trace(service: string, from = '', signal?: AbortSignal): Promise<TraceReply> {
    return this.#call('Trace', { service, from }, verifyMs, signal);
  }

  close(): void {
    this.#client.close();
  }

  /** @param encode the request, given the octets of a message of its type; absent: it is such a message */
  #call<Reply>(
    name: string,
    request: object,
    deadlineMs: number,
    signal?: AbortSignal,
    encode: Encode = (message, octetsOf) => octetsOf(message),
    traces: readonly TraceId[] = [],
  ): Promise<Reply> {
    const method = this.#service[name] as MethodDefinition<object, Reply>;
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason as Error);
      const abort = (): void => call.cancel();
      const answered = (err: ServiceError | null, reply?: Reply): void => {
        signal?.removeEventListener('abort', abort);
        if (!err) return resolve(reply as Reply);
        const cancelled = err.code === grpcStatus.CANCELLED && signal?.aborted;
        reject(cancelled ? (signal.reason as Error) : fromStatus(err));
      };
      const deadline = deadlineMs === Infinity ? Infinity : Date.now() + deadlineMs;
      const call = this.#client.makeUnaryRequest(
        method.path,
        (message: object) => encode(message, method.requestSerialize),
        method.responseDeserialize,
        request,
        tracesMetadata(traces),
        { deadline },
        answered,
      );
      signal?.addEventListener('abort', abort, { once: true });
    });
  }
}
