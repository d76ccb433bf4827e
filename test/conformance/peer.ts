/** One end of the traffic in one namespace: the TypeScript side of peer.py. Ends with its scope, its connections with it. */
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** What the network refused: an errno name, TIMEOUT, or EOF for an end without a reset. */
export interface Failure {
  readonly failed: string;
  readonly ms: number;
}

/** Who answered, and the addresses (`address:port`) that its socket saw. */
export interface Identity {
  readonly task: string;
  readonly client: string;
  readonly local: string;
}

export interface Datagram extends Identity {
  /** Where the answer came from, `address:port`. */
  readonly from: string;
  /** Request and answer arrived byte for byte. */
  readonly intact: boolean;
  /** Length of the answer. */
  readonly bytes: number;
}

/** An ICMP error as the kernel gave it to the socket. */
export interface IcmpError {
  readonly errno: string;
  /** Made by the sender's own kernel, e.g. for a path MTU that it knows already. */
  readonly local: boolean;
  readonly type: number;
  readonly code: number;
  /** The MTU in bytes, where the type says so. */
  readonly info: number;
  readonly offender: string;
  /** What the datagram had been sent to, as quoted in the error. */
  readonly destination: string;
}

export interface Load {
  /** Requests answered on kept connections. */
  readonly asked: number;
  /** Connections that were tried. */
  readonly opened: number;
  readonly failed: readonly (Failure & { readonly kept: boolean })[];
}

/** Of many flows, each from a port of its own. */
export interface Flood {
  /** Flows that each task answered, seeing the client under its own address and port. */
  readonly right: Readonly<Record<string, number>>;
  /** The first few that were answered otherwise, or not at all. */
  readonly wrong: readonly string[];
  readonly wrongCount: number;
}

export interface RunningLoad {
  /** Resolves once `count` more connections have been tried. */
  more(count: number): Promise<void>;
  stop(): Promise<Load>;
}

/** Datagrams of one port at a fixed rate. */
export interface DatagramStream {
  /** Who answered last; null: nobody yet. */
  task(): Promise<string | null>;
  stop(): Promise<DatagramReport>;
}

export interface DatagramReport {
  readonly sent: number;
  readonly answered: number;
  /** The longest time from the sending of a datagram that was not answered to that of the next one that was. */
  readonly blackMs: number;
}

/** Microseconds that a datagram takes from its sender's call to a queue of its receiver's. */
export interface SendCosts {
  /** Of a flow that is known. */
  readonly keptUs: number;
  /** Of one that is to be balanced. */
  readonly newUs: number;
}

export interface Target {
  readonly host: string;
  readonly port: number;
  readonly sourcePort?: number;
  readonly source?: string;
}

export interface StreamTarget extends Target {
  readonly protocol?: 'tcp' | 'sctp';
  readonly timeoutS?: number;
}

export interface DatagramTarget extends Target {
  /** Bytes of payload; 64 by default. */
  readonly size?: number;
  readonly dontFragment?: boolean;
  readonly timeoutS?: number;
}

export type Answer<T> = T | Failure;
export const isFailure = (answer: object): answer is Failure => 'failed' in answer;

/** An established stream of a peer. */
export interface Connection {
  /** The client's port. */
  readonly port: number;
  ask(): Promise<Answer<Identity>>;
  /** Receives `give` bytes and sends `take`; says whether both arrived whole. */
  transfer(give: number, take: number): Promise<Answer<{ readonly intact: boolean }>>;
  close(): Promise<void>;
  /** Ends it with a reset, so that its port is free at once. */
  reset(): Promise<void>;
}

export class Peer implements AsyncDisposable {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #waiting = new Map<
    number,
    { resolve: (value: unknown) => void; reject: (reason: Error) => void }
  >();
  #nextId = 1;

  /** @param netns path of the namespace to live in */
  constructor(
    readonly name: string,
    readonly netns: string,
  ) {
    // Debian's own interpreter: another one first in PATH need not be there for all namespaces' kernels.
    const program = ['/usr/bin/python3', '-B', join(import.meta.dirname, 'peer.py'), name];
    this.#child = spawn('nsenter', [`--net=${netns}`, ...program]);
    this.#child.stderr.pipe(process.stderr, { end: false });
    createInterface({ input: this.#child.stdout }).on('line', (row) => this.#settle(row));
    this.#child.on('exit', (code, signal) => {
      for (const { reject } of this.#waiting.values())
        reject(new Error(`peer ${name} ended: ${signal ?? code}`));
      this.#waiting.clear();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
  }

  listen(port: number, protocol: 'tcp' | 'sctp' = 'tcp'): Promise<null> {
    return this.#request('listen', { port, protocol });
  }

  /** A server's side of the connection whose client is `client` (`address:port` as it saw it): sends until that fails. */
  speakUntilFailure(client: string): Promise<Failure> {
    return this.#request('speakUntilFailure', { client });
  }

  /** @param anySource the kernel chooses the source of answers, as with servers that know only 0.0.0.0 */
  listenUdp(port: number, anySource = false): Promise<null> {
    return this.#request('listenUdp', { port, anySource });
  }

  /** For kernels without SCTP sockets: the packets, checksums verified. */
  listenRawSctp(port: number): Promise<null> {
    return this.#request('listenRawSctp', { port });
  }

  hasSctp(): Promise<boolean> {
    return this.#request('hasSctp', {});
  }

  async open(target: StreamTarget): Promise<Answer<Connection>> {
    const opened = await this.#request<Answer<{ connection: number; port: number }>>('open', target);
    if (isFailure(opened)) return opened;
    const { connection, port } = opened;
    return {
      port,
      ask: () => this.#request('ask', { connection }),
      transfer: (give, take) => this.#request('transfer', { connection, give, take }),
      close: async () => void (await this.#request('close', { connection })),
      reset: async () => void (await this.#request('close', { connection, reset: true })),
    };
  }

  /** Opens a connection, asks and closes, `count` times one after the other. */
  many(target: StreamTarget, count: number): Promise<Answer<Identity>[]> {
    return this.#request('many', { ...target, count });
  }

  /** Keeps `kept` connections busy and opens new ones, until the load is stopped. */
  async startLoad(target: StreamTarget, kept: number): Promise<RunningLoad> {
    const load = await this.#request<number>('startLoad', { ...target, kept });
    return {
      more: async (count) => void (await this.#request('awaitLoad', { load, count })),
      stop: () => this.#request('stopLoad', { load }),
    };
  }

  /** `count` datagrams from one port, one after the other. */
  askUdp(target: DatagramTarget, count = 1): Promise<Answer<Datagram>[]> {
    return this.#request('askUdp', { ...target, count });
  }

  /** `count` datagrams, each from a port of its own. */
  manyUdp(target: DatagramTarget, count: number): Promise<Answer<Datagram>[]> {
    return this.#request('manyUdp', { ...target, count });
  }

  /** Sends datagrams from one port, without waiting for answers, until the stream is stopped. */
  async startDatagrams(target: Target, perSecond: number): Promise<DatagramStream> {
    const stream = await this.#request<number>('startDatagrams', { ...target, perSecond });
    return {
      task: () => this.#request('datagramsTask', { stream }),
      stop: () => this.#request('stopDatagrams', { stream }),
    };
  }

  /** `count` connections, many at a time; each asks once and ends. */
  flood(target: Pick<Target, 'host' | 'port'>, count: number): Promise<Flood> {
    return this.#request('flood', { ...target, count });
  }

  /** The same with a datagram each. */
  floodUdp(target: Pick<Target, 'host' | 'port'>, count: number): Promise<Flood> {
    return this.#request('floodUdp', { ...target, count });
  }

  /** What a datagram costs: the median of `runs` times `count`. */
  sendCosts(target: Pick<Target, 'host' | 'port'>, count: number, runs: number): Promise<SendCosts> {
    return this.#request('sendCosts', { ...target, count, runs });
  }

  /** Sends one datagram that is to be answered with an ICMP error. */
  icmpError(target: DatagramTarget): Promise<Answer<IcmpError>> {
    return this.#request('icmpError', target);
  }

  /** An association in packets of our own, and `count` questions in it. */
  askRawSctp(target: Target, count = 1): Promise<Answer<Identity>[]> {
    return this.#request('askRawSctp', { ...target, count });
  }

  #request<T>(op: string, options: object): Promise<T> {
    const id = this.#nextId++;
    const named = Object.entries(options).map(([name, value]): [string, unknown] => [snakeCase(name), value]);
    return new Promise<T>((resolve, reject) => {
      this.#waiting.set(id, { resolve: (value) => resolve(value as T), reject });
      this.#child.stdin.write(`${JSON.stringify({ id, op, ...Object.fromEntries(named) })}\n`);
    });
  }

  #settle(row: string): void {
    const { id, value, error } = JSON.parse(row) as { id: number; value?: unknown; error?: string };
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error !== undefined) waiting?.reject(new Error(`peer ${this.name}: ${error}`));
    else waiting?.resolve(value);
  }
}

const snakeCase = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
