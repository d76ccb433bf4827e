/**
 * The server on :2377, and what it takes from whom. Anybody can reach it who reaches the port, so must stay true: a stranger costs a
 * handshake and a small message, at most for a few seconds; a node costs what a node can have to say.
 *
 * A call of a method that is not open is refused by its first bytes where no certificate comes with it: its message, which may be large,
 * is never gathered. A request that has begun is to be whole within ten seconds.
 */
import { Server, ServerInterceptingCall, status } from '@grpc/grpc-js';
import type {
  ServerCredentials,
  ServerInterceptingCallInterface,
  ServerInterceptor,
  ServerOptions,
  ServiceDefinition,
  UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { OutsideError } from '../../model/errors.js';
import { decide } from '../../runtime/decide.js';
import type { Log } from '../../runtime/log.js';
import { nodeCaDefinition } from './proto.js';

/** A node's largest is a thousand reports in one call: some 500 bytes each, the engine's words in its errors included. */
export const requestBytesMax = 4 * 1024 * 1024;
const requestMsMaxDefault = 10_000;

const options: ServerOptions = {
  'grpc.max_receive_message_length': requestBytesMax,
  // An agent has five streams, one for each reader of its logs, and a few calls.
  'grpc.max_concurrent_streams': 128,
  // Who is gone without a word keeps its connection no longer; agents' pings are as often.
  'grpc.keepalive_time_ms': 20_000,
  'grpc.keepalive_timeout_ms': 10_000,
  'grpc.max_connection_idle_ms': 60_000,
  // Of one connection, in MB: what it may have waiting in Node.
  'grpc-node.max_session_memory': 32,
};

export interface ServedService {
  readonly definition: ServiceDefinition;
  readonly implementation: UntypedServiceImplementation;
}

/** A server of these services, not yet listening. Credentials bring their own limit for handshakes (ca/credentials.ts). */
export function createRpcServer(
  services: readonly ServedService[],
  log: Log,
  requestMsMax = requestMsMaxDefault,
): Server {
  const server = new Server({ ...options, interceptors: [guard(log, requestMsMax)] });
  for (const { definition, implementation } of services) server.addService(definition, implementation);
  return server;
}

/** Go's words for why an address cannot be had, by Node's code. */
const bindFailures: Readonly<Record<string, string>> = {
  EADDRNOTAVAIL: 'cannot assign requested address',
  EADDRINUSE: 'address already in use',
  EACCES: 'permission denied',
};

/** gRPC tells a list of failures as one text. */
const bindFailure = ({ message }: Error): string =>
  bindFailures[/\blisten (E[A-Z]+)\b/.exec(message)?.[1] ?? ''] ?? message;

/** Starts it at `host:port`. @returns the port, for 0. An OutsideError with Go's words if it cannot listen there. */
export function listen(server: Server, address: string, credentials: ServerCredentials): Promise<number> {
  return new Promise((resolve, reject) =>
    server.bindAsync(address, credentials, (err, port) =>
      err
        ? reject(new OutsideError(`listen tcp ${address}: bind: ${bindFailure(err)}`, false, { cause: err }))
        : resolve(port),
    ),
  );
}

/** What a caller without certificate may ask. */
const openPaths: ReadonlySet<string> = new Set(Object.values(nodeCaDefinition).map(({ path }) => path));

const noCertificate = { code: status.UNAUTHENTICATED, details: 'no client certificates in request' };
const tooSlow = { code: status.DEADLINE_EXCEEDED, details: 'the request did not come in time' };

const guard =
  (log: Log, requestMsMax: number): ServerInterceptor =>
  ({ path, requestStream }, call: ServerInterceptingCallInterface) => {
    let timer: NodeJS.Timeout | undefined;
    const received = (): void => clearTimeout(timer);
    const authenticated: ServerInterceptingCall = new AuthenticatedCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, pass) => {
            if (!openPaths.has(path) && authenticated.getAuthContext().sslPeerCertificate === undefined) {
              const reason = noCertificate.details;
              decide(log, 'call.refused', { call: path, peer: call.getPeer(), reason });
              call.sendStatus(noCertificate);
              return;
            }
            // A stream of requests may rest for as long as it likes.
            if (!requestStream) timer = setTimeout(() => call.sendStatus(tooSlow), requestMsMax);
            pass(metadata);
          },
          onReceiveHalfClose: (pass) => {
            received();
            pass();
          },
          onCancel: received,
        }),
    });
    return authenticated;
  };

type AuthContext = ReturnType<ServerInterceptingCall['getAuthContext']>;

/** Reads the caller's certificate once a call: it takes Node some 40 µs, which is most of what a small call costs. */
class AuthenticatedCall extends ServerInterceptingCall {
  #context: AuthContext | undefined;

  override getAuthContext(): AuthContext {
    return (this.#context ??= super.getAuthContext());
  }
}
