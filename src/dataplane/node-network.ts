/**
 * What this node's network should be, as two values: the state that the agent handed over and the table of what the
 * engine told the plugin. Owns both and their files. Must stay true: a value is on disk before anyone acts on it or is
 * told that it was taken; changes happen one after the other; everybody who acts on the values hears of every change.
 */
import { SkepError } from '../model/errors.js';
import type { TraceId } from '../model/trace.js';
import { ChangeParser } from './parse-change.js';
import type { SandboxEndpoint } from './sandbox.js';
import { shareState } from './share-state.js';
import { isEmpty } from './state-change.js';
import type { NodeNetworkState } from './state.js';
import type { EngineEndpoint, EngineNetwork, EngineTable, EngineTableFile } from './state-file.js';
import type { StateLog } from './state-log.js';

/** What the reconciler programs. */
export interface DesiredNetwork {
  readonly state: NodeNetworkState | null;
  readonly sandboxes: readonly SandboxEndpoint[];
  /** Of the requests that made the state what it is: the same list for as long as it is the same state. */
  readonly traces?: readonly TraceId[];
}

const none: readonly TraceId[] = [];

export class NodeNetwork {
  #state: NodeNetworkState | null = null;
  #traces = none;
  #table: EngineTable;
  #writes: Promise<unknown> = Promise.resolve();
  #listeners = new Set<() => void>();
  #stateKnown = false;
  readonly #changes = new ChangeParser();

  private constructor(
    private readonly stateLog: StateLog,
    private readonly tableFile: EngineTableFile,
    table: EngineTable,
  ) {
    this.#table = table;
  }

  /**
   * Reads both files. A damaged one is reported to `onDamaged` and counts as unknown: until {@link known}, nothing may
   * be taken out of the kernel. Endpoints of an earlier boot are dropped, for their sandboxes are gone.
   */
  static async load(
    stateLog: StateLog,
    tableFile: EngineTableFile,
    bootId: string,
    onDamaged: (err: unknown) => void,
  ): Promise<NodeNetwork> {
    const attempt = async <T>(
      load: () => Promise<T | null>,
    ): Promise<{ value: T | null; sound: boolean }> => {
      try {
        return { value: await load(), sound: true };
      } catch (err) {
        onDamaged(err);
        return { value: null, sound: false };
      }
    };
    const state = await attempt(() => stateLog.load());
    const table = await attempt(() => tableFile.load());
    const empty: EngineTable = { bootId, whole: table.sound, networks: [], endpoints: [] };
    const network = new NodeNetwork(
      stateLog,
      tableFile,
      table.value === null
        ? empty
        : table.value.bootId === bootId
          ? table.value
          : { ...table.value, bootId, whole: true, endpoints: [] },
    );
    network.#state = state.value;
    network.#stateKnown = state.sound;
    return network;
  }

  get state(): NodeNetworkState | null {
    return this.#state;
  }

  /** False while a file was damaged and nothing has replaced its content: the kernel is then to be left as it is. */
  get known(): boolean {
    return this.#stateKnown && this.#table.whole;
  }

  get desired(): DesiredNetwork {
    return { state: this.#state, sandboxes: this.#table.endpoints, traces: this.#traces };
  }

  get networks(): readonly EngineNetwork[] {
    return this.#table.networks;
  }

  get endpoints(): readonly EngineEndpoint[] {
    return this.#table.endpoints;
  }

  endpoint(endpointId: string): EngineEndpoint | undefined {
    return this.#table.endpoints.find((endpoint) => endpoint.endpointId === endpointId);
  }

  /** Calls back after each change until the returned function is called. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Takes a newer or equal state of the same node, or any state of another node (the node joined anew). */
  async setState(state: NodeNetworkState, traces: readonly TraceId[] = none): Promise<void> {
    await this.#write(async () => {
      const held = this.#state;
      if (held && held.nodeId === state.nodeId && state.revision < held.revision)
        throw new SkepError(
          'failedPrecondition',
          `state of revision ${state.revision} is older than the one held, ${held.revision}`,
        );
      await this.stateLog.save(state);
      this.#state = shareState(held, state);
      this.#traces = traces;
      this.#stateKnown = true;
    });
  }

  /**
   * Takes a change of the state held, as a message. Throws SkepError: `failedPrecondition` when it is of another state,
   * `invalidArgument` when the state that it makes would contradict itself.
   */
  async changeState(message: unknown, traces: readonly TraceId[] = none): Promise<void> {
    await this.#write(async () => {
      const held = this.#state;
      if (held?.encryptionKeys === null && held.overlays.some(({ encrypted }) => encrypted))
        throw new SkepError('failedPrecondition', 'the state held is without its keys: the whole is needed');
      const { change, state } = this.#changes.parse(message, held);
      // A node takes its own dead tasks out between two revisions of the managers'.
      if (held === null || (change.revision === held.revision && isEmpty(change))) return;
      await this.stateLog.append(change, state);
      this.#changes.taken(held, change, state);
      this.#state = state;
      this.#traces = traces;
    });
  }

  async clearState(): Promise<void> {
    await this.#write(async () => {
      await this.stateLog.remove();
      this.#state = null;
      this.#traces = none;
      this.#stateKnown = true;
    });
  }

  get table(): EngineTable {
    return this.#table;
  }

  /** Replaces the engine's table by what `change` makes of it; the same table back means no change. */
  async updateTable(change: (table: EngineTable) => EngineTable): Promise<void> {
    await this.#write(async () => {
      const next = change(this.#table);
      if (next === this.#table) return;
      await this.tableFile.save(next);
      this.#table = next;
    });
  }

  /** Answers what `look` finds as soon as it finds something; rejects with what it throws or the signal's reason. */
  async waitFor<T>(look: () => T | undefined, signal: AbortSignal): Promise<T> {
    signal.throwIfAborted();
    const now = look();
    if (now !== undefined) return now;
    return new Promise<T>((resolve, reject) => {
      const stop = (): void => {
        forget();
        signal.removeEventListener('abort', onAbort);
      };
      const onAbort = (): void => {
        stop();
        reject(signal.reason as Error);
      };
      const forget = this.onChange(() => {
        try {
          const found = look();
          if (found === undefined) return;
          stop();
          resolve(found);
        } catch (err) {
          stop();
          reject(err instanceof Error ? err : new Error(String(err)));
        }
      });
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }

  async #write(step: () => Promise<void>): Promise<void> {
    const mine = this.#writes.then(step);
    this.#writes = mine.catch(() => undefined);
    await mine;
    for (const listener of [...this.#listeners]) listener();
  }
}
