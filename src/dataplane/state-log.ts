/**
 * The last NodeNetworkState on disk: state.json has a whole value, state.log beside it a line for each change since. A state is
 * on disk when `save` or `append` has resolved, whatever happens after.
 *
 * A line that was cut short by a power failure was never acknowledged and is left out; any other line that cannot be
 * read is damage. Lines of before the whole value (the process died between writing that and emptying the log) are passed
 * over by their revision. The log is bounded: before it grows beyond {@link logBytesMin} or the value, the value is written
 * whole instead, so a change costs its own size and, spread over many, that of the value once.
 */
import { constants } from 'node:fs';
import { open, readFile, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { SkepError } from '../model/errors.js';
import { syncDirectory } from '../runtime/atomic-file.js';
import { ChangeParser, toChangeMessage } from './parse-change.js';
import { parseNodeNetworkState } from './parse-state.js';
import type { StateChange } from './state-change.js';
import { DamagedFileError, ValueFile } from './state-file.js';
import type { NodeNetworkState } from './state.js';

/** Some thousands of changes. */
const logBytesMin = 1 << 20;

export class StateLog {
  readonly #value: ValueFile<NodeNetworkState>;
  readonly #path: string;
  /** Where the next line goes; null: the value is to be written whole, for the log is not there or not what it should be. */
  #end: number | null = null;
  #valueBytes = 0;

  /** @param path of state.json */
  constructor(path: string) {
    this.#path = `${path.replace(/\.json$/, '')}.log`;
    // The revision stands outside the value too, for eyes.
    this.#value = new ValueFile(
      path,
      (fields) => parseNodeNetworkState(fields.raw('state')),
      // Without the keys of encrypted overlays: those are had from a manager, and till then from the kernel.
      ({ encryptionKeys: _, ...state }) => ({ revision: state.revision, state }),
    );
  }

  /** Null if there is none. Throws {@link DamagedFileError}, or the file system's error. */
  async load(): Promise<NodeNetworkState | null> {
    this.#end = null;
    const value = await this.#value.load();
    return value === null ? null : this.#replay(value);
  }

  /** Resolves once the whole value is on disk, directory entry included. */
  async save(state: NodeNetworkState): Promise<void> {
    this.#end = null;
    this.#valueBytes = await this.#value.save(state);
    const log = await open(this.#path, 'w', 0o600);
    await log.close();
    await syncDirectory(dirname(this.#path));
    this.#end = 0;
  }

  /** Resolves once the change of what was last saved, appended or loaded is on disk. @param state what it makes */
  async append(change: StateChange, state: NodeNetworkState): Promise<void> {
    const line = Buffer.from(`${JSON.stringify(toChangeMessage(change))}\n`);
    const end = this.#end;
    if (end === null || end + line.length > Math.max(logBytesMin, this.#valueBytes)) return this.save(state);
    this.#end = null;
    const log = await open(this.#path, constants.O_WRONLY);
    try {
      await log.write(line, 0, line.length, end);
      await log.datasync();
    } finally {
      await log.close();
    }
    this.#end = end + line.length;
  }

  async remove(): Promise<void> {
    this.#end = null;
    await this.#value.remove();
    await rm(this.#path, { force: true });
  }

  /** The value with the changes since. */
  async #replay(value: NodeNetworkState): Promise<NodeNetworkState> {
    let text: Buffer;
    try {
      text = await readFile(this.#path);
    } catch (err) {
      if ((err as NodeJS.ErrnoException).code === 'ENOENT') return value;
      throw err;
    }
    const parser = new ChangeParser();
    let state = value;
    let begin = 0;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', begin)) {
      try {
        const message = JSON.parse(text.toString('utf8', begin, end)) as unknown;
        if (!isOfBefore(message, value)) {
          const made = parser.parse(message, state);
          parser.taken(state, made.change, made.state);
          state = made.state;
        }
      } catch (err) {
        if (err instanceof SkepError || err instanceof SyntaxError)
          throw new DamagedFileError(this.#path, err);
        throw err;
      }
      begin = end + 1;
    }
    if (begin === text.length) this.#end = begin;
    return state;
  }
}

/**
 * A change that the whole value has in it already, or of a node that this no longer is. One within the value's revision is made again
 * where it may be in it: it is of tasks that are dead.
 */
function isOfBefore(message: unknown, value: NodeNetworkState): boolean {
  const { nodeId, baseRevision, revision } = (message ?? {}) as Readonly<Record<string, unknown>>;
  if (typeof nodeId !== 'string' || typeof revision !== 'number') return false;
  if (nodeId !== value.nodeId || revision < value.revision) return true;
  return revision === value.revision && baseRevision !== revision;
}
