/**
 * The machines' network and gRPC's calls over it. A link that is cut loses nothing for a while, as TCP repeats what was not
 * taken; then the caller's pings find the connection dead, while the one called may never hear of it. What belongs to one stream
 * stays in order, calls overtake each other, and answers get lost with their connection. Messages go through the wire's own form.
 */
import { EventEmitter } from 'node:events';
import { status } from '@grpc/grpc-js';
import type { MethodDefinition, ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js';
import type { Requests, SessionClient } from '../../src/controlplane/rpc/clients.js';
import { rpcTimeoutMs } from '../../src/controlplane/rpc/clients.js';
import { fromServiceError } from '../../src/controlplane/rpc/status.js';
import type { Chance } from './chance.js';
import type { Process, Time } from './time.js';

/** Missed pings: rpc/clients.ts. */
const aliveMsMax = 4_000;
const portSuffix = ':2377';

/** Who listens on a host. */
export interface Listener {
  readonly process: Process;
  readonly services: readonly {
    readonly definition: ServiceDefinition;
    readonly implementation: UntypedServiceImplementation;
  }[];
}

/** Whose certificate a call shows. */
export interface Identity {
  readonly nodeId: string;
  readonly role: string;
}

type Method = MethodDefinition<object, object>;
interface Refusal {
  readonly code: status;
  readonly details: string;
}

export class SimNetwork {
  readonly #cut = new Set<string>();
  readonly #listeners = new Map<string, Listener>();
  readonly #connections = new Set<Connection>();
  readonly #beatsMs = new Map<string, number>();
  /** Told of each message to a node before it is sent; throws for one that must not be. */
  onAnswer: (to: Identity, method: string, message: object, bytes: Buffer) => void = () => undefined;
  /** A broken part for tests of the laws: whom a caller is taken for. */
  takenFor: (caller: Identity) => Identity = (caller) => caller;

  constructor(
    readonly time: Time,
    readonly chance: Chance,
  ) {
    const tick = (): void => {
      for (const connection of [...this.#connections]) connection.ping();
      time.in(1_000, tick);
    };
    time.in(1_000, tick);
  }

  /** When a manager last answered a heartbeat of the node; -Infinity: never. */
  beatOf(from: string, to: string): number {
    return this.#beatsMs.get(`${from} ${to}`) ?? -Infinity;
  }

  /** @internal */
  noteBeat(from: string, to: string): void {
    this.#beatsMs.set(`${from} ${to}`, this.time.nowMs);
  }

  readonly linked = (a: string, b: string): boolean => a === b || !this.#cut.has(pair(a, b));

  cut(a: string, b: string): void {
    if (a !== b) this.#cut.add(pair(a, b));
  }

  heal(a: string, b: string): void {
    this.#cut.delete(pair(a, b));
    for (const connection of [...this.#connections]) connection.flush();
  }

  healAll(): void {
    this.#cut.clear();
    for (const connection of [...this.#connections]) connection.flush();
  }

  listen(host: string, listener: Listener): void {
    this.#listeners.set(host, listener);
    listener.process.onEnd(() => this.silence(host, listener));
  }

  /** Nobody listens there any more. */
  silence(host: string, listener: Listener): void {
    if (this.#listeners.get(host) === listener) this.#listeners.delete(host);
    for (const connection of [...this.#connections])
      if (connection.listener === listener) connection.break('the server ended');
  }

  /** All connections from or to the host end. */
  breakConnections(host: string): void {
    for (const connection of [...this.#connections])
      if (connection.from === host || connection.to === host) connection.break('connection reset');
  }

  connect(from: string, process: Process, addr: string, identity: () => Identity): Connection {
    const to = addr.slice(0, -portSuffix.length);
    const connection = new Connection(this, from, to, process, identity());
    this.#connections.add(connection);
    process.onEnd(() => connection.break('the client ended'));
    return connection;
  }

  /** @internal */
  listenerOf(host: string): Listener | undefined {
    return this.#listeners.get(host);
  }

  /** @internal */
  forget(connection: Connection): void {
    this.#connections.delete(connection);
  }
}

const pair = (a: string, b: string): string => (a < b ? `${a} ${b}` : `${b} ${a}`);

/** One client's channel to one manager. */
export class Connection {
  listener: Listener | undefined;
  #isBroken = false;
  #aliveMs: number;
  /** On their way when the link was cut. */
  #parked: (() => void)[] = [];
  readonly #calls = new Set<Call>();

  constructor(
    readonly network: SimNetwork,
    readonly from: string,
    readonly to: string,
    readonly process: Process,
    readonly identity: Identity,
  ) {
    this.#aliveMs = network.time.nowMs;
  }

  unary<R>(service: ServiceDefinition, name: string, request: object): Promise<R> {
    return new Promise((resolve, reject) => {
      const call = new Call(this, method(service, name), {
        onMessage: (message) => {
          call.end();
          resolve(message as R);
        },
        onEnd: (refusal) => {
          call.end();
          reject(fromServiceError(serviceError(refusal ?? { code: status.INTERNAL, details: 'no answer' })));
        },
      });
      call.begin(request);
      const cancel = this.process.in(rpcTimeoutMs, () =>
        call.fail({ code: status.DEADLINE_EXCEEDED, details: 'Deadline exceeded' }),
      );
      call.onDone = cancel;
    });
  }

  stream<R>(
    service: ServiceDefinition,
    name: string,
    request: object,
    signal: AbortSignal,
  ): AsyncIterable<R> {
    const queue: R[] = [];
    let over: { readonly refusal: Refusal | undefined } | undefined;
    let wake: (() => void) | undefined;
    const call = new Call(this, method(service, name), {
      onMessage: (message) => {
        queue.push(message as R);
        wake?.();
      },
      onEnd: (refusal) => {
        over ??= { refusal };
        wake?.();
      },
    });
    const onAbort = (): void => call.cancel();
    if (signal.aborted) call.fail(cancelled);
    else {
      signal.addEventListener('abort', onAbort, { once: true });
      call.begin(request);
    }
    return {
      [Symbol.asyncIterator]: () => ({
        next: async () => {
          for (;;) {
            const value = queue.shift();
            if (value !== undefined) return { done: false, value };
            if (over) {
              signal.removeEventListener('abort', onAbort);
              if (over.refusal) throw serviceError(over.refusal);
              return { done: true, value: undefined };
            }
            await new Promise<void>((resolve) => (wake = resolve));
            wake = undefined;
          }
        },
      }),
    };
  }

  requests<Q extends object>(service: ServiceDefinition, name: string, signal: AbortSignal): Requests<Q> {
    let call: Call | undefined;
    const done = new Promise<object>((resolve, reject) => {
      call = new Call(this, method(service, name), {
        onMessage: (message) => {
          call?.end();
          resolve(message);
        },
        onEnd: (refusal) =>
          reject(fromServiceError(serviceError(refusal ?? { code: status.INTERNAL, details: 'no answer' }))),
      });
    });
    const onAbort = (): void => call?.cancel();
    if (call) call.onDone = () => signal.removeEventListener('abort', onAbort);
    if (signal.aborted) call?.fail(cancelled);
    else {
      signal.addEventListener('abort', onAbort, { once: true });
      call?.begin();
    }
    const write = (message: Q): boolean => {
      call?.say(message);
      return true;
    };
    return { stream: { write, on: () => undefined } as never, done };
  }

  close(): void {
    for (const call of [...this.#calls]) call.cancel();
    this.#isBroken = true;
    this.network.forget(this);
  }

  /** Something goes over, and arrives after `delayMs` at the earliest. */
  transmit(delayMs: number, arrive: () => void): void {
    this.network.time.in(delayMs, () => {
      if (this.#isBroken) return;
      if (this.network.linked(this.from, this.to)) arrive();
      else this.#parked.push(arrive);
    });
  }

  flush(): void {
    if (!this.network.linked(this.from, this.to)) return;
    for (const arrive of this.#parked.splice(0)) this.transmit(this.network.chance.between(1, 300), arrive);
  }

  ping(): void {
    if (this.network.linked(this.from, this.to)) this.#aliveMs = this.network.time.nowMs;
    else if (this.network.time.nowMs - this.#aliveMs > aliveMsMax) this.break('keepalive failed');
  }

  /** Both ends hear of it, as far as it reaches them. */
  break(details: string): void {
    if (this.#isBroken) return;
    this.#isBroken = true;
    this.network.forget(this);
    const heard = this.network.linked(this.from, this.to);
    for (const call of [...this.#calls]) {
      if (heard) call.abandon();
      this.network.time.in(this.network.chance.between(0, 20), () =>
        this.process.deliver(() => call.fail({ code: status.UNAVAILABLE, details })),
      );
    }
  }

  get isBroken(): boolean {
    return this.#isBroken;
  }

  /** @internal */
  track(call: Call): void {
    this.#calls.add(call);
  }

  /** @internal */
  untrack(call: Call): void {
    this.#calls.delete(call);
  }
}

interface CallEvents {
  onMessage(message: object): void;
  /** @param refusal undefined: all was well */
  onEnd(refusal: Refusal | undefined): void;
}

class Call {
  onDone: () => void = () => undefined;
  #isOver = false;
  #server: ServerCall | undefined;
  /** Of a stream of requests: on their way, and how many of them have arrived that the server has not heard. */
  readonly #said: Buffer[] = [];
  #arrived = 0;
  /** When what was last sent to the client arrives: it stays in order. */
  #lastMs = 0;

  constructor(
    private readonly connection: Connection,
    private readonly method: Method,
    private readonly events: CallEvents,
  ) {
    connection.track(this);
  }

  /** @param request none yet: it is a stream of them */
  begin(request?: object): void {
    const { connection, method } = this;
    const { network } = connection;
    const bytes = request && method.requestSerialize(request);
    if (connection.isBroken) {
      this.connection.process.in(1, () => this.fail({ code: status.UNAVAILABLE, details: 'channel closed' }));
      return;
    }
    const arrive = (): void => {
      connection.listener ??= network.listenerOf(connection.to);
      const { listener } = connection;
      if (!listener || network.listenerOf(connection.to) !== listener) {
        connection.break('connection refused');
        return;
      }
      listener.process.deliver(() => this.#serve(listener, bytes && method.requestDeserialize(bytes)));
    };
    connection.transmit(network.chance.latencyMs(), arrive);
    // As where a caller's retry meets what was only late.
    if (!method.responseStream && !method.requestStream && network.chance.fault(0.01))
      connection.transmit(network.chance.between(1, 3_000), arrive);
  }

  /** One more request of a stream. */
  say(request: object): void {
    const { connection, method } = this;
    if (this.#isOver) return;
    this.#said.push(method.requestSerialize(request));
    connection.transmit(connection.network.chance.latencyMs(), () => {
      this.#arrived += 1;
      connection.listener?.process.deliver(() => this.#hear());
    });
  }

  /** In the order that it was said in; what has come before the call itself waits for that. */
  #hear(): void {
    for (; this.#server && this.#arrived > 0; this.#arrived -= 1) {
      const bytes = this.#said.shift();
      if (bytes) this.#server.hear(this.method.requestDeserialize(bytes));
    }
  }

  cancel(): void {
    if (this.#isOver) return;
    this.connection.transmit(this.connection.network.chance.latencyMs(), () => this.abandon());
    this.fail(cancelled);
  }

  /** The server hears that nobody is there any more. */
  abandon(): void {
    const server = this.#server;
    if (server) this.connection.listener?.process.deliver(() => server.leave());
  }

  fail(refusal: Refusal): void {
    if (this.#isOver) return;
    this.end();
    this.events.onEnd(refusal);
  }

  end(): void {
    this.#isOver = true;
    this.connection.untrack(this);
    this.onDone();
  }

  #serve(listener: Listener, request: object = {}): void {
    const { method, connection } = this;
    const { identity, network } = connection;
    const found = listener.services.find(({ definition }) =>
      Object.values(definition).includes(method as never),
    );
    const [name] = Object.entries(found?.definition ?? {}).find(([, one]) => one === (method as never)) ?? [];
    const implementation = found?.implementation as Record<string, (...args: unknown[]) => void> | undefined;
    const handle = implementation?.[lowerFirst(name ?? '')];
    if (!handle) throw new Error(`nobody implements ${method.path}`);
    const send = (message: object): void => {
      const bytes = method.responseSerialize(message);
      const received = method.responseDeserialize(bytes);
      network.onAnswer(identity, name ?? '', received, bytes);
      if (name === 'Heartbeat') network.noteBeat(connection.from, connection.to);
      this.#toClient(() => !this.#isOver && this.events.onMessage(received));
    };
    const end = (refusal?: Refusal): void =>
      this.#toClient(() => {
        if (this.#isOver) return;
        if (refusal) this.fail(refusal);
        else {
          this.end();
          this.events.onEnd(undefined);
        }
      });
    const call = new ServerCall(request, network.takenFor(identity), method.path, connection.from, send, end);
    this.#server = call;
    if (method.responseStream) handle(call);
    else handle(call, (err: Refusal | null, reply: object) => (err ? end(err) : send(reply)));
    this.#hear();
  }

  #toClient(arrive: () => void): void {
    const { time, chance } = this.connection.network;
    this.#lastMs = Math.max(this.#lastMs + 0.001, time.nowMs + chance.latencyMs());
    this.connection.transmit(this.#lastMs - time.nowMs, () => this.connection.process.deliver(arrive));
  }
}

/** A call as a handler sees it. */
export class ServerCall extends EventEmitter {
  cancelled = false;
  #isOver = false;
  readonly #requests: object[] = [];
  #isDestroyed = false;
  #wake = (): void => undefined;

  constructor(
    readonly request: object,
    readonly identity: Identity,
    private readonly path: string,
    private readonly from: string,
    private readonly send: (message: object) => void,
    private readonly finish: (refusal?: Refusal) => void,
  ) {
    super();
    this.on('error', (refusal: Refusal) => {
      if (this.#isOver) return;
      this.#isOver = true;
      finish(refusal);
    });
  }

  getPath = (): string => this.path;
  getPeer = (): string => `${addressOf(this.from)}:40000`;

  write(message: object): boolean {
    if (!this.#isOver) this.send(message);
    return true;
  }

  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.finish();
  }

  leave(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.cancelled = true;
    this.emit('cancelled');
    this.emit('close');
    this.destroy();
  }

  /** One more of a stream of requests. */
  hear(request: object): void {
    this.#requests.push(request);
    this.#wake();
  }

  /** Nothing more is read. */
  destroy(): void {
    this.#isDestroyed = true;
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<object, void> {
    for (;;) {
      if (this.#isDestroyed) throw new Error('Premature close');
      const request = this.#requests.shift();
      if (request) yield request;
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}

/** Of a host named `…<number>`. */
export const addressOf = (host: string): string => `192.0.2.${/\d+$/.exec(host)?.[0] ?? '0'}`;

const cancelled: Refusal = { code: status.CANCELLED, details: 'Cancelled on client' };
const serviceError = (refusal: Refusal): Error => Object.assign(new Error(refusal.details), refusal);
const lowerFirst = (text: string): string => text.charAt(0).toLowerCase() + text.slice(1);
const method = (service: ServiceDefinition, name: string): Method => service[name] as unknown as Method;

/** An agent's client over a connection. */
export function sessionClient(connection: Connection, service: ServiceDefinition): SessionClient {
  const ask =
    (name: string) =>
    (request: object): Promise<never> =>
      connection.unary(service, name, request);
  const follow =
    (name: string) =>
    (request: object, signal: AbortSignal): never =>
      connection.stream(service, name, request, signal) as never;
  return {
    session: follow('Session'),
    assignments: follow('Assignments'),
    listenSubscriptions: follow('ListenSubscriptions'),
    describeNode: ask('DescribeNode'),
    heartbeat: ask('Heartbeat'),
    updateTaskStatus: ask('UpdateTaskStatus'),
    attachNetwork: ask('AttachNetwork'),
    detachNetworks: ask('DetachNetworks'),
    acknowledgeRevision: ask('AcknowledgeRevision'),
    acknowledgeRevisions: (signal) => connection.requests(service, 'AcknowledgeRevisions', signal),
    awaitAcknowledged: ask('AwaitAcknowledged'),
    publishLogs: () => {
      throw new Error('nobody asks for logs here');
    },
    // Nobody asks for containers either: agents hear of nothing, for as long as their session lasts.
    listenTunnels: (_, signal) => until(signal) as never,
    tunnel: () => {
      throw new Error('nobody asks for containers here');
    },
    close: () => connection.close(),
  };
}

// eslint-disable-next-line require-yield
async function* until(signal: AbortSignal): AsyncGenerator<never> {
  if (!signal.aborted)
    await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
}
