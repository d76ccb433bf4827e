/**
 * How every call to etcd is made: one gRPC call with a deadline, its failure typed. Clients of one process and one address
 * share the connection.
 */
import { fileURLToPath } from 'node:url';
import * as grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { OutsideError } from '../../model/errors.js';

/** A call to etcd that failed. Retryable when etcd was not there, had no leader or was too slow. */
export class EtcdError extends OutsideError {
  override readonly name = 'EtcdError';
  /** The database has come to its quota. */
  readonly isOutOfSpace: boolean;

  constructor(
    readonly operation: string,
    readonly code: grpc.status,
    details: string,
    cause: unknown,
  ) {
    super(`etcd ${operation}: ${grpc.status[code]}: ${details}`, retryableCodes.has(code), { cause });
    // etcd's text: gRPC gives the same code to messages that are too large.
    this.isOutOfSpace =
      code === grpc.status.RESOURCE_EXHAUSTED && details.includes('database space exceeded');
  }
}

const retryableCodes: ReadonlySet<grpc.status> = new Set([
  grpc.status.UNAVAILABLE,
  grpc.status.DEADLINE_EXCEEDED,
  grpc.status.CANCELLED,
  grpc.status.ABORTED,
]);

/** A method of one request and one reply. */
export type Unary<Reply> = (
  request: object,
  metadata: grpc.Metadata,
  options: grpc.CallOptions,
  callback: (err: grpc.ServiceError | null, reply: Reply) => void,
) => grpc.ClientUnaryCall;

/** What begins every reply; 64-bit numbers as text. */
export interface WireHeader {
  readonly revision: string;
}

interface Services {
  readonly KV: grpc.ServiceClientConstructor;
  readonly Watch: grpc.ServiceClientConstructor;
  readonly Maintenance: grpc.ServiceClientConstructor;
  readonly Lease: grpc.ServiceClientConstructor;
  readonly Cluster: grpc.ServiceClientConstructor;
}

const definitions = grpc.loadPackageDefinition(
  loadSync(fileURLToPath(new URL('../../../proto/etcd/rpc.proto', import.meta.url)), {
    longs: String,
    enums: String,
    defaults: true,
    arrays: true,
  }),
);
const services = definitions['etcdserverpb'] as unknown as Services;

const channelOptions: grpc.ChannelOptions = {
  // A watch response holds up to a thousand revisions; etcd bounds it, not this side.
  'grpc.max_receive_message_length': -1,
  'grpc.max_send_message_length': -1,
  // The default backs off to two minutes, far longer than etcd takes to come back.
  'grpc.initial_reconnect_backoff_ms': 50,
  'grpc.max_reconnect_backoff_ms': 1_000,
  'grpc.min_reconnect_backoff_ms': 50,
  // Ends a watch whose other side is gone without a word. etcd refuses more than one ping in 5 s.
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 5_000,
  'grpc.enable_retries': 0,
};

/** Deadline of a call when the caller names none. */
export const callMsDefault = 5_000;
/**
 * A client of one of etcd's services.
 * @param address a gRPC target: `unix:///path` or `host:port`
 */
export const serviceClient = <Client extends grpc.Client>(
  service: keyof Services,
  address: string,
  credentials: grpc.ChannelCredentials = grpc.credentials.createInsecure(),
): Client => new services[service](address, credentials, channelOptions) as unknown as Client;

/** One call. @throws EtcdError */
export function unary<Reply>(
  operation: string,
  deadlineMs: number,
  client: grpc.Client,
  method: Unary<Reply>,
  request: object,
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    // A call made while etcd is away waits for the connection up to its deadline, instead of failing at once.
    const metadata = new grpc.Metadata({ waitForReady: true });
    const options = { deadline: Date.now() + deadlineMs };
    method.call(client, request, metadata, options, (err, reply) =>
      err ? reject(toEtcdError(operation, err)) : resolve(reply),
    );
  });
}

/** What a failed call or stream becomes. */
export const toEtcdError = (operation: string, err: grpc.ServiceError): EtcdError =>
  new EtcdError(operation, err.code, err.details, err);
