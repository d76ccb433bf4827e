/**
 * The files under <state dir>/dataplane that let skep-dataplane restore the kernel with nobody to ask: state.json with its log
 * (the last NodeNetworkState but for its keys, see state-log.ts), endpoints.json (what the engine told us through the plugin)
 * esp.json (which keys this node has sent with), reserved-ports.json (which of the host's reserved ports are ours) and peers.json
 * (which nodes have answered this one). Values are written whole and atomically, 0600. A damaged file is an error the caller must answer by touching nothing: what the kernel
 * holds is then worth more than what the file says.
 */
import { readFile, rm } from 'node:fs/promises';
import { OutsideError, SkepError } from '../model/errors.js';
import type { NetworkId, NodeId } from '../model/ids.js';
import { writeFileAtomic } from '../runtime/atomic-file.js';
import type { Reservations } from './kernel/reserved-ports.js';
import { Fields, Unique } from './parse-fields.js';
import type { EspDirection, EspSender } from './plan/esp.js';
import type { SandboxEndpoint } from './sandbox.js';

/** The file exists and cannot be believed. */
export class DamagedFileError extends OutsideError {
  override readonly name = 'DamagedFileError';

  constructor(
    readonly path: string,
    cause: unknown,
  ) {
    super(`${path} is damaged: ${cause instanceof Error ? cause.message : String(cause)}`, false, { cause });
  }
}

/** Raised with the shape of either file; a file of another version is refused as damaged. */
const fileVersion = 1;

/** One value in one versioned JSON file. */
export class ValueFile<T> {
  constructor(
    readonly path: string,
    private readonly parse: (fields: Fields) => T,
    private readonly format: (value: T) => object,
  ) {}

  /** The value; null if there is no file. Throws {@link DamagedFileError}, or the file system's error. */
  async load(): Promise<T | null> {
    let text: string;
    try {
      text = await readFile(this.path, 'utf8');
    } catch (err) {
      if ((err as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw err;
    }
    try {
      const fields = new Fields(JSON.parse(text) as unknown, '');
      fields.integer('version', fileVersion, fileVersion);
      return this.parse(fields);
    } catch (err) {
      if (err instanceof SkepError || err instanceof SyntaxError) throw new DamagedFileError(this.path, err);
      throw err;
    }
  }

  /** Returns once the value is on disk, directory entry included: the file's size in bytes. */
  async save(value: T): Promise<number> {
    const data = Buffer.from(`${JSON.stringify({ version: fileVersion, ...this.format(value) })}\n`);
    await writeFileAtomic(this.path, data);
    return data.length;
  }

  async remove(): Promise<void> {
    await rm(this.path, { force: true });
  }
}

/** A node-local network of the engine and the overlay that it stands for. */
export interface EngineNetwork {
  /** The engine's id, 64 hex characters. */
  readonly engineNetworkId: string;
  readonly overlayId: NetworkId;
}

/** An endpoint with the engine's name of its network. */
export interface EngineEndpoint extends SandboxEndpoint {
  readonly engineNetworkId: string;
}

export interface EngineTable {
  /** The kernel's boot id at the time of writing: no sandbox outlives a reboot. */
  readonly bootId: string;
  /** False from a damaged file until the engine has been asked for all it has: what is missing here may yet live. */
  readonly whole: boolean;
  readonly networks: readonly EngineNetwork[];
  readonly endpoints: readonly EngineEndpoint[];
}

/** What this node has sent ESP with, and in which boot of its kernel. */
export interface EspSenderOfBoot extends EspSender {
  readonly bootId: string;
}

export type EspSenderFile = ValueFile<EspSenderOfBoot>;

/** esp.json. */
export const openEspSenderFile = (path: string): EspSenderFile =>
  new ValueFile(
    path,
    (fields): EspSenderOfBoot => ({
      bootId: fields.string('bootId'),
      epoch: fields.integer('epoch', 1, 2 ** 32 - 1),
      made: fields.list('made', (item, itemPath): EspDirection => {
        const direction = new Fields(item, itemPath, ['sequence', 'destination']);
        return {
          sequence: direction.integer('sequence', 1, 2 ** 32 - 1),
          destination: direction.ip('destination'),
        };
      }),
    }),
    (sender) => sender,
  );

/** Ports that are ours among the host's reserved ones, and in which boot of its kernel. */
export interface ReservationsOfBoot extends Reservations {
  readonly bootId: string;
}

export type ReservationsFile = ValueFile<ReservationsOfBoot>;

/** reserved-ports.json. */
export const openReservationsFile = (path: string): ReservationsFile =>
  new ValueFile(
    path,
    (fields): ReservationsOfBoot => ({
      bootId: fields.string('bootId'),
      wanted: fields.list('wanted', (item, itemPath) => new Fields({ item }, itemPath).name('item')),
      added: fields.list('added', (item, itemPath) =>
        new Fields({ item }, itemPath).integer('item', 1, 65_535),
      ),
    }),
    (reservations) => reservations,
  );

export type HeardPeersFile = ValueFile<readonly NodeId[]>;

/** peers.json: see liveness/verdicts.ts. */
export const openHeardPeersFile = (path: string): HeardPeersFile =>
  new ValueFile<readonly NodeId[]>(
    path,
    (fields) => fields.list('heard', (item, itemPath) => new Fields({ item }, itemPath).id('item') as NodeId),
    (heard) => ({ heard }),
  );

export type EngineTableFile = ValueFile<EngineTable>;

/** endpoints.json. */
export const openEngineTableFile = (path: string): EngineTableFile =>
  new ValueFile(path, parseEngineTable, (table) => table);

function parseEngineTable(fields: Fields): EngineTable {
  const networkIds = new Unique<string>();
  const endpointIds = new Unique<string>();
  return {
    bootId: fields.string('bootId'),
    whole: fields.boolean('whole'),
    networks: fields.list('networks', (item, path) => {
      const network = new Fields(item, path, ['engineNetworkId', 'overlayId']);
      const engineNetworkId = network.id('engineNetworkId');
      networkIds.take(engineNetworkId, network.at('engineNetworkId'));
      return { engineNetworkId, overlayId: network.id('overlayId') as NetworkId };
    }),
    endpoints: fields.list('endpoints', (item, path) => {
      const endpoint = new Fields(item, path, [
        'endpointId',
        'engineNetworkId',
        'overlayId',
        'address',
        'mac',
        'sandboxKey',
      ]);
      const endpointId = endpoint.id('endpointId');
      endpointIds.take(endpointId, endpoint.at('endpointId'));
      return {
        endpointId,
        engineNetworkId: endpoint.id('engineNetworkId'),
        overlayId: endpoint.id('overlayId') as NetworkId,
        address: endpoint.ip('address'),
        mac: endpoint.mac('mac'),
        sandboxKey: endpoint.optionalString('sandboxKey', 4096) ?? null,
      };
    }),
  };
}
