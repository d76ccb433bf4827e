/**
 * The daemon's end of proto/dataplane.proto. It reads and answers; what a call means is the owner's, given as
 * {@link DataplaneMethods}. A bug (AssertionError) in a call ends the daemon, every other error is an answer.
 */
import { AssertionError } from 'node:assert';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import type { sendUnaryData, ServerUnaryCall, UntypedServiceImplementation } from '@grpc/grpc-js';
import type { NodeId, TaskId } from '../../model/ids.js';
import type { TraceId } from '../../model/trace.js';
import { Fields } from '../parse-fields.js';
import { parseNodeNetworkState } from '../parse-state.js';
import type { NodeNetworkState } from '../state.js';
import { loadDataplaneService, messageBytesMax } from './definition.js';
import type { DataplaneStatus, TraceReply, VerifyReply } from './definition.js';
import { toStatus } from './status.js';
import { tracesIn } from './traces.js';

/** What the daemon can do; signals abort when the caller is gone or its deadline has passed. */
export interface DataplaneMethods {
  /** @param traces of the requests that made it what it is */
  setState(state: NodeNetworkState, traces: readonly TraceId[]): Promise<void>;
  /** A message of what has changed in the state; only the holder of that state can read it. */
  changeState(change: unknown, traces: readonly TraceId[]): Promise<void>;
  clearState(): Promise<void>;
  /** Resolves with the programmed revision. */
  waitProgrammed(revision: number, taskId: TaskId | null, signal: AbortSignal): Promise<number>;
  /** Resolves with the silent nodes once they are others than `known`; null: at once. */
  waitSilent(known: ReadonlySet<string> | null, signal: AbortSignal): Promise<readonly NodeId[]>;
  status(): Promise<DataplaneStatus> | DataplaneStatus;
  verify(repair: boolean, signal: AbortSignal): Promise<VerifyReply>;
  /** @param from null: whoever calls */
  trace(service: string, from: string | null, signal: AbortSignal): Promise<TraceReply>;
}

/** A server, not yet bound. `onBug` is expected to crash. */
export function createDataplaneServer(methods: DataplaneMethods, onBug: (err: unknown) => void): Server {
  const server = new Server({ 'grpc.max_receive_message_length': messageBytesMax });
  const unary =
    (
      handle: (request: unknown, signal: AbortSignal, traces: readonly TraceId[]) => Promise<object> | object,
    ) =>
    (call: ServerUnaryCall<unknown, object>, reply: sendUnaryData<object>): void => {
      const gone = new AbortController();
      call.once('cancelled', () => gone.abort(new DOMException('the caller is gone', 'AbortError')));
      Promise.resolve()
        .then(() => handle(call.request, gone.signal, tracesIn(call.metadata)))
        .then(
          (answer) => reply(null, answer),
          (err: unknown) => {
            if (err instanceof AssertionError) onBug(err);
            reply(toStatus(err));
          },
        );
    };
  const implementation: UntypedServiceImplementation = {
    SetState: unary(async (request, _signal, traces) => {
      await methods.setState(parseNodeNetworkState(request), traces);
      return {};
    }),
    ChangeState: unary(async (request, _signal, traces) => {
      await methods.changeState(request, traces);
      return {};
    }),
    ClearState: unary(async () => {
      await methods.clearState();
      return {};
    }),
    WaitProgrammed: unary(async (request, signal) => {
      const fields = new Fields(request, '');
      const revision = fields.integer('revision', 0, Number.MAX_SAFE_INTEGER);
      const taskId = fields.optionalString('taskId') === undefined ? null : (fields.id('taskId') as TaskId);
      return { revision: await methods.waitProgrammed(revision, taskId, signal) };
    }),
    WaitSilent: unary(async (request, signal) => {
      const fields = new Fields(request, '');
      const isFirst = (fields.raw('known') ?? null) === null;
      const known = isFirst ? null : new Set(fields.object('known').optionalList('nodeIds', String));
      return { nodeIds: await methods.waitSilent(known, signal) };
    }),
    GetStatus: unary(() => methods.status()),
    Verify: unary((request, signal) => methods.verify(new Fields(request, '').boolean('repair'), signal)),
    Trace: unary((request, signal) => {
      const fields = new Fields(request, '');
      return methods.trace(fields.string('service'), fields.optionalString('from') ?? null, signal);
    }),
  };
  server.addService(loadDataplaneService(), implementation);
  return server;
}

/** Binds the server to a unix socket path; the caller sees to stale files and to the mode. */
export const listenOnSocket = (server: Server, path: string): Promise<void> =>
  new Promise((resolve, reject) => {
    server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), (err) =>
      err ? reject(err) : resolve(),
    );
  });
