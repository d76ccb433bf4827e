/**
 * What this node has sent ESP with, on disk: an epoch that only grows. A boot loses all states, so it begins the next epoch;
 * a file that is lost or damaged begins one by the clock, later than any before, for there are fewer epochs than seconds.
 */
import type { Clock } from '../runtime/clock.js';
import type { EspSender } from './plan/esp.js';
import type { EspSenderFile, EspSenderOfBoot } from './state-file.js';
import { DamagedFileError } from './state-file.js';

export class EspSenderStore {
  private constructor(
    private readonly file: EspSenderFile,
    private readonly bootId: string,
    private sender: EspSender,
  ) {}

  /** Rejects with the file system's error; a damaged file is reported to `onDamaged` and replaced. */
  static async load(
    file: EspSenderFile,
    bootId: string,
    clock: Pick<Clock, 'nowMs'>,
    onDamaged: (err: unknown) => void,
  ): Promise<EspSenderStore> {
    const fresh: EspSender = { epoch: Math.floor(clock.nowMs() / 1000), made: [] };
    let found: EspSenderOfBoot | null = null;
    try {
      found = await file.load();
    } catch (err) {
      if (!(err instanceof DamagedFileError)) throw err;
      onDamaged(err);
    }
    const sender =
      found === null ? fresh : found.bootId === bootId ? found : { epoch: found.epoch + 1, made: [] };
    const store = new EspSenderStore(file, bootId, sender);
    if (sender !== found) await store.save(sender);
    return store;
  }

  get current(): EspSender {
    return this.sender;
  }

  async save(sender: EspSender): Promise<void> {
    const { epoch, made } = sender;
    await this.file.save({ bootId: this.bootId, epoch, made });
    this.sender = sender;
  }
}
