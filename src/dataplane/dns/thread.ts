/**
 * The DNS server on a thread of its own, so that an answer never waits for a look at a namespace with thousands of services.
 * The thread holds a state of its own and is told of changes, not of states, where that is possible. Whatever ends the thread
 * is a bug, and ends the process.
 */
import { Worker } from 'node:worker_threads';
import type { SandboxEndpoint } from '../sandbox.js';
import type { StateChange } from '../state-change.js';
import { changeBetween } from '../state-change.js';
import type { NodeNetworkState } from '../state.js';
import type { NameFigures } from './query-counts.js';

export interface NameThreadOptions {
  /** Where the overlays' namespaces are. */
  readonly netnsDirectory: string;
  /** Path of the host's resolv.conf(5). */
  readonly resolvConf: string;
  /** `name` of the thread's log. */
  readonly logName: string;
  /** And its level; `info` unless it is said. */
  readonly logLevel?: string;
}

/** To the thread; those with an id are answered. */
export type ToNameThread =
  | { readonly kind: 'state'; readonly state: NodeNetworkState | null }
  | { readonly kind: 'change'; readonly change: StateChange }
  | { readonly kind: 'sandboxes'; readonly sandboxes: readonly SandboxEndpoint[] }
  | { readonly kind: 'retry' | 'figures'; readonly id: number }
  | { readonly kind: 'open' | 'close'; readonly id: number; readonly path: string };

/** From the thread. */
export interface FromNameThread {
  readonly id: number;
  readonly done: boolean;
  /** Where they were asked for. */
  readonly figures?: NameFigures;
}

/** As it can be told: lists as arrays, and without the keys, which names do not need. */
const plain = (state: NodeNetworkState): NodeNetworkState => ({
  ...state,
  overlays: state.overlays.map((overlay) => ({
    ...overlay,
    endpoints: [...overlay.endpoints],
    services: [...overlay.services],
  })),
  publishedPorts: [...state.publishedPorts],
  encryptionKeys: null,
});

/** Compiled, wherever this file runs: Node starts threads from JavaScript only. The path holds from src/ and from dist/. */
const program = new URL('../../../dist/dataplane/dns/worker.js', import.meta.url);

export class NameThread implements AsyncDisposable {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, (answer: Omit<FromNameThread, 'id'>) => void>();
  #lastId = 0;
  #state: NodeNetworkState | null = null;
  #sandboxes: readonly SandboxEndpoint[] = [];
  #ended = false;

  /** @param onBug called when the thread fails or ends by itself */
  constructor(options: NameThreadOptions, onBug: (err: unknown) => void) {
    this.#worker = new Worker(program, { workerData: options });
    this.#worker.on('message', ({ id, ...answer }: FromNameThread) => this.#settle(id, answer));
    this.#worker.on('error', onBug);
    this.#worker.on('exit', (code) => {
      if (!this.#ended) onBug(new Error(`the thread of names ended with ${code}`));
    });
    // What the process waits for is its own thread's.
    this.#worker.unref();
  }

  /** As DnsServer.setNetwork. */
  setNetwork(state: NodeNetworkState | null, sandboxes: readonly SandboxEndpoint[]): void {
    if (sandboxes !== this.#sandboxes) this.#tell({ kind: 'sandboxes', sandboxes });
    this.#sandboxes = sandboxes;
    if (state === this.#state) return;
    const change = state && this.#state && changeBetween(this.#state, state);
    if (change) this.#tell({ kind: 'change', change });
    else this.#tell({ kind: 'state', state: state && plain(state) });
    this.#state = state;
  }

  /** As DnsServer.retry. */
  retry(): Promise<boolean> {
    return this.#isDone((id) => ({ kind: 'retry', id }));
  }

  /** As DnsServer.openSandbox. */
  openSandbox(path: string): Promise<boolean> {
    return this.#isDone((id) => ({ kind: 'open', id, path }));
  }

  /** As DnsServer.closeSandbox; resolves when the sockets are closed. */
  async closeSandbox(path: string): Promise<void> {
    await this.#ask((id) => ({ kind: 'close', id, path }));
  }

  /** As DnsServer.figures. Rejects when the thread has ended. */
  async figures(): Promise<NameFigures> {
    const { figures } = await this.#ask((id) => ({ kind: 'figures', id }));
    if (!figures) throw new Error('the thread of names has ended');
    return figures;
  }

  /** Ends the thread, and every socket of it. Whoever still waits is told false. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended = true;
    await this.#worker.terminate();
    for (const id of [...this.#waiting.keys()]) this.#settle(id, { done: false });
  }

  async #isDone(message: (id: number) => ToNameThread): Promise<boolean> {
    return (await this.#ask(message)).done;
  }

  async #ask(message: (id: number) => ToNameThread): Promise<Omit<FromNameThread, 'id'>> {
    if (this.#ended) return { done: false };
    const id = ++this.#lastId;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#tell(message(id));
    });
  }

  #tell(message: ToNameThread): void {
    this.#worker.postMessage(message);
  }

  #settle(id: number, answer: Omit<FromNameThread, 'id'>): void {
    this.#waiting.get(id)?.(answer);
    this.#waiting.delete(id);
  }
}
